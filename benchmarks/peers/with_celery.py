"""Celery with Redis; without its results."""

from __future__ import annotations

import os
import sys

import counting
from celery import Celery

app = Celery("with_celery", broker=os.environ["PEERS_REDIS"])
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=64)


@app.task(name="noop")
def noop() -> None:
    """Do nothing."""
    counting.count()


if __name__ == "__main__":
    for _ in range(int(sys.argv[1])):
        noop.delay()
