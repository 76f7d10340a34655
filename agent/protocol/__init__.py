"""The messages between miners and the coordinator, as docs/miner-protocol.md describes them. No I/O."""
