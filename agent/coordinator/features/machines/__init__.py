"""Machines, for their owners and the operator: what they are and do, what they earn, and their settings."""
