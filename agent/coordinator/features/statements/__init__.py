"""Statements: what an account or a miner paid and earned in a month, as a file for bookkeeping."""
