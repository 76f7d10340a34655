"""A server of S3 buckets."""
