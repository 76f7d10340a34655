"""Audits: finished jobs that another miner checks, and what follows from it (docs/explanation/audits.md)."""
