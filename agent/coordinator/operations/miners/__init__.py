"""Miners: sessions, leases and results, and their owners' views and commands."""
