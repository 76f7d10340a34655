"""Requests and answers of an engine's server in the form of OpenAI's API."""

from __future__ import annotations

import json
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from runners.api import Fail, Retry
from runners.engine_server import Stream
from runners.llm.engines.base import Piece
from runners.llm.images import Images
from runners.llm.request import FinishReason, InferenceRequest, Message, TextPart, Tool

Counts = Callable[[Mapping[str, Any]], tuple[int, int] | None]
"""Returns the tokens of the prompt that were read and the tokens of one answer, None if an event does not report them."""

_REASONS: Mapping[str, FinishReason] = {"length": "length", "tool_calls": "tool_calls"}


def sampling(request: InferenceRequest) -> dict[str, Any]:
    """Return the fields of a request, other than its prompt, that every server understands."""
    fields: dict[str, Any] = {
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "n": request.n,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    optional = {"seed": request.seed, "stop": list(request.stops), "logit_bias": dict(request.logit_bias)}
    return fields | {
        name: value for name, value in optional.items() if value is not None and value not in ([], {})
    }


def conversation(request: InferenceRequest, images: Images, text: Callable[[str], str]) -> dict[str, Any]:
    """Return the messages and tools of a request. `text` converts each string that comes from the client."""
    messages = [
        _message(message, f"messages.{number}", images, text)
        for number, message in enumerate(request.conversation)
    ]
    fields: dict[str, Any] = {"messages": messages}
    if request.tools:
        fields["tools"] = [_tool(tool, text) for tool in request.tools]
    # A model that must answer in JSON cannot think aloud before.
    effort = "none" if request.schema_ is not None or request.forced_tools else request.reasoning_effort
    if effort is not None:
        fields["chat_template_kwargs"] = {"enable_thinking": effort != "none", "reasoning_effort": effort}
    return fields


def texts(request: InferenceRequest) -> str:
    """Return all strings that `conversation` converts, one after the other."""
    found = list[str]()

    def collect(text: str) -> str:
        found.append(text)
        return text

    conversation(request, defaultdict(str), collect)
    return "\n".join(found)


def _message(message: Message, path: str, images: Images, text: Callable[[str], str]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "role": message.role,
        "content": text(message.content)
        if isinstance(message.content, str)
        else [
            {"type": "text", "text": text(part.text)}
            if isinstance(part, TextPart)
            else {"type": "image_url", "image_url": {"url": images[f"{path}.content.{number}.image_url"]}}
            for number, part in enumerate(message.content)
        ],
    }
    if message.tool_call_id is not None:
        fields["tool_call_id"] = text(message.tool_call_id)
    if message.tool_calls:
        fields["tool_calls"] = [
            {
                "id": text(call.id),
                "type": "function",
                "function": {"name": call.name, "arguments": text(call.arguments)},
            }
            for call in message.tool_calls
        ]
    return fields


def _tool(tool: Tool, text: Callable[[str], str]) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": text(tool.description),
        "parameters": _converted(tool.parameters, text),
    }
    return {"type": "function", "function": function}


def _converted(value: Any, text: Callable[[str], str]) -> Any:
    """Return a JSON value with each string converted."""
    match value:
        case str():
            return text(value)
        case Mapping():
            return {text(name): _converted(part, text) for name, part in value.items()}
        case list() | tuple():
            return [_converted(part, text) for part in value]
    return value


def pieces(stream: Stream, answers: int, counts: Counts, *, counts_all: bool = False) -> Iterator[Piece]:
    """Yield the pieces of a streamed answer, up to the one with the final counts. Raises `Fail` or `Retry`.

    An event without choices counts the tokens of the answer before it, or of all answers together (`counts_all`).
    """
    prompt, generated, unfinished = 0, [0] * answers, set(range(answers))
    index, total = 0, 0
    for event in stream.events():
        choice = (event.get("choices") or [{}])[0]
        index = int(choice.get("index", index))
        counted = counts(event)
        if counted is not None:
            prompt = max(prompt, counted[0])
            if counts_all and not choice:
                total = counted[1]
            else:
                generated[index] = max(generated[index], counted[1])
        piece = _piece(choice, index, prompt, total or sum(generated))
        if piece.finish_reason is not None:
            unfinished.discard(index)
        yield piece
    if unfinished and not stream.cancelled:
        raise Retry("The engine ended an answer before it was complete.")


def _piece(choice: Mapping[str, Any], index: int, prompt: int, generated: int) -> Piece:
    delta = choice.get("delta") or {}
    reason = choice.get("finish_reason")
    return Piece(
        text=delta.get("content") or choice.get("text") or "",
        prompt_tokens=prompt,
        completion_tokens=generated,
        finish_reason=None if reason is None else _REASONS.get(reason, "stop"),
        index=index,
        reasoning=delta.get("reasoning_content") or delta.get("reasoning") or "",
        tool_calls=tuple(delta.get("tool_calls") or ()),
        logprobs=_logprobs(choice.get("logprobs") or {}),
    )


def _logprobs(given: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return the tokens' entries; the older form of text completions names them in lists."""
    if "tokens" not in given:
        return tuple(map(_logprob, given.get("content") or ()))
    lists = zip(given["tokens"], given["token_logprobs"], given["top_logprobs"], strict=True)
    return tuple(
        _logprob(
            {
                "token": token,
                "logprob": logprob,
                "top_logprobs": [
                    {"token": other, "logprob": value} for other, value in (others or {}).items()
                ],
            }
        )
        for token, logprob, others in lists
    )


def _logprob(token: Mapping[str, Any]) -> dict[str, Any]:
    """Return a token's entry with the fields of `request.TokenLogprob` only."""
    return _alternative(token) | {"top_logprobs": [*map(_alternative, token.get("top_logprobs") or ())]}


def _alternative(token: Mapping[str, Any]) -> dict[str, Any]:
    text = str(token["token"])
    return {"token": text, "logprob": token["logprob"], "bytes": token.get("bytes") or [*text.encode()]}


def as_calls(found: Iterator[Piece]) -> Iterator[Piece]:
    """Turn the text of each answer, one call as JSON, into a tool call at its end."""
    texts: dict[int, str] = {}
    for piece in found:
        text = texts[piece.index] = texts.get(piece.index, "") + piece.text
        calls: tuple[Mapping[str, Any], ...] = ()
        reason = piece.finish_reason
        if reason == "stop":
            try:
                call = json.loads(text)
            except ValueError:  # llama.cpp ignores a grammar that it cannot compile
                raise Fail(
                    "The model's engine cannot enforce a call of these tools; simplify their parameters."
                ) from None
            function = {"name": call["name"], "arguments": json.dumps(call["arguments"])}
            calls = (
                {"index": 0, "id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function},
            )
            reason = "tool_calls"
        yield Piece("", piece.prompt_tokens, piece.completion_tokens, reason, piece.index, tool_calls=calls)
