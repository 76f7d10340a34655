"""The events of a streamed answer to `POST /v1/messages`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel

from agent.coordinator.features.anthropic.answer import begun, shown, stop_reason, thoughts, usage_of
from agent.coordinator.features.anthropic.errors import stream_error
from agent.coordinator.features.anthropic.request import MessagesRequest
from agent.coordinator.features.anthropic.tool_names import names_of
from agent.coordinator.features.client_apis.submission import AnswerSubmission
from agent.coordinator.features.client_apis.text.chunks import Added, CallPart, Chunks
from runners.llm.request import InferenceResult

_THINKING: Final = "thinking"
_TEXT: Final = "text"
_CALL: Final = "tool_use"


class MessageEvent(BaseModel, defer_build=True):
    """An event. `type` says which of the other fields it has."""

    type: str
    message: dict[str, Any] | None = None
    index: int | None = None
    content_block: dict[str, Any] | None = None
    delta: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    request_id: str | None = None


class MessageEvents(Chunks):
    """Forms the events. See `writing.Chunks`.

    Blocks come one after the other, as clients expect. An engine may write the parts of several calls by turns: those of another
    call are sent when the arguments of the current one are complete.
    """

    def __init__(self, submission: AnswerSubmission, request: MessagesRequest) -> None:
        self._submission = submission
        self._request = request
        self._names = names_of(request)
        self._index = -1
        self._kind: str | None = None
        self._call: int | None = None
        self._arguments = ""
        self._pending: list[CallPart] = []

    def begin(self) -> list[BaseModel]:
        """Return the event before the content."""
        message = begun(self._submission).model_dump(mode="json")
        return [MessageEvent(type="message_start", message=message)]

    def piece(self, added: Added) -> list[BaseModel]:
        """Return the events for an addition to the answer."""
        events: list[BaseModel] = []
        if added.reasoning and self._request.shows_thoughts:
            events += self._to(_THINKING, thoughts(self._submission, "") | {"signature": ""})
            if text := shown(self._request, added.reasoning):
                events.append(self._delta("thinking_delta", thinking=text))
        if added.text:
            events += self._to(_TEXT, {"type": "text", "text": ""})
            events.append(self._delta("text_delta", text=added.text))
        self._pending += added.tool_calls
        events += self._calls()
        return events

    def end(self, result: InferenceResult) -> list[BaseModel]:
        """Return the events after the content."""
        events: list[BaseModel] = [*self._calls(final=True)]
        # Clients read the first block, so an answer of nothing has one too.
        if self._index < 0 or (self._kind == _THINKING and not result.tool_calls):
            events += self._to(_TEXT, {"type": "text", "text": ""})
        events += self._close()
        delta = {"stop_reason": stop_reason(result), "stop_sequence": result.stop_text}
        usage = usage_of(result.usage).model_dump(exclude={"service_tier"})
        return [
            *events,
            MessageEvent(type="message_delta", delta=delta, usage=usage),
            MessageEvent(type="message_stop"),
        ]

    def failure(self, error: Mapping[str, Any]) -> BaseModel:
        """Return the event for an error."""
        return MessageEvent(**stream_error(error))

    def _calls(self, *, final: bool = False) -> Iterator[BaseModel]:
        while self._pending:
            current = [part for part in self._pending if part.index == self._call]
            if not current:
                if not final and self._kind == _CALL and not _is_json(self._arguments):
                    return
                call = self._pending[0]
                self._call, self._arguments = call.index, ""
                current = [part for part in self._pending if part.index == self._call]
                yield from self._close()
                yield from self._to(_CALL, self._call_block(call))
            self._pending = [part for part in self._pending if part not in current]
            for part in current:
                if arguments := part.function.arguments:
                    self._arguments += arguments
                    yield self._delta("input_json_delta", partial_json=arguments)

    def _call_block(self, call: CallPart) -> dict[str, Any]:
        name = call.function.name or ""
        call_id = call.id or f"{self._submission.job_id}_{self._call}"
        return {"type": "tool_use", "id": call_id, "name": self._names.get(name, name), "input": {}}

    def _to(self, kind: str, block: Mapping[str, Any]) -> Iterator[BaseModel]:
        """Begin a block, unless the current one is of this kind."""
        if self._kind == kind:
            return
        yield from self._close()
        self._index += 1
        self._kind = kind
        yield MessageEvent(type="content_block_start", index=self._index, content_block=dict(block))

    def _close(self) -> Iterator[BaseModel]:
        if self._kind == _THINKING:
            yield self._delta("signature_delta", signature=self._submission.job_id)
        if self._kind is not None:
            self._kind = None
            yield MessageEvent(type="content_block_stop", index=self._index)

    def _delta(self, kind: str, **fields: str) -> MessageEvent:
        return MessageEvent(type="content_block_delta", index=self._index, delta={"type": kind, **fields})


def _is_json(arguments: str) -> bool:
    try:
        json.loads(arguments or "{}")
    except ValueError:
        return False
    return True
