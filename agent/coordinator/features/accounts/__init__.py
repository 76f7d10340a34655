"""Wallets, transactions and keys, for their owners and for administrators."""
