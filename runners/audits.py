"""How the work of one miner is checked by another: what a comparer sees, and what it answers.

An audit is a job that contains another job: its specification, the results that its miner signed, and the miner's evidence. A runner
compares them with its own work, or with a part of it. All distances grow with the difference, so that one limit each decides.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypeAlias

Verdict: TypeAlias = Literal["pass", "fail", "unproven"]

AUDIT_PREFIX = "audit:"
"""An audit's input file with this prefix is an output file of the audited job, by the name of the statement's subject."""


@dataclass(frozen=True, slots=True)
class Comparer:
    """What a runner compares in an audit, and what that costs."""

    compares: str
    """In words."""
    cost: Literal["prefill", "window", "rerun"]
    """"prefill": reading input and output once, a small part of the job. "window": a random part of the job. "rerun": the whole job."""
    least_limits: Mapping[str, float] = field(default_factory=dict)
    """Limits that no calibration goes below, by distance: machines that were not measured differ too."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What honest results depend on besides the model."""

    engine: str
    precision: str
    """The exact one, such as "q4_1" or "bfloat16"."""
    device: str
    """The class of the device: "cpu" or a GPU's name."""


@dataclass(frozen=True, slots=True)
class HonestRange:
    """A distance between honest runs."""

    least: float
    greatest: float
    count: int
    """How many audits were measured."""
    limit: float
    """An audit with a greater distance fails."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far apart honest runs in two conditions are."""

    service: str
    audited: Condition
    """The condition of the miner."""
    auditor: Condition
    """The condition of the one who checks it."""
    ranges: Mapping[str, HonestRange]
    """By distance."""
    model: str = ""
    """A catalogue name; empty for services without models."""
    weights: str = ""
    """The digest of the model's weights; empty for services without models."""


@dataclass(frozen=True, slots=True)
class Audited:
    """The audited work."""

    results: Mapping[str, Any]
    """The client's."""
    statement: Mapping[str, Any]
    """The whole in-toto statement that the miner signed. Its digests of results and output files are right."""
    evidence: Mapping[str, Any] | None = None
    """What the runner returned as evidence, if anything."""
    nonce: str = ""
    """That of the audited lease, in hex; empty if it had none."""
    choice: str = ""
    """In hex, unknown to the audited miner: choose the part that is compared by it."""
    answer: Mapping[str, Any] | None = None
    """Known results, with which to compare instead of running again."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """The output files by their names in the subject of the statement."""
    calibrations: Sequence[Calibration] = ()
    """Those of this service that the auditor's machine has."""
    asked: list[tuple[Condition, Condition]] = field(default_factory=list, compare=False, repr=False)
    """The conditions for which the comparer wanted a calibration: those for which `aitbc-agent calibrate` makes one."""

    @property
    def predicate(self) -> Mapping[str, Any]:
        """What the statement says about the run: its miner, model, device, runner, inputs and units."""
        predicate: Mapping[str, Any] = self.statement["predicate"]
        return predicate

    @property
    def seed(self) -> str | None:
        """The seed that the audited run drew from (see `Context.seed`); None if its lease had no nonce."""
        named = self.predicate
        return run_seed(named["job_id"], int(named["fence"]), named["miner_id"], self.nonce)

    @property
    def device(self) -> str:
        """The class of the device that the miner states (see `Condition`)."""
        device = self.predicate["device"]
        return device_class(device["kind"], device["name"])

    @property
    def condition(self) -> Condition:
        """The condition that the evidence states, of services whose evidence names its `engine` and `precision`."""
        stated = self.evidence or {}
        return Condition(str(stated.get("engine")), str(stated.get("precision")), self.device)

    def calibration(self, audited: Condition, auditor: Condition) -> Calibration | None:
        """Return the honest ranges for these two conditions and the model that the miner states; None if nobody has made them."""
        # Recorded even without a calibration, so that the operator learns which one is missing.
        self.asked.append((audited, auditor))
        return self._fitting(audited, auditor)

    def _fitting(self, audited: Condition, auditor: Condition) -> Calibration | None:
        model = self.predicate.get("model")
        name, weights = ("", "") if model is None else (model["name"], model["digest"]["sha256"])
        for calibration in self.calibrations:
            same_model = calibration.model == name and calibration.weights == weights
            if same_model and (calibration.audited, calibration.auditor) == (audited, auditor):
                return calibration
        return None

    @property
    def is_unknown(self) -> bool:
        """Whether the auditor has calibrations for its own condition and the model, but none for what the miner states."""
        if not self.asked or self._fitting(*self.asked[-1]) is not None:
            return False
        model = self.predicate.get("model")
        name = "" if model is None else model["name"]
        return any(
            calibration.model == name and calibration.auditor == self.asked[-1][1]
            for calibration in self.calibrations
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcome of a comparison. A distance above its limit fails."""

    verdict: Verdict
    """"unproven" means that the comparison proves neither: there is no calibration, or too little to compare."""
    reason: str
    """One sentence for people."""
    distances: Mapping[str, float] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    """Those that were applied, by distance."""
    where: str = ""
    """The worst position: a token, a word, a frame."""
    cause: Literal["", "miner"] = ""
    """"miner" if it is unproven because of what the audited miner sent or stated."""


def failed(where: str, reason: str) -> Comparison:
    """Return the verdict about results that need no measuring: something at `where` cannot be of an honest run."""
    return Comparison("fail", reason, where=where)


@dataclass(frozen=True, slots=True)
class AuditResult:
    """The outcome of `Runner.audit`, and the metered units of the work that it took, in the unit of the service."""

    comparison: Comparison
    units: Decimal = Decimal(0)


def printable(comparison: Comparison) -> Comparison:
    """Return the comparison without control characters, which names in the audited results may contain."""
    location, reason = (
        "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(sign) == "Cc" else sign for sign in words)
        for words in (comparison.where, comparison.reason)
    )
    return replace(comparison, where=location, reason=reason)


def judge(
    distances: Mapping[str, float],
    calibration: Calibration | None,
    *,
    where: str = "",
    of: str = "the result",
) -> Comparison:
    """Return the verdict about measured distances: "fail" if one is above its limit, "unproven" without a calibration.

    Distances that the calibration does not contain are reported and decide nothing.
    """
    if calibration is None:
        reason = (
            "Nobody has measured how honest runs of this model differ under these conditions; "
            "run `aitbc-agent calibrate` on the auditor."
        )
        return Comparison("unproven", reason, distances, where=where)
    limits = {name: honest.limit for name, honest in calibration.ranges.items() if name in distances}
    if not limits:
        return Comparison(
            "unproven", "The calibration contains none of the measured distances.", distances, where=where
        )
    above = [name for name, limit in limits.items() if not distances[name] <= limit]  # so NaN fails
    if not above:
        return Comparison("pass", f"Every distance of {of} is within its limit.", distances, limits, where)
    # By the factor, since distances have different units. A limit of 0 tolerates nothing.
    worst = max(above, key=lambda name: distances[name] / limits[name] if limits[name] else float("inf"))
    reason = (
        f"The distance {worst} of {of} is {distances[worst]:.4g}; honest runs stay below {limits[worst]:.4g}."
    )
    return Comparison("fail", reason, distances, limits, where)


def device_class(kind: str, name: str) -> str:
    """Return the class of a device in calibrations: "cpu", or the name of a GPU."""
    return "cpu" if kind == "cpu" else name


def run_seed(job_id: str, fence: int, miner_id: str, nonce: str) -> str | None:
    """Return the seed of a run (hex, 32 bytes), which only this miner could use for this lease; None without a nonce.

    `miner_id` derives from the miner's identity key, and the coordinator draws the nonce with the lease, so that neither side chooses
    the seed.
    """
    if not nonce:
        return None
    return hashlib.sha256(f"aitbc run seed\n{job_id}\n{fence}\n{miner_id}\n{nonce}\n".encode()).hexdigest()


def audited_files(files: Mapping[str, Path]) -> tuple[dict[str, Path], dict[str, Path]]:
    """Split the input files of an audit into those of the audited job, by field, and its output files, by name."""
    inputs = {name: path for name, path in files.items() if not name.startswith(AUDIT_PREFIX)}
    outputs = {name.removeprefix(AUDIT_PREFIX): path for name, path in files.items() if name not in inputs}
    return inputs, outputs
