"""Shared parts of the verification of statements, receipts and logs."""
