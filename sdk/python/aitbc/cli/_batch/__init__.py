"""Runs the jobs of one command: a batch that resumes, is submitted once, and survives a restart of the coordinator."""
