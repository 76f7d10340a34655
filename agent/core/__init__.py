"""Pure rules without clock, I/O or randomness. Times, ids and random values are arguments."""
