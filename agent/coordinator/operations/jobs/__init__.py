"""Clients' jobs: their submission, their files, their progress."""
