"""Audits: finished jobs that another miner checks, and what follows from it (docs/explanation/audits.md).

`rules` is pure. `options` is what clients request, `choosing` draws the jobs, `canaries` are jobs of the coordinator's own,
and `advancing` calls `rounds`, which asks auditors, decides and settles. `funds` pays.
"""
