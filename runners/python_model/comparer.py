"""Compares a Python model's results with the auditor's own: they are equal, or they are not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from runners.api import Audited, Comparer, Comparison, OutputFile

COMPARER: Final = Comparer(
    "Another machine runs your program again; the returned value and the files must be the same.",
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
    return _run_difference(
        mine, audited.results, lambda: {name: _digest(path) for name, path in audited.files.items()}
    )


def verdict(repeat: Callable[[], str | None], difference: str | None, hindered: str | None) -> Comparison:
    """Return the verdict about a difference. `repeat` repeats the auditor's own run, and returns where the two differ."""
    if difference is None:
        return Comparison(
            "pass", "The value and all files are equal.", {"difference": 0.0}, {"difference": 0.0}
        )
    if hindered is not None:
        return Comparison("unproven", hindered, {"difference": 1.0}, where=difference, cause="miner")
    if (repeated := repeat()) is not None:
        reason = "The model is not deterministic: two runs of the auditor differ."
        return Comparison("unproven", reason, {"difference": 1.0}, where=repeated)
    reason = "The result differs from two equal runs of the auditor in the same environment."
    return Comparison("fail", reason, {"difference": 1.0}, {"difference": 0.0}, difference)


def runs_differ(first_run: Mapping[str, Any], second_run: Mapping[str, Any]) -> str | None:
    """Return the path of the first difference between two own runs, None if they are equal."""
    return _run_difference(first_run, second_run, lambda: _digests(second_run))


def _run_difference(
    mine: Mapping[str, Any], results: Mapping[str, Any], digests: Callable[[], Mapping[str, str]]
) -> str | None:
    # Files, which may be large, are read only if all values are equal.
    own_values, their_values = (
        {name: value for name, value in run.items() if name not in HOST_FIELDS} for run in (mine, results)
    )
    location = _difference(own_values, their_values, "results")
    return location[:_MAX_WHERE] if location is not None else _file_difference(_digests(mine), digests())


def _digests(results: Mapping[str, Any]) -> dict[str, str]:
    """Return the digest of each file of results (hex SHA-256) by its name."""
    digests: dict[str, str] = {}
    for file in results.get("files") or ():
        if isinstance(file, OutputFile):
            digests[file.name] = _digest(file.path)
        else:
            digests[file["name"]] = file["artifact_id"].rpartition(":")[2]
    return digests


def _difference(left_value: Any, right_value: Any, path: str) -> str | None:
    if isinstance(left_value, Mapping) and isinstance(right_value, Mapping):
        if left_value.keys() != right_value.keys():
            return f"{path}.{min(left_value.keys() ^ right_value.keys())}"
        named = ((f"{path}.{name}", left_value[name], right_value[name]) for name in sorted(left_value))
        return next((location for at, a, b in named if (location := _difference(a, b, at)) is not None), None)
    if isinstance(left_value, list) and isinstance(right_value, list):
        if len(left_value) != len(right_value):
            return f"{path}: {len(right_value)} elements instead of {len(left_value)}"
        numbered = (
            (f"{path}[{at}]", a, b) for at, (a, b) in enumerate(zip(left_value, right_value, strict=True))
        )
        return next(
            (location for at, a, b in numbered if (location := _difference(a, b, at)) is not None), None
        )
    # JSON has one kind of number, but Python counts a truth value among its integers.
    is_equal = left_value == right_value and isinstance(left_value, bool) == isinstance(right_value, bool)
    return None if is_equal else path


def _file_difference(own_digests: Mapping[str, str], their_digests: Mapping[str, str]) -> str | None:
    if own_digests.keys() != their_digests.keys():
        return f"file {min(own_digests.keys() ^ their_digests.keys())}"[:_MAX_WHERE]
    differing = (name for name in sorted(own_digests) if own_digests[name] != their_digests[name])
    return next((f"file {name}"[:_MAX_WHERE] for name in differing), None)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
