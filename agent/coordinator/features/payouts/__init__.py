"""Payouts: batches for administrators; addresses, payments and proofs for miners' owners.

`adapter` is the contract of the ways to pay: a bank's file and a service of the operator's own in `adapters`, chains and Lightning in
`extensions` (docs/how-to/payout-adapters.md). `manifests` has what a batch states and `aitbc.leaves.payouts` its leaf of the log.
"""
