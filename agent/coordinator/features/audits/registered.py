"""What a miner states about a run, compared with what it has registered about its machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PYTHON_MODELS: Final = ("ai_inference", "python")
"""Service and runner whose version ends with that of Python, as `python` of the evidence states it."""


def contradiction(
    device: tuple[str, str, str | None],
    gpus: Mapping[str, str],
    runner: tuple[str, str, str],
    python: object = None,
) -> str:
    """Return what of a statement or its evidence contradicts the miner's registration, in one sentence; empty if nothing does.

    `device` has the stated kind, name and UUIDs (with commas); `gpus` are the registered names by UUID. `runner` has the service, the
    runner and its version, which are registered. An honest agent takes all of this from the same source, so that only an outdated
    registration can differ.
    """
    kind, name, uuids = device
    if kind != "cpu":
        stated = (uuids or "").split(",")
        missing = [uuid for uuid in stated if uuid not in gpus]
        if missing:
            return f"The statement names the GPU {missing[0]!a}, which the miner has not registered."
        registered = gpus.get(stated[0], "")
        # With several GPUs, the statement has their number and the first one's name.
        if name != (registered if len(stated) == 1 else f"{len(stated)} x {registered}"):
            return f"The statement names the device {name!a}, but the miner has registered {registered!a}."
    service, runner_name, version = runner
    # Only the version of this runner ends with that of Python.
    if (service, runner_name) == PYTHON_MODELS and python is not None and not version.endswith(f"+{python}"):
        return f"The evidence names Python {python!a}, but the miner has registered {version!a}."
    return ""
