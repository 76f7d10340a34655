"""A server of buckets."""

from __future__ import annotations

from support.servers.s3 import s3

__all__ = ["s3"]
