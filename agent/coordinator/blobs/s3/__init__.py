"""Blobs in an S3 bucket, to which clients and miners send bytes directly."""
