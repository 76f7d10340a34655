"""Version 0.1.0, from the history of this repository: its agent runs in this environment's Python."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

VERSION = "0.1.0"
COMMIT = "19f503317bdad3eb022ebe74367c002600da2a9f"
"""The last commit of the day on which 0.1.0 was released."""
ROOT = Path(__file__).parents[3]


def extract(directory: Path) -> dict[str, str]:
    """Extract its code into a directory. Return the environment in which the command `aitbc-agent` is of that version.

    It has no runners, so that its miner starts without engines.
    """
    command = ["git", "archive", COMMIT, "agent", "runners", "sdk/python/aitbc", "configs"]
    archive = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(directory)  # noqa: S202 - of this repository
    information = directory / f"aitbc_agent-{VERSION}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: aitbc-agent\nVersion: {VERSION}\n")
    return {"PYTHONPATH": f"{directory}:{directory / 'sdk/python'}"}
