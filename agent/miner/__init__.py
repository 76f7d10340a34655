"""The miner: takes jobs from a coordinator, runs them in child processes, returns signed results."""
