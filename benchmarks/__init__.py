"""Measurements: ``python -m benchmarks SUITE`` measures, ``python -m benchmarks tables`` writes them into the docs."""
