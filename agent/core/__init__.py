"""Pure rules: no clock, no I/O, no randomness. What they need of these comes as arguments."""
