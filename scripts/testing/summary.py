"""Prints the slowest tests of a pytest run and its results in one last line."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from collections import Counter
from typing import Final

SLOWEST: Final = 20


def main(path: str) -> None:
    """Print the slowest tests and the totals of a JUnit file that pytest has written."""
    count: Counter[str] = Counter()
    seconds = 0.0
    durations: list[tuple[float, str]] = []
    for suite in ET.parse(path).getroot().iter("testsuite"):  # noqa: S314 - our own file, not a stranger's
        for name in ("tests", "failures", "errors", "skipped"):
            count[name] += int(suite.get(name, 0))
        seconds += float(suite.get("time", 0))
        durations += [
            (float(case.get("time", 0)), f"{case.get('classname')}::{case.get('name')}")
            for case in suite.iter("testcase")
        ]
    failed = count["failures"] + count["errors"]
    print("\nThe slowest tests, setup included:")
    for duration, test in sorted(durations, reverse=True)[:SLOWEST]:
        print(f"{duration:7.1f} s  {test}")
    print(f"\nThe tests took {seconds:.0f} s.")
    print(f"{count['tests'] - failed - count['skipped']} passed, {failed} failed, {count['skipped']} skipped")


if __name__ == "__main__":
    main(sys.argv[1])
