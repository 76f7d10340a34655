"""Clients' jobs: submission, input files and progress."""
