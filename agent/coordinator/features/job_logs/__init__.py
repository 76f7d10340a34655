"""Logs of jobs: lines that their runs wrote for their clients."""
