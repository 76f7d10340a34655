"""How calls reach a coordinator: requests, retries, transfers, streams."""
