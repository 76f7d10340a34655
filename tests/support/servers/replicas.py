"""Replicas of a coordinator: real processes on one PostgreSQL, which share their keys and their artifact directory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.agents import Agent, running

SHARED_FILES = ("log.key", "links.key", "keys.json")


def add_replica(first: Agent, name: str) -> Agent:
    """Return another replica beside a running one. Start it."""
    replica = Agent(first.data_dir.with_name(name), "coordinator", "--port", "0", **first.environment)
    theirs, ours = first.data_dir / "coordinator", replica.data_dir / "coordinator"
    ours.mkdir(parents=True, mode=0o700)
    for file in SHARED_FILES:
        shutil.copy2(theirs / file, ours / file)
    return replica


@contextmanager
def two_replicas(directory: Path, url: str, **environment: str) -> Iterator[tuple[Agent, Agent]]:
    """Run two replicas on the database at `url`. The first leads."""
    artifacts = directory / "artifacts"
    artifacts.mkdir()
    environment |= {"AITBC_DATABASE__URL": url, "AITBC_ARTIFACTS__URL": artifacts.as_uri()}
    first = Agent(directory / "first", "coordinator", "--port", "0", **environment)
    with running(first):
        second = add_replica(first, "second")
        with running(second):
            yield first, second
