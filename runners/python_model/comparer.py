"""Compares a Python model's results with the auditor's own: they are equal, or they are not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from runners.api import Audited, Comparer, Comparison, OutputFile

COMPARER: Final = Comparer(
    "The returned value and the files of a model that its client declares deterministic must equal those of the auditor's own run.",
    "rerun",
)

HOST_FIELDS: Final = ("files", "processing_time", "units")
"""Fields of the results that `predict` does not determine, or that are compared in another way."""

MAX_PACKAGES: Final = 300
"""Packages of an environment in the evidence."""

_MAX_WHERE: Final = 200
_BLOCK: Final = 2**20


def packages_in(directory: Path) -> dict[str, str]:
    """Return the versions of the packages in a directory, by name, at most `MAX_PACKAGES` of them."""
    named = (path.name.removesuffix(".dist-info") for path in directory.glob("*.dist-info"))
    pairs = sorted(name.rpartition("-")[::2] for name in named)
    return dict(pairs[:MAX_PACKAGES])


def hindrance(audited: Audited, environment: Mapping[str, Any], device: str) -> str | None:
    """Return why another result would prove nothing, None if it would: the runs must have had the same environment.

    `environment` is the auditor's evidence, `device` the class of its device.
    """
    if audited.device != device:
        return f"The miner ran the model on {audited.device}, the auditor on {device}."
    if audited.evidence is None:
        return "The miner did not state the versions of its Python and packages."
    for name in environment:
        if audited.evidence.get(name) != environment[name]:
            return f"The miner and the auditor had other versions of {name}."
    return None


def first_difference(mine: Mapping[str, Any], audited: Audited) -> str | None:
    """Return the path of the first difference between own results and the audited ones, None if they are equal.

    `mine` are the results of a run of this runner, with an `OutputFile` for each file, or known ones, with the digest of each.
    """
    own = {name: value for name, value in mine.items() if name not in HOST_FIELDS}
    other = {name: value for name, value in audited.results.items() if name not in HOST_FIELDS}
    found = _difference(own, other, "results")
    if found is not None:
        return found[:_MAX_WHERE]
    return _file_difference(_digests(mine), {name: _digest(path) for name, path in audited.files.items()})


def verdict(same: Callable[[], str | None], difference: str | None, hindered: str | None) -> Comparison:
    """Return the verdict about a difference. `same` repeats the auditor's own run, and returns where the two differ."""
    if difference is None:
        return Comparison(
            "pass", "The value and all files are equal.", {"difference": 0.0}, {"difference": 0.0}
        )
    if hindered is not None:
        return Comparison("unproven", hindered, {"difference": 1.0}, where=difference, cause="miner")
    if (repeated := same()) is not None:
        reason = "The model is not deterministic: two runs of the auditor differ."
        return Comparison("unproven", reason, {"difference": 1.0}, where=repeated)
    reason = "The result differs from two equal runs of the auditor in the same environment."
    return Comparison("fail", reason, {"difference": 1.0}, {"difference": 0.0}, difference)


def runs_differ(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """Return the path of the first difference between two own runs, None if they are equal."""
    values = [{name: value for name, value in run.items() if name not in HOST_FIELDS} for run in (one, other)]
    found = _difference(values[0], values[1], "results")
    return found or _file_difference(_digests(one), _digests(other))


def _digests(results: Mapping[str, Any]) -> dict[str, str]:
    """Return the digest of each file of results (hex SHA-256) by its name."""
    found: dict[str, str] = {}
    for file in results.get("files") or ():
        if isinstance(file, OutputFile):
            found[file.name] = _digest(file.path)
        else:
            found[file["name"]] = file["artifact_id"].rpartition(":")[2]
    return found


def _difference(one: Any, other: Any, path: str) -> str | None:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if one.keys() != other.keys():
            return f"{path}.{min(one.keys() ^ other.keys())}"
        named = ((f"{path}.{name}", one[name], other[name]) for name in sorted(one))
        return next((found for at, a, b in named if (found := _difference(a, b, at)) is not None), None)
    if isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            return f"{path}: {len(other)} elements instead of {len(one)}"
        numbered = ((f"{path}[{at}]", a, b) for at, (a, b) in enumerate(zip(one, other, strict=True)))
        return next((found for at, a, b in numbered if (found := _difference(a, b, at)) is not None), None)
    # JSON has one kind of number, but Python counts a truth value among its integers.
    same = one == other and isinstance(one, bool) == isinstance(other, bool)
    return None if same else path


def _file_difference(own: Mapping[str, str], other: Mapping[str, str]) -> str | None:
    if own.keys() != other.keys():
        return f"file {min(own.keys() ^ other.keys())}"[:_MAX_WHERE]
    differing = (name for name in sorted(own) if own[name] != other[name])
    return next((f"file {name}"[:_MAX_WHERE] for name in differing), None)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
