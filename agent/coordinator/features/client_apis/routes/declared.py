"""How routes whose answers are those of jobs are declared in the OpenAPI document."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final

from fastapi import Depends, Request

from agent.coordinator.features.client_apis.errors import (
    AnswerCancelled,
    AnswerFailed,
    AnswerInvalid,
    AnswerRefused,
    AnswerTimeout,
)
from agent.coordinator.features.client_apis.submission import ClientCall
from agent.coordinator.job_fields import OPTION_ERRORS
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Context
from agent.coordinator.routes._callers import CLIENT, Guard, disconnected
from agent.coordinator.routes._declare import EVENT_STREAM, DataEvent, errors, event_stream, headers
from agent.core.errors import Conflict, InsufficientBalance, NotFound

CHUNKS: Final = 'data: {"id":"job_1234567890","object":"...","choices":[...]}\n\ndata: [DONE]\n\n'

ANSWER_ERRORS: Final = errors(
    NotFound,
    InsufficientBalance,
    Conflict,
    AnswerCancelled,
    AnswerFailed,
    AnswerInvalid,
    AnswerRefused,
    AnswerTimeout,
    *OPTION_ERRORS,
)


class _CallGuard(Guard):
    """Authorizes like `Client`, and returns the call."""

    async def __call__(self, request: Request) -> ClientCall:
        context: Context = request.app.state.context
        caller = await self.check(context, request.scope)
        assert isinstance(caller, Caller)  # noqa: S101 - a guard of clients returns no other
        return ClientCall(
            context,
            caller,
            request.scope["request_id"],
            request.headers.get("content-type"),
            request.stream(),
            partial(disconnected, request),
        )


Call = Annotated[ClientCall, Depends(_CallGuard(CLIENT.check, CLIENT.audience, CLIENT.errors))]


def answers(description: str, *media_types: str, events: str = CHUNKS) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of an answer; `media_types` are those besides JSON, `events` an example of a stream."""
    answer_headers = headers(X_Job_ID="The id of the answer's job")
    content: dict[str, Any] = {media_type: {"schema": {"type": "string"}} for media_type in media_types}
    if EVENT_STREAM in media_types:
        content |= event_stream("", events, DataEvent)["content"]
    return {200: {"description": description, "headers": answer_headers, "content": content}, **ANSWER_ERRORS}
