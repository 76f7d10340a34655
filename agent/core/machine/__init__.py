"""A miner's own decisions: what is loaded where, when it works, which models stay."""
