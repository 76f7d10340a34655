#!/usr/bin/env python3
"""Prints the agent's dependencies without the agent itself, for image layers that are reused when only the agent changes.

    image_requirements.py EXTRAS ROOT               the distributions of others that the agent requires
    image_requirements.py --projects EXTRAS ROOT    the folders of this repository's distributions that it requires, its own included

EXTRAS are names separated by commas. An extra that refers to others, or to an extension, is expanded. Only the standard
library is used, so that a base image needs nothing but Python.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

AGENT: Final = "aitbc-agent"


def name_of(requirement: str) -> str:
    """Return the normalised name of a requirement's distribution."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", match[0]).lower() if match else ""


def names_in(text: str) -> list[str]:
    """Return the names in a list separated by commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def collect(projects: Mapping[str, dict[str, Any]], extras: list[str]) -> tuple[set[str], set[str]]:
    """Return what the agent requires with these extras: distributions of others, and the names of projects, its own included.

    Raises `SystemExit` for an unknown extra.
    """
    foreign: set[str] = set()
    needed: set[str] = set()

    def expand(requirement: str) -> None:
        name = name_of(requirement)
        if name not in projects:
            foreign.add(requirement)
            return
        project = projects[name]
        bracketed = re.search(r"\[(.*?)\]", requirement)
        inner = [] if name in needed else list(project.get("dependencies", []))
        needed.add(name)
        offered = project.get("optional-dependencies", {})
        for extra in names_in(bracketed[1]) if bracketed else []:
            if extra not in offered:
                raise SystemExit(
                    f"There is no extra {extra!r}; the extras are: {', '.join(sorted(offered))}."
                )
            inner += offered[extra]
        for required in inner:
            expand(required)

    expand(f"{AGENT}[{','.join(extras)}]")
    return foreign, needed


def main() -> None:
    """Print one requirement per line, or one folder of a project."""
    *options, extras, root = sys.argv[1:]
    files = [*Path(root).glob("pyproject.toml"), *Path(root).glob("sdk/python/pyproject.toml")]
    files += Path(root).glob("extensions/*/pyproject.toml")
    declared = {file.parent: tomllib.loads(file.read_text(encoding="utf-8"))["project"] for file in files}
    projects = {name_of(project["name"]): project for project in declared.values()}
    foreign, needed = collect(projects, names_in(extras))
    folders = {f"./{folder}" for folder, project in declared.items() if name_of(project["name"]) in needed}
    print("\n".join(sorted(folders if options == ["--projects"] else foreign)))


if __name__ == "__main__":
    main()
