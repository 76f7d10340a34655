"""What the owner of a miner asks and changes: checks, settings, models, engines, speed, earnings."""
