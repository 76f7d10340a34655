"""What the daemon shows of itself: to its owner, to the coordinator, to Prometheus."""
