"""Matches waiting jobs with miners that have free capacity."""
