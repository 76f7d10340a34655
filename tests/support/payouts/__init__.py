"""Payouts: batches of a running coordinator, adapters, and a process that is killed while it pays."""
