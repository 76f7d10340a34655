"""What a verification looked at, and what it found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from aitbc.errors import VerificationError
from aitbc.statement import Statement

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a verification looked at. `name` says what, `message` what was found."""

    name: str
    ok: bool
    message: str


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome of verifying a receipt. `valid` means that every check holds.

    `coordinator_attestations` counts the attestations that are signed by the log's key and agree with the statement.
    `statement` is what the miner signed, when its signature is good and its form right.
    """

    valid: bool
    miner_signature_valid: bool
    coordinator_attestations: int
    checks: tuple[Check, ...]
    statement: Statement | None = None

    @property
    def failures(self) -> tuple[str, ...]:
        """One line for every check that does not hold: what was checked, and what is wrong."""
        return tuple(f"{check.name}: {check.message}" for check in self.checks if not check.ok)

    def raise_for_failure(self) -> None:
        """Raise `VerificationError` with all failures unless the receipt is valid."""
        if not self.valid:
            raise VerificationError("The receipt is not valid: " + " ".join(self.failures))


@dataclass(slots=True)
class Report:
    """Collects checks. `statement` stands once the miner's signature is known to be good."""

    checks: list[Check] = field(default_factory=list)
    signed: bool = False
    attested: int = 0
    statement: Statement | None = None

    def expect(self, name: str, ok: bool, good: str, bad: str) -> bool:
        """Note a check; returns `ok`."""
        self.checks.append(Check(name, ok, good if ok else bad + "."))
        return ok

    def attempt(self, name: str, read: Callable[[], _T]) -> _T | None:
        """Run `read`; a `VerificationError` becomes a failed check."""
        try:
            return read()
        except VerificationError as error:
            self.checks.append(Check(name, ok=False, message=str(error)))
            return None

    def verification(self) -> Verification:
        """The outcome of all checks."""
        return Verification(
            valid=self.signed and all(check.ok for check in self.checks),
            miner_signature_valid=self.signed,
            coordinator_attestations=self.attested,
            checks=tuple(self.checks),
            statement=self.statement,
        )
