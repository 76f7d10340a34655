"""The audits in `benchmarks/audits.py`: their miners, runs and tables."""
