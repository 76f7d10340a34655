"""Sealed jobs: the coordinator cannot read their input and results (docs/reference/sealed-jobs.md)."""
