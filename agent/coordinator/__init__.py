"""The coordinator: jobs, leases, receipts and artifacts over HTTP."""
