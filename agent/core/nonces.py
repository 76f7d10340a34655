"""What a lease gives its run from a secret key of the coordinator: nonce and salt. They need no column.

The nonce is unknown before the lease, and computed again for its audit. Together with the miner's key it is the seed of choices that an
auditor repeats. The salt separates the clients of one machine.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Secrets:
    """What leases get their nonces and salts from: `key`, and `salted`, the services whose runs reuse what earlier ones have computed."""

    key: bytes
    salted: frozenset[str] = frozenset()


def nonce_key(log_key: bytes) -> bytes:
    """Return the secret of an installation's nonces, which follows from the log's private key and reveals nothing of it."""
    return hmac.digest(log_key, b"aitbc lease nonces v1", "sha256")


def lease_nonce(key: bytes, job_id: str, fence: int) -> str:
    """Return the nonce of a job's lease, 64 hexadecimal digits."""
    return hmac.digest(key, f"{job_id}\n{fence}".encode(), "sha256").hex()


def cache_salt(key: bytes, miner_id: str, whose: str, now: float) -> str:
    """Return the salt of a lease, 64 hexadecimal digits: a miner reuses computed prompts only among leases with the same salt.

    `whose` is the account, or anything else whose leases may share. The salt reveals nothing of it: each miner gets another one, and
    every day a new one, so that nobody can follow an account from machine to machine or for long.
    """
    # A day is long enough for caches to be of use, and too short to follow an account.
    day = int(now // 86_400)
    return hmac.digest(key, f"prompt cache\n{miner_id}\n{whose}\n{day}".encode(), "sha256").hex()
