"""The miner: accepts jobs from a coordinator, runs them in child processes, returns signed results."""
