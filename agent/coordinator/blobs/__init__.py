"""Bytes on disk: artifacts by digest, uploads in progress, and the disk space that both may use."""
