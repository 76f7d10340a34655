"""When this machine works for others, and when it leaves itself to its owner."""
