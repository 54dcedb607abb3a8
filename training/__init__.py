"""Builds what ``model_store/`` holds: data reading, recipe, evaluation, calibration, export.

Nothing in ``service`` imports this package, and who only serves does not install what it needs.
"""
