"""The transparency log of receipts, settlements, verdicts and manifests, and the checks of everything that it proves."""
