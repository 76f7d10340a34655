"""The miner protocol's calls over the WebSocket, which are those of its HTTP routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import structlog
from pydantic import BaseModel, ValidationError

from agent.coordinator.operations.callers import Session
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.miners import completion, events, heartbeats, leases
from agent.core.errors import ApiError, InternalError, NotFound, ValidationFailed, error_body
from agent.core.values.fields import Answer
from agent.protocol.messages import (
    Heartbeat,
    RunEvents,
    RunFailure,
    RunRelease,
    RunResult,
)
from agent.protocol.validation_errors import field_errors

log = structlog.get_logger()

Body = Mapping[str, Any]
_JobCall = Callable[[Context, Session, str, Any], Awaitable[Answer | None]]

_JOB_CALLS: Final[dict[str, tuple[type[BaseModel], _JobCall]]] = {
    "result": (RunResult, completion.complete),
    "fail": (RunFailure, leases.fail),
    "release": (RunRelease, leases.release),
    "events": (RunEvents, events.pass_on),
}


async def answer(context: Context, session: Session, message: Body) -> tuple[int, Body]:
    """Carry out one call. Return the status and body of the HTTP answer; errors are answers too."""
    try:
        result = await _perform(context, session, message)
    except ValidationError as error:
        failure: ApiError = ValidationFailed("The message is not valid.", field_errors(error))
    except ApiError as error:
        failure = error
    except Exception:
        log.exception("miner_call_failed", call=str(message.get("call"))[:40], miner_id=session.miner_id)
        failure = InternalError("The server failed; its log has the details.")
    else:
        return (204, {}) if result is None else (200, result.model_dump(exclude_none=True))
    return failure.status, error_body(failure.code, failure.message, failure.details, "")


async def _perform(context: Context, session: Session, message: Body) -> Answer | None:
    call = message.get("call")
    body = message.get("body", {})
    if call == "heartbeat":
        return await heartbeats.heartbeat(context, session, Heartbeat.model_validate(body))
    if not isinstance(call, str) or call not in _JOB_CALLS:
        raise NotFound(f"There is no call {call!r}. The calls are heartbeat, {', '.join(_JOB_CALLS)}.")
    model, perform = _JOB_CALLS[call]
    return await perform(context, session, str(message.get("job_id", "")), model.model_validate(body))
