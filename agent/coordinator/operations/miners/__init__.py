"""Miners: their sessions, leases and results, and what their owners ask of them."""
