"""Machines to try things on: an empty Debian, containers, other users, terminals, cards."""
