"""A lease as it comes from the coordinator: read once, checked, then only passed on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from decimal import ROUND_DOWN, Decimal
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from agent.core.tracing import TRACE_ID
from agent.core.values.quantities import Money, parse_time
from aitbc.canonical import canonical_json, sha256_hex
from aitbc.errors import FormatError
from runners.host.protocol import UNIT_STEP


def _read_time(value: object) -> float:
    if not isinstance(value, str):
        raise ValueError("a time is a string in RFC 3339")  # noqa: TRY004 - pydantic's way
    return parse_time(value)


_Time = Annotated[float, BeforeValidator(_read_time)]


class _Received(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Spec(_Received):
    """What is to be done. `files` names inputs by field, as address or `{"inline": text}`."""

    job_id: str = Field(pattern=r"^job_[0-9A-Za-z_-]{1,64}$")  # becomes the name of a directory
    service: str
    model: str | None = None
    parameters: dict[str, Any] = {}
    files: dict[str, str | dict[str, Any]] = {}
    resources: dict[str, str] = {}


class Checkpoint(_Received):
    """A file that an earlier run of the job has handed over. `size` is in bytes."""

    artifact_id: str
    name: str
    media_type: str
    size: int = Field(ge=0)


class Lease(_Received):
    """The right to run a job until its deadline, as long as heartbeats renew it."""

    job_id: str
    fence: int = Field(ge=1)
    service: str
    spec_digest: str
    unit_price: Money
    max_cost: Money
    assigned_at: _Time
    deadline: _Time
    spec: Spec
    checkpoints: tuple[Checkpoint, ...] = ()
    trace_id: str | None = Field(default=None, pattern=TRACE_ID)
    received_at: float = Field(default_factory=time.monotonic)

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

    def moment(self) -> float:
        """The coordinator's time, counted from the lease's arrival: this machine's clock may be wrong."""
        return self.assigned_at + time.monotonic() - self.received_at

    def seconds_left(self) -> float:
        """Time until the deadline, counted from the lease's arrival: the two machines' clocks may differ."""
        return self.deadline - self.assigned_at - (time.monotonic() - self.received_at)


def digest_agrees(message: Mapping[str, Any]) -> bool:
    """Whether the spec of a lease message is the one whose digest the coordinator promised to pay for."""
    spec = message["spec"]
    try:
        digest = sha256_hex(canonical_json(spec))
    except FormatError:
        return False
    same_job = spec["job_id"] == message["job_id"] and spec["service"] == message["service"]
    return bool(digest == message["spec_digest"] and same_job)
