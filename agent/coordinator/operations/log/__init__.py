"""Receipts, the log that contains them, and consistency checks of both."""
