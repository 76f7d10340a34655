"""Builds the distributions of a release from extracted sources. The same sources give the same bytes, in every directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from uv import find_uv_bin

from agent.updates.manifest import DISTRIBUTION, MEMBER
from locks import BUILD_REQUIREMENTS, index_variables

SECONDS: Final = 1800
_PROJECTS: Final = ("sdk/python", ".", "extensions/evm", "extensions/lightning", "extensions/ray")
_JAVASCRIPT: Final = "sdk/js"
_DASHBOARD: Final = "agent/coordinator/web"
_RELEASE_PROJECT: Final = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "{version}"
description = "The signed manifest of a release of aitbc-agent."
requires-python = ">=3.11"
license = "MIT"

[tool.hatch.build.targets.wheel]
include = ["{member}"]
"""


class Builder:
    """Builds from the sources in a directory. Without a network, everything must be in the caches of npm and uv."""

    def __init__(self, sources: Path, time: datetime, *, offline: bool) -> None:
        self._sources = sources
        self._offline = offline
        self._variables: Mapping[str, str] = {
            **index_variables(),
            "SOURCE_DATE_EPOCH": str(int(time.timestamp())),
            "PATH": os.pathsep.join((os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent))),
            # Before the clone that this program belongs to.
            "PYTHONPATH": f"{sources}{os.pathsep}{sources / 'sdk/python'}",
            "NODE_USE_SYSTEM_CA": "1",
        }

    def javascript(self) -> None:
        """Install the locked JavaScript packages, and build the SDK and the dashboard."""
        cached = "--offline" if self._offline else "--prefer-offline"
        # The install scripts of packages are not run.
        self._run("npm", "ci", cached, "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
        self._run(sys.executable, "scripts/pages/answer_types.py")
        for workspace in (_JAVASCRIPT, _DASHBOARD):
            self._run("npm", "run", "build", "--workspace", workspace)

    def javascript_components(self, version: str) -> dict[str, Any]:
        """Return the CycloneDX document of the JavaScript packages that the SDK and the dashboard use."""
        # npm describes no package without a version.
        self._run("npm", "pkg", "set", f"version={version}")
        described = self._run(
            *("npm", "sbom", "--omit", "dev", "--package-lock-only", "--sbom-format", "cyclonedx"),
            *("--workspace", _JAVASCRIPT, "--workspace", _DASHBOARD),
        )
        components: dict[str, Any] = json.loads(described)
        return components

    def distributions(self, out: Path) -> None:
        """Build the wheels, the source distributions and the npm package, after `javascript`."""
        for project in _PROJECTS:
            self._build(self._sources / project, out)
        self._run(
            "npm", "pack", "--ignore-scripts", "--workspace", _JAVASCRIPT, "--pack-destination", str(out)
        )

    def release_wheel(self, out: Path, version: str, envelope: bytes) -> None:
        """Build the wheel of `aitbc-release`, which contains the signed manifest."""
        project = self._sources / "build" / DISTRIBUTION
        member = project / MEMBER
        member.parent.mkdir(parents=True)
        member.write_bytes(envelope)
        description = _RELEASE_PROJECT.format(name=DISTRIBUTION, version=version, member=MEMBER)
        (project / "pyproject.toml").write_text(description, encoding="utf-8")
        self._build(project, out, "--wheel")

    def _build(self, project: Path, out: Path, *options: str) -> None:
        words = [find_uv_bin(), "--quiet", "build", "--no-sources", "--no-create-gitignore", *options]
        words += ["--build-constraints", str(BUILD_REQUIREMENTS), "--require-hashes", "--out-dir", str(out)]
        self._run(*words, *(["--offline"] if self._offline else []), str(project))

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            words,
            cwd=self._sources,
            env=self._variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        if done.returncode != 0:
            command = " ".join([Path(words[0]).name, *words[1:]])
            raise SystemExit(f"{command} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        return done.stdout
