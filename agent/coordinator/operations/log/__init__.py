"""Receipts, the log in which they stand, and checks of both."""
