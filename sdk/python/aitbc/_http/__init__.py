"""Transport of calls to a coordinator: requests, retries, transfers and streams."""
