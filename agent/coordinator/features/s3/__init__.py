"""Artifacts in a bucket of an S3 service, and transfers between it and others without the coordinator."""
