"""Payouts: batches for administrators; addresses, payments and proofs for miners' owners."""
