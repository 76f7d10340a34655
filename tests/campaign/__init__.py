"""Campaigns of faults against real processes. See docs/reliability.md; `scripts/chaos` runs one."""
