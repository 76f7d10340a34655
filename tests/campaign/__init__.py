"""Campaigns of faults against real processes. See docs/explanation/reliability.md; `scripts/chaos` runs one."""
