"""The calls of accounts and of their administrators."""
