"""Ollama's messages in the service's form."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from agent.coordinator.features.client_apis.submission import ClientCall
from agent.coordinator.features.client_apis.text import message_content, message_images
from agent.coordinator.features.client_apis.text.message_content import References
from agent.coordinator.features.ollama.requests import OllamaTurn
from agent.core.errors import invalid_request

KINDS: Final = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "UklGR": "image/webp",
    "R0lGOD": "image/gif",
}
"""The media types of images, by the beginning of their bytes in base64."""


async def turns(call: ClientCall, messages: Sequence[OllamaTurn]) -> list[dict[str, Any]]:
    """Return messages in the service's form. Their images become artifacts of the caller. Raises `ValidationFailed`."""
    urls = {image: _data_url(image) for message in messages for image in message.images or ()}
    references = await message_images.references(call, [*urls.values()], "messages")
    calls = _Calls()
    return [
        _turn(message, calls, {image: references[url] for image, url in urls.items()})
        for message in messages
        # Clients send an empty system message where none is configured.
        if message.role != "system" or message.content
    ]


def _turn(message: OllamaTurn, calls: _Calls, references: References) -> dict[str, Any]:
    content = message.content or ""
    if message.images:
        texts: Iterator[str | tuple[str]] = iter([content] if content else [])
        turn = message_content.content([*texts, *((image,) for image in message.images)], references)
        return {"role": message.role, "content": turn}
    if message.role == "tool":
        return {"role": "tool", "content": content, "tool_call_id": calls.answered_by(message)}
    tool_calls = calls.add(message) if message.tool_calls else []
    return {"role": message.role, "content": content, **({"tool_calls": tool_calls} if tool_calls else {})}


class _Calls:
    """The calls of the newest assistant's message that no message has answered. Ollama's calls need no ids, the service's do."""

    def __init__(self) -> None:
        self._open: list[tuple[str, str]] = []
        self._number = 0

    def add(self, message: OllamaTurn) -> list[dict[str, Any]]:
        """Return the calls of an assistant's message in the service's form."""
        self._open = []
        tool_calls = []
        for call in message.tool_calls or ():
            self._number += 1
            call_id = call.id or f"call_{self._number}"
            self._open.append((call_id, call.function.name))
            arguments = json.dumps(call.function.arguments, ensure_ascii=False)
            tool_calls.append({"id": call_id, "name": call.function.name, "arguments": arguments})
        return tool_calls

    def answered_by(self, message: OllamaTurn) -> str:
        """Return the id of the call that a tool's message answers. Raises `ValidationFailed` if there is none."""
        name = message.tool_name or message.name
        for call_id, function in self._open:
            if message.tool_call_id in (None, call_id) and name in (None, function):
                self._open.remove((call_id, function))
                return call_id
        raise invalid_request(
            {"messages": "a tool's message answers none of the calls of the assistant's message before it"},
        )


def _data_url(image: str) -> str:
    if image.startswith(message_images.DATA):
        return image
    media_type = next((kind for begin, kind in KINDS.items() if image.startswith(begin)), None)
    if media_type is None:
        raise invalid_request({"images": "an image is the base64 of a PNG, JPEG, WebP or GIF file"})
    return f"{message_images.DATA}{media_type};base64,{image}"
