"""What the benchmarks share: the agent's processes, a cheap HTTP client, a scripted miner, the disk's own speed."""
