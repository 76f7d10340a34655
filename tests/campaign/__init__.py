"""Fault injection campaigns against real processes. `scripts/chaos` runs one; see docs/reliability.md."""
