#!/usr/bin/env python3
"""Prints the agent's dependencies without the agent itself, for image layers that are reused when only the agent changes.

    image_requirements.py EXTRAS PYPROJECT...

EXTRAS are names separated by commas. An extra that refers to others of its distribution is expanded. Only the standard
library is used, so that a base image needs nothing but Python.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def name_of(requirement: str) -> str:
    """Return the normalised name of a requirement's distribution."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", match[0]).lower() if match else ""


def names_in(text: str) -> list[str]:
    """Return the names in a list separated by commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def collect(projects: list[dict[str, Any]], extras: list[str]) -> list[str]:
    """Return the distinct requirements of all projects and of the extras, without the projects themselves.

    Raises `SystemExit` for an unknown extra.
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
                raise SystemExit(
                    f"There is no extra {extra!r}; the extras are: {', '.join(sorted(offered))}."
                )
            for inner in offered[extra]:
                yield from expand(inner)

    requirements = [requirement for project in projects for requirement in project.get("dependencies", [])]
    requirements.append(f"{projects[0]['name']}[{','.join(extras)}]")
    return sorted({expanded for requirement in requirements for expanded in expand(requirement)})


def main() -> None:
    """Print one requirement per line."""
    extras, *files = sys.argv[1:]
    projects = [tomllib.loads(Path(file).read_text(encoding="utf-8"))["project"] for file in files]
    print("\n".join(collect(projects, names_in(extras))))


if __name__ == "__main__":
    main()
