"""Random histories of jobs and of the market."""
