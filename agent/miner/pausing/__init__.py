"""Pauses the miner while its owner uses the machine, by schedule, or because of measurements."""
