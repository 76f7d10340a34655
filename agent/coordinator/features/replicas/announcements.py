"""The messages between replicas about the ports of miners, as they are checked where they arrive.

Another replica may have a bug, or be another version, or lie: what it says must not end the matching of this one.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, TypeAdapter
from typing_extensions import TypedDict

from agent.protocol.messages import MAX_SLOTS, Capabilities, Fence, JobId, LongText, ShortText

Number = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""Of a port, a session or leases; all rise from 0."""


def _complete(capabilities: dict[str, Any]) -> dict[str, Any]:
    return Capabilities.model_validate(capabilities, strict=False).model_dump(mode="json")


Offered = Annotated[dict[str, Any], AfterValidator(_complete)]
"""Capabilities as on the wire."""


class Capacity(TypedDict):
    """The free capacity of a port. `taken` counts the leases by their leader that it accounts for."""

    id: Number
    slots: Annotated[int, Field(ge=0, le=MAX_SLOTS)]
    batches: Annotated[list[tuple[ShortText, ShortText | None, Number]], Field(max_length=MAX_SLOTS)]
    taken: dict[ShortText, Number]


class Announced(Capacity):
    """A port."""

    miner_id: ShortText
    session: Number
    capabilities: Offered


class _Spec(TypedDict):
    model: str | None


class _Lease(TypedDict):
    job_id: JobId
    fence: Fence
    service: ShortText
    spec: _Spec


_lease: TypeAdapter[_Lease] = TypeAdapter(_Lease)


def _claimed(lease: dict[str, Any]) -> dict[str, Any]:
    _lease.validate_python(lease)
    return lease


class Given(TypedDict):
    """A lease for a miner of this replica, whose own agent checks the rest of it."""

    id: Number
    miner_id: ShortText
    lease: Annotated[dict[str, Any], AfterValidator(_claimed)]


class CancelledLease(TypedDict):
    """A lease of a miner of this replica that is void."""

    id: Number
    job_id: JobId
    fence: Fence


class EndedSessions(TypedDict):
    """A miner whose sessions before this number are invalid, and why."""

    miner_id: ShortText
    before: Number
    reason: ShortText
    message: LongText


class Replaced(TypedDict):
    """What a session of a miner offers now."""

    miner_id: ShortText
    session: Number
    capabilities: Offered
