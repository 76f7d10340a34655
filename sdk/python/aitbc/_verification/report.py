"""The checks of a verification, and their outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from aitbc.errors import VerificationError
from aitbc.notes import Note
from aitbc.policy import Policy
from aitbc.statement import Statement

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a verification. `name` is its subject, `message` its outcome."""

    name: str
    ok: bool
    message: str


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome of verifying a receipt. `valid` means that every check passed.

    `coordinator_attestations` is the number of attestations that the log's key signed and that match the statement. `statement` is the
    miner's statement, if its signature is valid and it is well-formed. `log_index` is the number of the log's entry with the receipt, if
    that is proven. `conclusions` has what all of this means, in four sentences.
    """

    valid: bool
    miner_signature_valid: bool
    coordinator_attestations: int
    checks: tuple[Check, ...]
    statement: Statement | None = None
    log_index: int | None = None

    @property
    def failures(self) -> tuple[str, ...]:
        """One line for each failed check: its subject, and the error."""
        return tuple(f"{check.name}: {check.message}" for check in self.checks if not check.ok)

    def raise_for_failure(self) -> None:
        """Raise `VerificationError` with all failures if the receipt is invalid."""
        if not self.valid:
            raise VerificationError("The receipt is not valid: " + " ".join(self.failures))


@dataclass(slots=True)
class VerificationReport:
    """Collects checks. `statement` is set once the miner's signature is verified."""

    checks: list[Check] = field(default_factory=list)
    signed: bool = False
    attested: int = 0
    statement: Statement | None = None
    log_index: int | None = None

    def expect(self, name: str, ok: bool, good: str, bad: str) -> bool:
        """Add a check. Returns `ok`."""
        self.checks.append(Check(name, ok, good if ok else bad + "."))
        return ok

    def passed(self, name: str, message: str) -> None:
        """Add a check that has passed."""
        self.checks.append(Check(name, ok=True, message=message))

    def failed(self, name: str, message: str) -> None:
        """Add a check that has failed."""
        self.checks.append(Check(name, ok=False, message=f"{message}."))

    def expect_witnesses(self, policy: Policy, note: Note) -> None:
        """Check that the witnesses of a policy have cosigned a checkpoint."""
        cosigned = self.attempt("witnesses", lambda: policy.cosigned_by(note))
        if cosigned is not None:
            names = f"cosigned by {', '.join(sorted(cosigned)) or 'none'}"
            good, bad = f"the policy asks for {policy.quorum}", f"but the policy asks for {policy.quorum}"
            self.expect("witnesses", policy.is_met_by(cosigned), f"{names}; {good}", f"{names}, {bad}")

    def attempt(self, name: str, read: Callable[[], _T]) -> _T | None:
        """Run `read`. A `VerificationError` becomes a failed check."""
        try:
            return read()
        except VerificationError as error:
            self.checks.append(Check(name, ok=False, message=str(error)))
            return None

    def verification(self) -> Verification:
        """Return the outcome of all checks."""
        return Verification(
            # No check at all has failed either if nothing could be read, so the signature is required by name.
            valid=self.signed and all(check.ok for check in self.checks),
            miner_signature_valid=self.signed,
            coordinator_attestations=self.attested,
            checks=tuple(self.checks),
            statement=self.statement,
            log_index=self.log_index,
        )
