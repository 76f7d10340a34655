"""What the tests of features have in common: those of the contract."""

from __future__ import annotations

from support.servers.coordinator import admin, client, miner, on_postgresql, served
from support.servers.s3 import s3

__all__ = ["admin", "client", "miner", "on_postgresql", "s3", "served"]
