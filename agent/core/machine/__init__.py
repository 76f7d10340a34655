"""A miner's local decisions: where models are loaded, when the machine works, which models stay on disk."""
