"""The routes of payouts: batches and addresses, deposits, reports of payment services."""
