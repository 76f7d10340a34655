"""Audits: clients, miners and auditors of a running coordinator."""
