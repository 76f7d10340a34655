"""Matches waiting jobs with miners that have free capacity.

The `dispatcher` wakes up when there are both, and `claims` applies the matching of `agent.core.assignment` in one transaction.
"""
