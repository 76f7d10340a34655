"""Files that a run hands over so that a later run of the same job, on another miner, can resume."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Declares that the runs of a service hand over checkpoints and resume from those of earlier runs."""

    resumes: str
    """The parts of the work that are not repeated, such as "frames"."""
    files: Mapping[str, str]
    """Regular expressions of the names of checkpoints, with the media type of each. No other file of an earlier run reaches a runner."""
    outputs: bool = False
    """Whether each checkpoint is also a finished output, which the client can read while the job runs."""

    def accepts(self, name: str, media_type: str) -> bool:
        """Return whether a file with this name and media type is a checkpoint of the service."""
        return any(
            media_type == expected and re.fullmatch(pattern, name) is not None
            for pattern, expected in self.files.items()
        )
