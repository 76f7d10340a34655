"""Benchmarks and calibrates this machine with requests like those of jobs.

`bench.py` finds how fast services are, `calibrate.py` how far honest runs are apart; `measurement.py` runs what both request.
"""
