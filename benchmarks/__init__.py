"""Benchmarks of the running service, started by ``python -m benchmarks.NAME``."""
