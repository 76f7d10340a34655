"""Machines for tests: a minimal Debian, containers, other users, terminals, cards."""
