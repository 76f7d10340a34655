"""The nonce of a lease: unknown before the lease, and computed again for its audit.

It follows from a secret key, so it needs no column. Together with the miner's key it is the seed of choices that an auditor repeats.
"""

from __future__ import annotations

import hmac


def nonce_key(log_key: bytes) -> bytes:
    """Return the secret of an installation's nonces, which follows from the log's private key and reveals nothing of it."""
    return hmac.digest(log_key, b"aitbc lease nonces v1", "sha256")


def lease_nonce(key: bytes, job_id: str, fence: int) -> str:
    """Return the nonce of a job's lease, 64 hexadecimal digits."""
    return hmac.digest(key, f"{job_id}\n{fence}".encode(), "sha256").hex()
