"""Requests and answers of an engine's server in the form of OpenAI's API.

A chat template is text, and so are the messages in it: a message with a model's control tokens ("<|im_end|>") could end its own
turn and imitate another role. A space without width inside their text (`breaker`) makes the tokenizer read them as words.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from runners.api import Fail, Retry
from runners.engine_server import EngineServer, Stream
from runners.llm.call_syntax import CallSyntax, read_syntax
from runners.llm.engines.base import Piece
from runners.llm.evidence import TOP, TokenEvidence
from runners.llm.images import Images
from runners.llm.prompt import BRIEF, template_options
from runners.llm.request import FinishReason, InferenceRequest, Message, TextPart, Tool

Counts = Callable[[Mapping[str, Any]], tuple[int, int] | None]
"""Returns the tokens of the prompt that were read and the tokens of one answer, None if an event does not report them."""

INVISIBLE = "\u200b"

NUMBERED = "token_id:"
"""How vLLM begins the name of a token that it names by its number."""

_SAMPLING = {"max_tokens", "temperature", "top_p", "presence_penalty", "frequency_penalty", "n"}
"""Fields of a request that have the same name and meaning in OpenAI's API."""

_REASONS: Mapping[str, FinishReason] = {"length": "length", "tool_calls": "tool_calls"}


class ServerEngine(ABC):
    """What the engines have in common that run as servers of their own. See `LanguageEngine`."""

    seeded = False
    _server: EngineServer

    @abstractmethod
    def _rendered(self, fields: Mapping[str, Any]) -> str:
        """Return the prompt that the chat template makes of these fields."""

    @abstractmethod
    def _is_words(self, text: str) -> bool:
        """Return whether a text has no control tokens."""

    @cached_property
    def _syntax(self) -> CallSyntax:
        """How the model writes calls."""

        def render(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> str:
            try:
                return self._rendered({"messages": messages, "tools": tools, "chat_template_kwargs": BRIEF})
            except Fail as error:
                raise ValueError(str(error)) from None

        return read_syntax(render, self._is_words)

    def vram_peak(self) -> int:
        """Return 0: the miner reads the memory of the server's process."""
        return 0

    def close(self) -> None:
        """See `LanguageEngine.close`."""
        self._server.close()


def breaker(control: Iterable[str]) -> Callable[[str], str]:
    """Return a function that breaks every occurrence of these control tokens in a text."""
    tokens = sorted((token for token in control if len(token) > 1), key=len, reverse=True)

    def broken(text: str) -> str:
        for token in tokens:
            text = text.replace(token, f"{token[0]}{INVISIBLE}{token[1:]}")
        return text

    return broken


def sampling(request: InferenceRequest, seed: str | None) -> dict[str, Any]:
    """Return the fields of a request, other than its prompt, that every server understands. `seed` (hex) is the run's."""
    # The servers take seeds of 32 bits at most, with a sign.
    drawn = request.seed if request.seed is not None or seed is None else int(seed[:7], 16)
    fields = request.model_dump(include=_SAMPLING) | {
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.chosen_tools:
        # Their calls follow a grammar, beside which llama.cpp refuses tools. Its own "required" lets a model write any text before the call.
        fields["tool_choice"] = "none"
    elif request.tools:
        fields |= {"tool_choice": request.tool_choice, "parallel_tool_calls": request.parallel_tool_calls}
    optional = {"seed": drawn, "stop": list(request.stops), "logit_bias": dict(request.logit_bias)}
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
    fields["chat_template_kwargs"] = template_options(request, text)
    return {name: value for name, value in fields.items() if value}


def texts(request: InferenceRequest) -> str:
    """Return all strings that `conversation` converts, one after the other."""
    strings = list[str]()

    def collect(text: str) -> str:
        strings.append(text)
        return text

    conversation(request, defaultdict(str), collect)
    return "\n".join(strings)


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
    parameters = _converted(tool.parameters, text)
    function = {"name": tool.name, "description": text(tool.description), "parameters": parameters}
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


def pieces(
    stream: Stream,
    answers: int,
    counts: Counts,
    *,
    counts_all: bool = False,
    alternatives: int | None = None,
    tokens_of: Callable[[str], list[int]] = lambda _: [],
) -> Iterator[Piece]:
    """Yield the pieces of a streamed answer, up to the one with the final counts. Raises `Fail` or `Retry`.

    An event without choices counts the tokens of the answer before it, or of all answers together (`counts_all`). `alternatives` is how many
    alternatives to each token the client requested, None if it requested no log-probabilities. `tokens_of` returns the tokens of a text:
    servers leave out those that end inside a character.
    """
    cached: int | None = None
    prompt, generated, unfinished = 0, [0] * answers, set(range(answers))
    evident = [0] * answers
    index, total = 0, 0
    for event in stream.events():
        choice = (event.get("choices") or [{}])[0]
        index = int(choice.get("index", index))
        counted = counts(event)
        if counted is not None:
            # Servers count what they have read so far, and some events repeat an earlier count.
            prompt = max(prompt, counted[0])
            if counts_all and not choice:
                total = counted[1]
            else:
                generated[index] = max(generated[index], counted[1])
        cached = _cached(event, cached)
        piece = _piece(choice, index, prompt, total or sum(generated), alternatives)
        piece = replace(piece, cached_tokens=cached, stop_text=_stop_text(event, choice))
        if piece.tokens and not counts_all:
            piece = _filled(piece, generated[index] - evident[index], tokens_of)
            evident[index] += len(piece.tokens)
        if piece.finish_reason is not None:
            unfinished.discard(index)
        yield piece
    if unfinished and not stream.cancelled:
        raise Retry("The engine ended an answer before it was complete.")


def _cached(event: Mapping[str, Any], known_number: int | None) -> int | None:
    """Return how many tokens of the prompt were not computed again, as vLLM and llama.cpp report it."""
    details = (event.get("usage") or {}).get("prompt_tokens_details") or {}
    number = details.get("cached_tokens", (event.get("timings") or {}).get("cache_n"))
    return known_number if number is None else max(int(number), known_number or 0)


def _stop_text(event: Mapping[str, Any], choice: Mapping[str, Any]) -> str | None:
    """Return the stop string that ended an answer, as vLLM and llama.cpp report it."""
    reason = choice.get("stop_reason")
    # vLLM reports a token's number here if one of those ended the answer that end all answers.
    if isinstance(reason, str):
        return reason
    return (event.get("__verbose") or {}).get("stopping_word") or None


def _filled(piece: Piece, added: int, tokens_of: Callable[[str], list[int]]) -> Piece:
    """Return a piece of `added` tokens with those that its event has left out, without their alternatives."""
    if len(piece.tokens) == added:
        return piece
    # The same text may consist of other tokens, and then nothing is known about those that were left out.
    numbers = tokens_of(piece.text)
    if len(numbers) != added or numbers[-1] != piece.tokens[-1].token:
        return replace(piece, gap=True)
    left_out = numbers[: -len(piece.tokens)]
    return replace(piece, tokens=(*(TokenEvidence(number, ()) for number in left_out), *piece.tokens))


def _piece(
    choice: Mapping[str, Any], index: int, prompt: int, generated: int, alternatives: int | None
) -> Piece:
    delta = choice.get("delta") or {}
    logprobs = choice.get("logprobs") or {}
    reason = choice.get("finish_reason")
    return Piece(
        text=delta.get("content") or choice.get("text") or "",
        prompt_tokens=prompt,
        completion_tokens=generated,
        finish_reason=None if reason is None else _REASONS.get(reason, "stop"),
        index=index,
        reasoning=delta.get("reasoning_content") or delta.get("reasoning") or "",
        tool_calls=tuple(delta.get("tool_calls") or ()),
        logprobs=() if alternatives is None else _logprobs(logprobs, alternatives),
        tokens=_evidence(logprobs),
    )


def _evidence(event: Mapping[str, Any]) -> tuple[TokenEvidence, ...]:
    """Return the tokens of an event whose server names their numbers: llama.cpp beside their texts, vLLM instead of these."""
    if "tokens" in event:
        rows = zip(event["tokens"], event["top_logprobs"], strict=True)
        named = [(token, (alternatives or {}).items()) for token, alternatives in rows]
    else:
        entries = event.get("content") or ()
        named = [
            (
                _name(entry),
                [
                    (_name(alternative), alternative["logprob"])
                    for alternative in entry.get("top_logprobs") or ()
                ],
            )
            for entry in entries
        ]
    numbered = [
        (_number(token), [(_number(name), float(chance)) for name, chance in alternatives])
        for token, alternatives in named
    ]
    return tuple(
        TokenEvidence(token, _likeliest(alternatives))
        for token, alternatives in numbered
        if token is not None
    )


def _likeliest(alternatives: Iterable[tuple[int | None, float]]) -> tuple[tuple[int, float], ...]:
    """Return the `TOP` most likely tokens. Which these are must not depend on the drawn one, not even among equals."""
    numbered = [(number, chance) for number, chance in alternatives if number is not None]
    return tuple(sorted(numbered, key=lambda entry: (-entry[1], entry[0]))[:TOP])


def _name(entry: Mapping[str, Any]) -> str:
    return f"{NUMBERED}{entry['id']}" if "id" in entry else str(entry["token"])


def _number(name: str) -> int | None:
    return int(name.removeprefix(NUMBERED)) if name.startswith(NUMBERED) else None


def _logprobs(event: Mapping[str, Any], count: int) -> tuple[dict[str, Any], ...]:
    """Return the tokens' entries with so many alternatives; the older form of text completions names them in lists."""
    if "tokens" not in event:
        return tuple(_logprob(entry, count) for entry in event.get("content") or ())
    lists = zip(event["tokens"], event["token_logprobs"], event["top_logprobs"], strict=True)
    return tuple(
        _logprob(
            {
                "token": token,
                "logprob": logprob,
                "top_logprobs": [
                    {"token": name, "logprob": value} for name, value in (alternatives or {}).items()
                ],
            },
            count,
        )
        for token, logprob, alternatives in lists
    )


def _logprob(token: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Return a token's entry with the fields of `request.TokenLogprob` only, the most likely alternatives first."""
    alternatives = sorted(token.get("top_logprobs") or (), key=lambda alternative: -alternative["logprob"])[
        :count
    ]
    return _alternative(token) | {"top_logprobs": [*map(_alternative, alternatives)]}


def _alternative(token: Mapping[str, Any]) -> dict[str, Any]:
    text = str(token["token"])
    return {"token": text, "logprob": token["logprob"], "bytes": token.get("bytes") or [*text.encode()]}
