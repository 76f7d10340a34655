"""A lease: validated once when it arrives, then passed on in this form only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from typing import Any, Self

from agent.core.values.quantities import parse_money, parse_time
from agent.protocol import answers
from agent.protocol.answers import CheckpointFile, Spec
from agent.protocol.reading import MalformedMessage, read
from aitbc.canonical import canonical_json, sha256_hex
from aitbc.errors import FormatError
from runners.awake import boot_seconds
from runners.host.protocol import UNIT_STEP


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run a job until its deadline, as long as heartbeats renew it.

    Times are seconds since the epoch by the coordinator's clock; `received_at` is in `boot_seconds`, which go on while the machine is suspended.
    """

    job_id: str
    fence: int
    service: str
    spec: Spec
    spec_digest: str
    unit_price: Decimal
    max_cost: Decimal
    assigned_at: float
    deadline: float
    checkpoints: Sequence[CheckpointFile]
    trace_id: str
    nonce: str
    cache_salt: str | None
    sent_spec: Mapping[str, Any] = field(repr=False)
    received_at: float = field(default_factory=boot_seconds)

    @classmethod
    def read(cls, values: Any) -> Self:
        """Read a lease as the coordinator sends it. Raises `MalformedMessage`."""
        message = read(answers.Lease, values)
        try:
            return cls(
                job_id=message.job_id,
                fence=message.fence,
                service=message.service,
                spec=read(Spec, message.spec),
                spec_digest=message.spec_digest,
                unit_price=parse_money(message.unit_price),
                max_cost=parse_money(message.max_cost),
                assigned_at=parse_time(message.assigned_at),
                deadline=parse_time(message.deadline),
                checkpoints=message.checkpoints,
                trace_id=message.trace_id,
                nonce=message.nonce or "",
                cache_salt=message.cache_salt,
                sent_spec=message.spec,
            )
        except ValueError as error:
            raise MalformedMessage(f"Lease: {error}") from None

    @property
    def key(self) -> tuple[str, int]:
        """The job's id and the fence, which together name this lease."""
        return self.job_id, self.fence

    @property
    def max_units(self) -> Decimal | None:
        """The units that `max_cost` pays for; None where they cost nothing."""
        if not self.unit_price:
            return None
        return (self.max_cost / self.unit_price).quantize(UNIT_STEP, ROUND_DOWN)

    def coordinator_time(self) -> float:
        """The coordinator's time, counted from the lease's arrival: this machine's clock may be wrong."""
        return self.assigned_at + boot_seconds() - self.received_at

    def seconds_left(self) -> float:
        """Time until the deadline, counted from the lease's arrival: the two machines' clocks may differ."""
        return self.deadline - self.coordinator_time()

    def has_valid_digest(self) -> bool:
        """Whether `spec_digest` is the digest of the spec that was sent, and the spec belongs to this lease's job."""
        try:
            digest = sha256_hex(canonical_json(self.sent_spec))
        except FormatError:
            return False
        same_job = self.spec.job_id == self.job_id and self.spec.service == self.service
        return digest == self.spec_digest and same_job
