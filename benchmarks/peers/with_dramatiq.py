"""Dramatiq with Redis."""

from __future__ import annotations

import os
import sys

import counting
import dramatiq
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=os.environ["PEERS_REDIS"]))


@dramatiq.actor
def noop() -> None:
    """Do nothing."""
    counting.count()


if __name__ == "__main__":
    for _ in range(int(sys.argv[1])):
        noop.send()
