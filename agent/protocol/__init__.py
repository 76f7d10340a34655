"""The messages between miners and the coordinator, as docs/reference/miner-protocol.md describes them. No I/O."""
