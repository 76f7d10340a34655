"""Artifacts, uploads and links, within the quotas of their owners."""
