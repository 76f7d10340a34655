"""Artifacts, uploads, signed links and storage quotas."""
