"""The answers of Ollama's API to requests for text, whole and in chunks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel

from agent.coordinator.features.client_apis.submission import AnswerSubmission
from agent.coordinator.features.client_apis.text.chunks import Added, Chunks
from agent.coordinator.features.ollama.paths import sentence
from agent.core.values.quantities import format_time
from aitbc.answers.fields import example
from runners.llm.request import Answer, InferenceResult, TokenLogprob

NANOSECONDS = 10**9


class TimedInference(InferenceResult):
    """The result of the service, with the seconds that the model worked."""

    processing_time: float = 0


class OllamaAnswer(BaseModel, defer_build=True):
    """What every answer and every chunk has. Durations, in nanoseconds, and counts of tokens are those of a complete answer.

    `load_duration` is the time before the model writes: waiting for a miner, and loading; in streams also reading the prompt.
    """

    model: str
    created_at: str
    done: bool
    done_reason: Literal["stop", "length", "load", "unload"] | None = None
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None


class OllamaAlternative(BaseModel, defer_build=True):
    """A token that the model could have written, and its log-probability."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class OllamaLogprob(OllamaAlternative):
    """A token of the text, and the most likely tokens instead of it."""

    top_logprobs: list[OllamaAlternative] | None = None


class CalledWithObject(BaseModel, defer_build=True):
    """A function that the model calls, with its arguments as an object."""

    index: int
    name: str
    arguments: dict[str, Any]


class MadeCall(BaseModel, defer_build=True):
    """A call of a function."""

    id: str
    function: CalledWithObject


class OllamaMessage(BaseModel, defer_build=True):
    """The model's turn, or a piece of it. Calls come whole, in one chunk after the text."""

    role: Literal["assistant"] = "assistant"
    content: str = ""
    thinking: str | None = None
    tool_calls: list[MadeCall] | None = None


_BEGIN = {"model": "smollm2-135m-instruct", "created_at": "2024-01-01T12:00:00Z"}
_END = {
    "done": True,
    "done_reason": "stop",
    "total_duration": 1_500_000_000,
    "load_duration": 500_000_000,
    "prompt_eval_count": 14,
    "eval_count": 8,
    "eval_duration": 1_000_000_000,
}


class OllamaChatAnswer(OllamaAnswer):
    """The answer to a conversation, or a chunk of it."""

    model_config = example(
        {**_BEGIN, "message": {"role": "assistant", "content": "The capital of France is Paris."}, **_END}
    )

    message: OllamaMessage
    logprobs: list[OllamaLogprob] | None = None


class OllamaGenerateAnswer(OllamaAnswer):
    """The answer to a prompt, or a chunk of it."""

    model_config = example({**_BEGIN, "response": "The capital of France is Paris.", **_END})

    response: str
    thinking: str | None = None
    logprobs: list[OllamaLogprob] | None = None


class OllamaFailure(BaseModel, defer_build=True):
    """The last chunk of a stream that failed."""

    error: str


class OllamaForm(Chunks):
    """Forms the answers of a conversation (`chat`) or of a prompt to requests of `began`, in seconds since the epoch."""

    def __init__(self, submission: AnswerSubmission, began: float, *, chat: bool) -> None:
        self._submission = submission
        self._clock = submission.context.clock
        self._began = began
        self._first: float | None = None
        self._chat = chat

    def begin(self) -> list[BaseModel]:
        """Return no chunk."""
        return []

    def piece(self, added: Added) -> list[BaseModel]:
        """Return the chunk for an addition to the text; calls come at the end, since Ollama's have their arguments as objects."""
        if self._first is None:
            self._first = self._clock()
        if not (added.text or added.reasoning or added.logprobs):
            return []
        return [self._part(added.text, added.reasoning, logprobs=added.logprobs)]

    def end(self, result: InferenceResult) -> list[BaseModel]:
        """Return the chunks with the calls and with the numbers."""
        calls = [self._part("", "", calls=made_calls(result))] if result.tool_calls else []
        ended = self._clock()
        return [*calls, self._part("", "", **self._numbers(result, ended - (self._first or ended), ended))]

    def empty(self) -> BaseModel:
        """Return a chunk without text, which shows that the stream goes on."""
        return self._part("", "")

    def whole(self, result: TimedInference) -> BaseModel:
        """Return the complete answer in one piece. Raises `ValueError` if the miner's calls are not JSON."""
        numbers = self._numbers(result, result.processing_time, self._clock())
        calls = made_calls(result) if result.tool_calls else None
        return self._part(
            result.text, result.reasoning or "", logprobs=result.logprobs or (), calls=calls, **numbers
        )

    def failure(self, error: Mapping[str, Any]) -> BaseModel:
        """Return the last chunk of a stream that failed."""
        return OllamaFailure(error=sentence(error))

    def _numbers(self, result: InferenceResult, writing: float, ended: float) -> dict[str, Any]:
        """Return the last fields of a complete answer that was written within the seconds `writing` until `ended`."""
        total = max(ended - self._began, writing)
        return {
            "done": True,
            "done_reason": "length" if result.finish_reason == "length" else "stop",
            "total_duration": int(total * NANOSECONDS),
            "load_duration": int((total - writing) * NANOSECONDS),
            "prompt_eval_count": result.usage.prompt_tokens,
            "eval_count": result.usage.completion_tokens,
            "eval_duration": int(writing * NANOSECONDS),
        }

    def _part(
        self,
        text: str,
        thinking: str,
        *,
        logprobs: Sequence[TokenLogprob] = (),
        calls: list[MadeCall] | None = None,
        **numbers: Any,
    ) -> BaseModel:
        shared = {
            "model": self._submission.model,
            "created_at": format_time(self._clock()),
            "done": False,
            "logprobs": [token.model_dump(exclude_none=True) for token in logprobs] or None,
            **numbers,
        }
        if self._chat:
            message = OllamaMessage(content=text, thinking=thinking or None, tool_calls=calls)
            return OllamaChatAnswer(message=message, **shared)
        return OllamaGenerateAnswer(response=text, thinking=thinking or None, **shared)


def made_calls(answer: Answer) -> list[MadeCall]:
    """Return the calls of an answer. Raises `ValueError` if their arguments are not JSON."""
    return [
        MadeCall(
            id=call.id,
            function=CalledWithObject(index=index, name=call.name, arguments=json.loads(call.arguments)),
        )
        for index, call in enumerate(answer.tool_calls or ())
    ]
