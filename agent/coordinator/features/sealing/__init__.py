"""Sealed jobs: the coordinator cannot read their input and results (docs/reference/sealed-jobs.md).

It checks who can open a job, and the form of what it cannot read. The kernel only knows opaque input (`OPAQUE` in `store.jobs`).
"""
