"""Builds the contents of ``model_store/``: data, training, evaluation, calibration, export.

Nothing in ``service`` imports this package, and serving needs none of its dependencies.
"""
