"""Runs tests in one process, and prints what they cost in seconds of processors: a busy machine does not change that much.

.venv/bin/python scripts/testing/costs.py tests/unit -m "not system and not ship and not chaos"   the arguments are pytest's
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

DEAREST: Final = 25

_FIELDS: Final = slice(11, 15)
"""The fields of `proc_pid_stat(5)` after the name: seconds of the process and of its ended children."""


class Costs:
    """A plug-in that times files, tests and fixtures."""

    def __init__(self) -> None:
        self.collection = 0.0
        self.files: Counter[str] = Counter()
        self.tests: Counter[str] = Counter()
        self.fixtures: Counter[str] = Counter()
        self.uses: Counter[str] = Counter()

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Iterator[None]:
        """Measure the collection."""
        start = used()
        result = yield
        self.collection = used() - start
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Measure a test with the fixtures that it sets up and tears down."""
        start = used()
        result = yield
        seconds = used() - start
        self.files[item.location[0]] += seconds  # type: ignore[assignment]
        self.uses[item.location[0]] += 1
        self.tests[item.nodeid] += seconds  # type: ignore[assignment]
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Iterator[None]:
        """Measure the start of a fixture, without those that it uses."""
        start = used()
        result = yield
        name = f"{fixturedef.baseid}::{fixturedef.argname}"
        self.fixtures[name] += used() - start  # type: ignore[assignment]
        self.uses[name] += 1
        return result

    def pytest_terminal_summary(self) -> None:
        """Print the dearest of each kind."""
        print(
            f"\ncollection {self.collection:.1f} s, {len(self.tests)} tests {sum(self.tests.values()):.1f} s"
        )
        for name, costs in (("files", self.files), ("fixtures", self.fixtures), ("tests", self.tests)):
            print(f"\nThe dearest {name}:")
            for key, seconds in costs.most_common(DEAREST):  # by seconds, which a Counter may hold
                print(f"{seconds:8.2f} s  {self.uses[key] or 1:5}  {key}")


def used(pid: int | str = "self") -> float:
    """Return the seconds that a process and its children have used."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[_FIELDS]
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:  # it has just ended
        return 0
    children: list[str] = []
    for thread in threads:
        with suppress(OSError):  # so has the thread
            children += (thread / "children").read_text().split()
    return sum(map(int, fields)) / os.sysconf("SC_CLK_TCK") + sum(map(used, children))


if __name__ == "__main__":
    sys.exit(pytest.main(["-q", "-n0", *sys.argv[1:]], plugins=[Costs()]))
