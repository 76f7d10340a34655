"""Pure rules without clock, I/O or randomness. Times, ids and random values are arguments.

`jobs` is the table of a job's states, `assignment` gives waiting jobs to miners by the rules of `matching`, and `feasibility` states whether a
miner can run a job at all.
"""
