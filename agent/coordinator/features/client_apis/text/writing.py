"""Streams the answers of a language model as chunks of an answer while it is generated."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from agent.coordinator.features.client_apis.text.chunks import Added, CallPart, Chunks, FunctionPart
from agent.coordinator.feed.hub import Message
from runners.llm.request import Answer, InferenceResult

if TYPE_CHECKING:  # routes begin it, and read from it here
    from agent.coordinator.features.client_apis.job_stream import JobStream


async def chunks(stream: JobStream, form: Chunks) -> AsyncIterator[BaseModel | None]:
    """Yield the answer, chunk by chunk, and None after an interval without a chunk. Raises `AnswerFailed`.

    If pieces were lost, or another miner began again, the text pauses until the job ends, and the last piece has the missing
    text.
    """
    for chunk in form.begin():
        yield chunk
    sent_answers = _SentAnswers()
    async for message in stream.messages():
        if message is None:
            yield None
        elif piece := sent_answers.piece_of(message):
            stream.extend()
            for chunk in form.piece(piece):
                yield chunk
    result = await stream.result(InferenceResult)
    for added in _rest(stream, sent_answers, result):
        for chunk in form.piece(added):
            yield chunk
    for chunk in form.end(result):
        yield chunk


def _rest(stream: JobStream, sent_answers: _SentAnswers, result: InferenceResult) -> list[Added]:
    missing = [sent_answers.rest(index, answer) for index, answer in enumerate(result.all_answers)]
    if None in missing:
        raise stream.changed()
    return [
        added
        for added in missing
        if added is not None and (added.text or added.reasoning or added.tool_calls)
    ]


class _SentAnswer:
    """What has been sent of one answer. Once pieces may be missing, no more are sent."""

    def __init__(self) -> None:
        self.text = ""
        self.reasoning = ""
        self.calls: dict[int, str] = {}
        self._parts = 0
        self._complete = True

    def add(self, kind: str, data: Mapping[str, Any], added: Added) -> bool:
        """Record an addition; return whether it may be sent."""
        # The position is what was published before this piece. After a gap, and in a new run, it differs from what was sent.
        offset = len(self.text) if kind == "token" else self._parts
        if data.get("offset") != offset:
            self._complete = False
        if not self._complete:
            return False
        self.text += added.text
        self.reasoning += added.reasoning
        for call in added.tool_calls:
            self.calls[call.index] = self.calls.get(call.index, "") + (call.function.arguments or "")
        self._parts += kind == "part"
        return True


class _SentAnswers:
    """What has been sent of all answers."""

    def __init__(self) -> None:
        self._answers: dict[int, _SentAnswer] = defaultdict(_SentAnswer)

    def piece_of(self, message: Message) -> Added | None:
        """Return what a message adds to send, None if nothing."""
        data = message.get("data", {})
        kind = data.get("kind") if message["type"] == "job_event" else None
        if kind not in {"token", "part"}:
            return None
        try:
            added = Added.model_validate(data)
        except ValidationError:  # a miner may publish anything
            return None
        return added if self._answers[added.index].add(kind, data, added) else None

    def rest(self, index: int, answer: Answer) -> Added | None:
        """Return the unsent rest of a final answer; None if the answer does not begin with what was sent."""
        sent_answer = self._answers[index]
        calls = answer.tool_calls or []
        arguments = {number: call.arguments for number, call in enumerate(calls)}
        if (
            not answer.text.startswith(sent_answer.text)
            or not (answer.reasoning or "").startswith(sent_answer.reasoning)
            or any(
                not arguments.get(number, "").startswith(part) for number, part in sent_answer.calls.items()
            )
        ):
            return None
        missing = []
        for number, call in enumerate(calls):
            sent_part = sent_answer.calls.get(number)
            if sent_part is None:
                function = FunctionPart(name=call.name, arguments=call.arguments)
                missing.append(CallPart(index=number, id=call.id, type="function", function=function))
            elif sent_part != call.arguments:
                function = FunctionPart(arguments=call.arguments[len(sent_part) :])
                missing.append(CallPart(index=number, function=function))
        text = answer.text[len(sent_answer.text) :]
        reasoning = (answer.reasoning or "")[len(sent_answer.reasoning) :]
        return Added(index=index, text=text, reasoning=reasoning, tool_calls=missing)
