"""The state that the daemon reports: to its owner, to the coordinator with every heartbeat, to Prometheus."""
