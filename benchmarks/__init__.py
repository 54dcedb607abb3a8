"""Measurements of the running service; each module is a command, ``python -m benchmarks.NAME``."""
