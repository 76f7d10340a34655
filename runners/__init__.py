"""Runners: the code on a miner that performs a service, a package each with its `request` and its `runner`.

`api` is the contract with the miner, and `audits` how a runner compares the work of others. `causes` decides whose fault an engine's failure is.
"""
