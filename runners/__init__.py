"""Runners: the code on a miner that performs a service, one file each."""
