"""The items of a `POST /v1/responses` request: messages, calls of functions, and what the functions returned."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from agent.coordinator.operations.openai.chat import Part
from agent.coordinator.operations.openai.neutral import Only
from runners.llm.request import MAX_TEXT, ToolName

Text = Annotated[str, Field(max_length=MAX_TEXT)]
Id = Annotated[str, Field(max_length=200)]
CallId = Annotated[str, Field(min_length=1, max_length=100)]
Status = Literal["in_progress", "completed", "incomplete"]


class TextItemPart(Part):
    """A part of a message. Models accept text only. Clients send the other fields back; they have no effect."""

    type: Literal["input_text", "output_text", "text"]
    text: Text
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


def _form(content: Any) -> str:
    return "parts" if isinstance(content, list) else "text"


ItemContent = Annotated[
    Annotated[Text, Tag("text")]
    | Annotated[list[TextItemPart], Field(min_length=1, max_length=100), Tag("parts")],
    Discriminator(_form),
]


def joined(content: str | list[TextItemPart]) -> str:
    """Return the text of a content; parts are joined by line breaks."""
    return content if isinstance(content, str) else "\n".join(part.text for part in content)


class _Sent(Part):
    """The fields of an answer's item that clients send back, without effect."""

    id: Id | None = None
    status: Status | None = None


class MessageItem(_Sent):
    """A turn of the conversation; `developer` is a synonym of `system`. `phase` has no effect."""

    type: Literal["message"] = "message"
    role: Literal["developer", "system", "user", "assistant"]
    content: ItemContent
    phase: Literal["commentary", "final_answer"] | None = None


class CallItem(_Sent):
    """A call of a function by the model."""

    type: Literal["function_call"]
    call_id: CallId
    name: ToolName
    arguments: Text
    namespace: Annotated[Any, Only()] = None


class CallOutputItem(_Sent):
    """What a called function returned."""

    type: Literal["function_call_output"]
    call_id: CallId
    output: ItemContent


class ReasoningItem(_Sent):
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
    found = item.get("type") if isinstance(item, dict) else getattr(item, "type", None)
    return found if isinstance(found, str) else "message"


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


def turns(items: Iterable[Item]) -> list[dict[str, Any]]:
    """Return the items as messages of the service. Calls belong to the assistant's message before them."""
    messages: list[dict[str, Any]] = []
    for item in items:
        if isinstance(item, MessageItem):
            role = "system" if item.role == "developer" else item.role
            messages.append({"role": role, "content": joined(item.content)})
        elif isinstance(item, CallItem):
            if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant", "content": ""})
            call = {"id": item.call_id, "name": item.name, "arguments": item.arguments}
            messages[-1].setdefault("tool_calls", []).append(call)
        elif isinstance(item, CallOutputItem):
            messages.append({"role": "tool", "content": joined(item.output), "tool_call_id": item.call_id})
    return messages
