"""Sealed jobs on the miner: its keys, the directory in memory for plaintexts, and the requests that it has run."""
