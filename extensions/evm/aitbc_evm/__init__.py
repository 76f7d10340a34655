"""Payouts on an Ethereum-compatible chain: one signed transaction for each payment."""
