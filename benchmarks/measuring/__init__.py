"""Shared parts of the benchmarks: the agent's processes, a lightweight HTTP client, a scripted miner, the disk's speed."""
