"""Fault injection campaigns against real processes. `scripts/chaos` runs one; see docs/explanation/reliability.md."""
