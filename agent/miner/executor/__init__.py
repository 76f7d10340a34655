"""Runs jobs in child processes, on the devices of this machine."""
