"""The leaves of the log beside receipts: settlements, verdicts of audits, and manifests of payouts."""
