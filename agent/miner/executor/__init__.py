"""Runs jobs in child processes, on the devices of this machine.

`placement` decides which model is loaded on which device, without I/O, and `scheduler` applies that. `local` runs a job in a `child`, which
`host_process` has started.
"""
