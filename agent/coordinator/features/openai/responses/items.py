"""The items of a `POST /v1/responses` request: messages, calls of functions, and what the functions returned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from agent.coordinator.features.client_apis.neutral import Only
from agent.coordinator.features.client_apis.text import message_content
from agent.coordinator.features.client_apis.text.message_content import References
from agent.coordinator.features.openai.text.text_request import Part
from runners.llm.arguments import arguments_text
from runners.llm.request import MAX_PARTS, MAX_TEXT, ToolName

Text = Annotated[str, Field(max_length=MAX_TEXT)]
Id = Annotated[str, Field(max_length=200)]
CallId = Annotated[str, Field(min_length=1, max_length=100)]
Status = Literal["in_progress", "completed", "incomplete"]


class TextItemPart(Part):
    """A text in a message. Clients send the other fields back; they have no effect."""

    type: Literal["input_text", "output_text", "text"]
    text: Text
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class ImageItemPart(Part):
    """An image in a user's message, for models that see: an https address, or a data URL. `detail` has no effect."""

    type: Literal["input_image"]
    image_url: Annotated[str, Field(min_length=1, examples=["https://example.com/cat.png"])]
    detail: Literal["auto", "low", "high", "original"] | None = None
    file_id: Annotated[Any, Only()] = None


def _form(content: Any) -> str:
    return "parts" if isinstance(content, list) else "text"


ItemContent = Annotated[
    Annotated[Text, Tag("text")]
    | Annotated[
        list[Annotated[TextItemPart | ImageItemPart, Field(discriminator="type")]],
        Field(min_length=1, max_length=MAX_PARTS),
        Tag("parts"),
    ],
    Discriminator(_form),
]


def _images(content: ItemContent) -> list[str]:
    parts = content if isinstance(content, list) else []
    return [part.image_url for part in parts if isinstance(part, ImageItemPart)]


def _converted(
    content: str | Sequence[TextItemPart | ImageItemPart], images: References
) -> str | list[dict[str, Any]]:
    """Return a content in the service's form; without images, parts are joined by line breaks."""
    if isinstance(content, str):
        return content
    return message_content.content(
        (part.text if isinstance(part, TextItemPart) else (part.image_url,) for part in content), images
    )


OutputContent = Annotated[
    Annotated[Text, Tag("text")]
    | Annotated[list[TextItemPart], Field(min_length=1, max_length=MAX_PARTS), Tag("parts")],
    Discriminator(_form),
]


class _SentBack(Part):
    """The fields of an answer's item that clients send back, without effect."""

    id: Id | None = None
    status: Status | None = None


class MessageItem(_SentBack):
    """A turn of the conversation; `developer` is a synonym of `system`. `phase` has no effect."""

    type: Literal["message"] = "message"
    role: Literal["developer", "system", "user", "assistant"]
    content: ItemContent
    phase: Literal["commentary", "final_answer"] | None = None


class CallItem(_SentBack):
    """A call of a function by the model."""

    type: Literal["function_call"]
    call_id: CallId
    name: ToolName
    arguments: Annotated[Text, AfterValidator(arguments_text)]
    namespace: Annotated[Any, Only()] = None


class CallOutputItem(_SentBack):
    """What a called function returned."""

    type: Literal["function_call_output"]
    call_id: CallId
    output: OutputContent


class ReasoningItem(_SentBack):
    """The model's thoughts before an earlier answer. They have no effect: the model does not read them again."""

    type: Literal["reasoning"]
    summary: list[Any] | None = None
    content: list[Any] | None = None
    encrypted_content: Text | None = None


def _with_type(item: Any) -> Any:
    """Refuse references to items, which are not stored."""
    if isinstance(item, dict) and item.get("type") == "item_reference":
        raise ValueError("responses are not stored here; send the item itself instead of a reference")
    return item


def _type(item: Any) -> str:
    item_type = item.get("type") if isinstance(item, dict) else getattr(item, "type", None)
    # An item without a type is a message, as OpenAI's clients send it.
    return item_type if isinstance(item_type, str) else "message"


Item = Annotated[
    Annotated[
        Annotated[MessageItem, Tag("message")]
        | Annotated[CallItem, Tag("function_call")]
        | Annotated[CallOutputItem, Tag("function_call_output")]
        | Annotated[ReasoningItem, Tag("reasoning")],
        Discriminator(_type),
    ],
    BeforeValidator(_with_type),
]


def images_of(items: Iterable[Item]) -> list[str]:
    """Return the addresses of all images in the items."""
    return [url for item in items if isinstance(item, MessageItem) for url in _images(item.content)]


def turns(items: Iterable[Item], images: References) -> list[dict[str, Any]]:
    """Return the items as messages of the service. Calls belong to the assistant's message before them."""
    messages: list[dict[str, Any]] = []
    for item in items:
        if isinstance(item, MessageItem):
            role = "system" if item.role == "developer" else item.role
            messages.append({"role": role, "content": _converted(item.content, images)})
        elif isinstance(item, CallItem):
            # Calls may come without a text before them, and the service knows calls only as part of a message.
            if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant", "content": ""})
            call = {"id": item.call_id, "name": item.name, "arguments": item.arguments}
            messages[-1].setdefault("tool_calls", []).append(call)
        elif isinstance(item, CallOutputItem):
            content = _converted(item.output, images)
            messages.append({"role": "tool", "content": content, "tool_call_id": item.call_id})
    return messages
