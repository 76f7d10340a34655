"""Clients' jobs: submission, input files and progress.

`requests` declares the body of a request, `validation` checks it, and `submitting` stores it. `feasibility` refuses jobs that no miner can
ever run.
"""
