"""The events of a streamed answer to `POST /v1/responses`.

OpenAI's API and Open Responses name the events of unabridged thoughts differently. Thoughts are therefore sent as a summary, for which
both have the same events, and which clients show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel

from agent.coordinator.features.client_apis.openai_errors import stream_error
from agent.coordinator.features.client_apis.submission import AnswerSubmission
from agent.coordinator.features.client_apis.text.chunks import Added, CallPart, Chunks
from agent.coordinator.features.openai.responses.response import (
    ItemStatus,
    OutputCall,
    OutputItem,
    OutputMessage,
    OutputReasoning,
    OutputText,
    Response,
    SummaryText,
    ended,
    final_status,
    item_id,
    token_logprobs,
)
from runners.llm.request import InferenceResult, TokenLogprob


class ResponseEvent(BaseModel, defer_build=True):
    """An event. `type` says which of the other fields it has; `sequence_number` counts the events of a stream."""

    type: str
    sequence_number: int
    response: dict[str, Any] | None = None
    output_index: int | None = None
    item_id: str | None = None
    item: dict[str, Any] | None = None
    content_index: int | None = None
    summary_index: int | None = None
    part: dict[str, Any] | None = None
    delta: str | None = None
    text: str | None = None
    name: str | None = None
    arguments: str | None = None
    logprobs: list[dict[str, Any]] | None = None
    code: str | None = None
    message: str | None = None
    param: str | None = None
    error: dict[str, Any] | None = None


_TEXT: Final = "text"
_REASONING: Final = "reasoning"


class ResponseEvents(Chunks):
    """Forms the events. See `writing.Chunks`.

    The items of the output have the order in which they began. Text ends the thoughts before it, and a call the text before it;
    calls end with the answer, since their parts can alternate.
    """

    def __init__(self, submission: AnswerSubmission, response: Response) -> None:
        self._submission = submission
        self._response = response
        self._output: list[OutputItem] = []
        self._open: dict[str, int] = {}
        self._count = 0

    def begin(self) -> list[BaseModel]:
        """Return the events before the text."""
        response = self._response.model_dump(mode="json")
        return [self._event(f"response.{name}", response=response) for name in ("created", "in_progress")]

    def piece(self, added: Added) -> list[BaseModel]:
        """Return the events for an addition to the answer."""
        events: list[BaseModel] = []
        if added.reasoning:
            events += self._add(_REASONING, added.reasoning)
        if added.text:
            events += self._add(_TEXT, added.text, tokens=added.logprobs)
        for call in added.tool_calls:
            events += self._add(f"call {call.index}", call.function.arguments or "", call=call)
        return events

    def end(self, result: InferenceResult) -> list[BaseModel]:
        """Return the events after the text, the last of which has the whole answer."""
        events: list[BaseModel] = []
        # Clients read the first message of the output, so an empty answer has one too.
        if not any(isinstance(item, OutputMessage | OutputCall) for item in self._output):
            events += self._begin(_TEXT)
        messages = [item for item in self._output if isinstance(item, OutputMessage)]
        # The result has the log-probabilities of the whole text, while pieces may lack some. With several messages it is not known
        # which tokens belong to which.
        if len(messages) == 1 and _TEXT in self._open:
            messages[0].content[0].logprobs = token_logprobs(result.logprobs or ())
        for key in list(self._open):
            events += self._close(key, final_status(result))
        final = ended(self._response, self._submission, result, self._output)
        return [*events, self._event(f"response.{final.status}", response=final.model_dump(mode="json"))]

    def failure(self, error: Mapping[str, Any]) -> BaseModel:
        """Return the event for an error, in the form of OpenAI's API and, under `error`, of Open Responses."""
        fields = stream_error(error)
        same = {name: fields[name] for name in ("code", "message", "param")}
        return self._event("error", **same, error=fields)

    def _begin(self, key: str, call: CallPart | None = None) -> Iterator[BaseModel]:
        """Open an item unless it is open, and close what it ends."""
        if key in self._open:
            return
        # Models alternate between thoughts and text, and an item cannot be continued once another one has begun.
        for open_key in {_TEXT, _REASONING} & set(self._open):
            yield from self._close(open_key, "completed")
        index = len(self._output)
        item = self._item(key, index, call)
        self._output.append(item)
        self._open[key] = index
        item_fields = item.model_dump(mode="json")
        if isinstance(item, OutputMessage):
            # An added item has no parts yet: each part is announced by an event of its own.
            item_fields["content"] = []
        elif isinstance(item, OutputReasoning):
            item_fields["summary"] = []
        yield self._event("response.output_item.added", output_index=index, item=item_fields)
        if isinstance(item, OutputMessage):
            yield self._of(
                index, "response.content_part.added", content_index=0, part=item.content[0].model_dump()
            )
        elif isinstance(item, OutputReasoning):
            part = item.summary[0].model_dump()
            yield self._of(index, "response.reasoning_summary_part.added", summary_index=0, part=part)

    def _item(self, key: str, index: int, call: CallPart | None) -> OutputItem:
        if key == _REASONING:
            return OutputReasoning(id=item_id("rs", self._submission, index), summary=[SummaryText(text="")])
        if call is None:
            return OutputMessage(
                id=item_id("msg", self._submission, index),
                status="in_progress",
                content=[OutputText(text="", logprobs=[])],
            )
        return OutputCall(
            id=item_id("fc", self._submission, index),
            call_id=call.id or item_id("call", self._submission, index),
            name=call.function.name or "",
            arguments="",
            status="in_progress",
        )

    def _add(
        self,
        key: str,
        delta: str,
        *,
        tokens: Sequence[TokenLogprob] = (),
        call: CallPart | None = None,
    ) -> Iterator[BaseModel]:
        yield from self._begin(key, call)
        index = self._open[key]
        item = self._output[index]
        if isinstance(item, OutputReasoning):
            item.summary[0].text += delta
            yield self._of(index, "response.reasoning_summary_text.delta", summary_index=0, delta=delta)
        elif isinstance(item, OutputMessage):
            logprobs = token_logprobs(tokens)
            item.content[0].text += delta
            item.content[0].logprobs += logprobs
            token_fields = [token.model_dump() for token in logprobs]
            name = "response.output_text.delta"
            yield self._of(index, name, content_index=0, delta=delta, logprobs=token_fields)
        # The first part of a call often has a name and no arguments; an event without a change would be useless.
        elif delta:
            item.arguments += delta
            yield self._of(index, "response.function_call_arguments.delta", delta=delta)

    def _close(self, key: str, status: ItemStatus) -> Iterator[BaseModel]:
        index = self._open.pop(key)
        item = self._output[index]
        if isinstance(item, OutputReasoning):
            part = item.summary[0]
            kind = "response.reasoning_summary"
            yield self._of(index, f"{kind}_text.done", summary_index=0, text=part.text)
            yield self._of(index, f"{kind}_part.done", summary_index=0, part=part.model_dump())
        elif isinstance(item, OutputMessage):
            item.status = status
            text = item.content[0].model_dump()
            fields = {"content_index": 0, "text": text["text"], "logprobs": text["logprobs"]}
            yield self._of(index, "response.output_text.done", **fields)
            yield self._of(index, "response.content_part.done", content_index=0, part=text)
        else:
            item.status = status
            fields = {"name": item.name, "arguments": item.arguments}
            yield self._of(index, "response.function_call_arguments.done", **fields)
        item_fields = item.model_dump(mode="json")
        yield self._event("response.output_item.done", output_index=index, item=item_fields)

    def _of(self, index: int, kind: str, **fields: Any) -> ResponseEvent:
        """Return an event of an item."""
        return self._event(kind, output_index=index, item_id=self._output[index].id, **fields)

    def _event(self, kind: str, **fields: Any) -> ResponseEvent:
        event = ResponseEvent(type=kind, sequence_number=self._count, **fields)
        # Numbers without gaps, from which a client sees that it has lost an event.
        self._count += 1
        return event
