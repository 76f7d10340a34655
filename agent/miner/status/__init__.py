"""The state that the daemon reports: to its owner, to the coordinator, to Prometheus."""
