#!/usr/bin/env python3
"""Prints what the agent depends on, without the agent itself: for layers of an image that survive its changes.

    image_requirements.py EXTRAS PYPROJECT...

EXTRAS are names with commas between them; an extra that refers to others of its distribution is followed. The standard
library is enough, so that a base image needs nothing but Python.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def name_of(requirement: str) -> str:
    """The distribution that a requirement names, in its normal form."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


def names_in(words: str) -> list[str]:
    """The names in a list with commas."""
    return [word.strip() for word in words.split(",") if word.strip()]


def collect(projects: list[dict[str, Any]], extras: list[str]) -> list[str]:
    """The requirements of all projects and of the extras, without the projects themselves, each once.

    Raises `SystemExit` for an extra that no project has.
    """
    own = {name_of(project["name"]) for project in projects}
    offered: dict[str, list[str]] = {}
    for project in projects:
        offered |= project.get("optional-dependencies", {})

    def expand(requirement: str) -> Iterator[str]:
        if name_of(requirement) not in own:
            yield requirement
            return
        bracketed = re.search(r"\[(.*?)\]", requirement)
        for extra in names_in(bracketed[1]) if bracketed else []:
            if extra not in offered:
                raise SystemExit(f"There is no extra {extra!r}; there are: {', '.join(sorted(offered))}.")
            for wanted in offered[extra]:
                yield from expand(wanted)

    asked = [requirement for project in projects for requirement in project.get("dependencies", [])]
    asked.append(f"{projects[0]['name']}[{','.join(extras)}]")
    return sorted({found for requirement in asked for found in expand(requirement)})


def main() -> None:
    """Print one requirement a line."""
    extras, *files = sys.argv[1:]
    projects = [tomllib.loads(Path(file).read_text(encoding="utf-8"))["project"] for file in files]
    print("\n".join(collect(projects, names_in(extras))))


if __name__ == "__main__":
    main()
