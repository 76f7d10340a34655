"""Turns a request into the input of the service for text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from agent.coordinator.features.anthropic.blocks import Content, ToolUseBlock, contents
from agent.coordinator.features.anthropic.errors import overflow_numbers
from agent.coordinator.features.anthropic.request import CountRequest, CustomTool, MessagesRequest, Turn
from agent.coordinator.features.anthropic.tool_names import short_name
from agent.coordinator.features.client_apis import services, tokens
from agent.coordinator.features.client_apis.serving import submit
from agent.coordinator.features.client_apis.submission import AnswerSubmission, ClientCall
from agent.coordinator.features.client_apis.text import message_content, message_images
from agent.coordinator.features.client_apis.text.message_content import References
from agent.core.errors import ApiError
from runners.errors import FailureCode
from runners.llm.request import MAX_NEW_TOKENS

LONGEST_DESCRIPTION: Final = 10_000
"""Characters of a tool's description in the service."""
LEAST_ANSWER: Final = 256
"""Tokens of the context that a prompt must leave for an answer that is shorter than requested."""
_BILLING: Final = "x-anthropic-billing-header:"
_EFFORTS: Final = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_BUDGETS: Final = ((4096, "low"), (16_384, "medium"))
"""The largest budgets of tokens that still mean this effort."""
_NAMES: Final = {
    "response_schema": "output_config.format.schema",
    "stop": "stop_sequences",
    "reasoning_effort": "thinking",
    "parallel_tool_calls": "tool_choice",
}


async def create(call: ClientCall, request: MessagesRequest, key: str | None) -> AnswerSubmission:
    """Submit the job of a request. See `serving.submit`."""
    images = await message_images.references(call, list(_images(request)), "messages")
    return await submit(call, services.TEXT, parameters(request, images), request, key=key, names=_NAMES)


def fitting(request: MessagesRequest, error: ApiError) -> MessagesRequest | None:
    """Return the request with the longest answer that fits into the model's context, if that is why its job failed.

    Clients set `max_tokens` for models with larger contexts, and how many tokens a prompt has is known only to the engine.
    """
    numbers = overflow_numbers(error.message) if error.code == FailureCode.CONTEXT_OVERFLOW.value else None
    if numbers is None:
        return None
    tokens, _, context = numbers
    if context - tokens < LEAST_ANSWER:
        return None
    return request.model_copy(update={"max_tokens": context - tokens})


async def count(call: ClientCall, request: CountRequest, key: str | None) -> AnswerSubmission:
    """Submit a job that counts the tokens of a request. See `serving.submit`."""
    fields = {"model": request.model, "messages": messages(request, None), **_tools(request)}
    return await tokens.convert(call, "count", fields, request, key=key, names=_NAMES)


def parameters(request: MessagesRequest, images: References) -> dict[str, Any]:
    """Return the service's input. `images` are the names of those in the messages."""
    optional = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "stop": request.stop_sequences or None,
        "reasoning_effort": _effort(request),
        "response_schema": request.form,
    }
    return {
        "model": request.model,
        "messages": messages(request, images),
        # Clients name what the largest models can write.
        "max_tokens": min(request.max_tokens, MAX_NEW_TOKENS),
        **{name: value for name, value in optional.items() if value is not None},
        **_tools(request),
    }


def messages(request: CountRequest, images: References | None) -> list[dict[str, Any]]:
    """Return the messages in the service's form, without their images if these have no names. Those of one role that follow each other become one, as templates expect."""
    instructions = "\n\n".join(
        [*_instructions(request), *filter(None, map(_rest_of_description, request.usable_tools))]
    )
    turns: list[dict[str, Any]] = [{"role": "system", "content": instructions}] if instructions else []
    parts: list[Content] = []
    for turn in request.messages:
        if turn.role == "assistant" or turn.results:
            _end_user(turns, parts, images)
        if turn.role == "assistant":
            _add_assistant(turns, turn)
            continue
        for result in turn.results:
            returned = list(contents(result.content or ""))
            text = "\n".join(part for part in returned if isinstance(part, str))
            turns.append(
                {
                    "role": "tool",
                    "tool_call_id": result.tool_use_id,
                    "content": f"Error: {text}" if result.is_error else text,
                }
            )
            # The service has images only in the messages of users.
            parts += [part for part in returned if not isinstance(part, str)]
        parts += contents(turn.content)
    _end_user(turns, parts, images)
    return turns


def _instructions(request: CountRequest) -> Iterator[str]:
    for text in contents(request.system or ""):
        # Claude Code's note for Anthropic's accounting. It changes, and with it all that engines have cached of the prompt.
        if isinstance(text, str) and not text.startswith(_BILLING):
            yield text


def _end_user(turns: list[dict[str, Any]], parts: list[Content], images: References | None) -> None:
    usable = [part for part in parts if images is not None or isinstance(part, str)]
    if usable:
        turns.append({"role": "user", "content": message_content.content(usable, images or {})})
    parts.clear()


def _add_assistant(turns: list[dict[str, Any]], turn: Turn) -> None:
    text = "\n".join(part for part in contents(turn.content) if isinstance(part, str))
    blocks = [] if isinstance(turn.content, str) else turn.content
    calls = [
        {"id": block.id, "name": short_name(block.name), "arguments": json.dumps(block.input)}
        for block in blocks
        if isinstance(block, ToolUseBlock)
    ]
    if not text and not calls:  # only thoughts
        return
    if not turns or turns[-1]["role"] != "assistant":
        turns.append({"role": "assistant", "content": text})
    else:
        turns[-1]["content"] = "\n".join(filter(None, [turns[-1]["content"], text]))
    if calls:
        turns[-1].setdefault("tool_calls", []).extend(calls)


def _images(request: CountRequest) -> Iterator[str]:
    for turn in request.messages:
        for blocks in (*(result.content or "" for result in turn.results), turn.content):
            for part in contents(blocks):
                if not isinstance(part, str):
                    yield part[0]


def _rest_of_description(tool: CustomTool) -> str:
    """Return what the service's description of a tool has no space for."""
    continuation = tool.description[LONGEST_DESCRIPTION:]
    return (
        f"The description of the tool {short_name(tool.name)} continues: {continuation}"
        if continuation
        else ""
    )


def _tools(request: CountRequest) -> dict[str, Any]:
    tools, choice = request.usable_tools, request.tool_choice
    if not tools:
        return {}
    fields: dict[str, Any] = {
        "tools": [
            {
                "name": short_name(tool.name),
                "description": tool.description[:LONGEST_DESCRIPTION],
                "parameters": tool.input_schema,
            }
            for tool in tools
        ]
    }
    if choice is None:
        return fields
    names = {"auto": "auto", "none": "none", "any": "required"}
    return fields | {
        "tool_choice": names.get(choice.type) or {"name": short_name(choice.name or "")},
        "parallel_tool_calls": not choice.disable_parallel_tool_use,
    }


def _effort(request: MessagesRequest) -> str | None:
    """Return how long a model that thinks does so, None for its own measure."""
    thinking = request.thinking
    if thinking is None or not request.shows_thoughts:
        return "none"
    if request.output_config is not None and request.output_config.effort is not None:
        return _EFFORTS[request.output_config.effort]
    if thinking.budget_tokens is None:
        return None
    return next((effort for budget, effort in _BUDGETS if thinking.budget_tokens <= budget), "high")
