"""The leaves of the log other than receipts: settlements, verdicts of audits, and manifests of payouts."""
