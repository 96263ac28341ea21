"""Measurements: suites for ``python -m benchmarks SUITE``, and scripts for ``python benchmarks/x.py``."""
