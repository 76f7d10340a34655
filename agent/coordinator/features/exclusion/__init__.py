"""Exclusion and removal of miners by operators."""
