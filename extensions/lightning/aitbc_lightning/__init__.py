"""Payouts over Lightning: each miner hands in an invoice, which a Core Lightning node pays."""
