"""The model that attempts to escape. `parameters["act"]` is its action: attack, litter, or wait beside an attacker."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from support.escapes.model import devices, files, kernel, left_overs, network, processes
from support.escapes.model.attempts import ATTEMPTS, perform

KINDS = (devices, files, kernel, left_overs, network, processes)
"""The imported modules register their attempts."""


def predict(input: str | None, **parameters: Any) -> Any:  # noqa: A002 - the service's signature
    """Perform the requested action and return its results."""
    facts = parameters.get("facts", {})
    if parameters["act"] == "litter":
        return {"left": left_overs.litter(facts)}
    if parameters["act"] == "wait":
        Path("started").write_text(str(os.getpid()))
        time.sleep(parameters["seconds"])
        return {}
    spared = parameters.get("spared", ())
    return {
        "attempts": perform(
            parameters.get("names") or [name for name in ATTEMPTS if name not in spared], facts
        )
    }
