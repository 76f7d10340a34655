"""Adds up the results of several pytest runs in one last line, so that nobody has to add them by eye."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from collections import Counter


def main(paths: list[str]) -> None:
    """Print the sum of the JUnit XML files `paths`, which pytest has just written."""
    count: Counter[str] = Counter()
    seconds = 0.0
    for path in paths:
        for suite in ET.parse(path).getroot().iter("testsuite"):  # noqa: S314 - our own file, not a stranger's
            for name in ("tests", "failures", "errors", "skipped"):
                count[name] += int(suite.get(name, 0))
            seconds += float(suite.get("time", 0))
    failed = count["failures"] + count["errors"]
    print(f"\nAll test runs together took {seconds:.0f} s.")
    print(f"{count['tests'] - failed - count['skipped']} passed, {failed} failed, {count['skipped']} skipped")


if __name__ == "__main__":
    main(sys.argv[1:])
