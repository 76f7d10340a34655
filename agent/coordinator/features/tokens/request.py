"""The requests for tokens, in the forms of llama.cpp (`content`) and vLLM (`prompt`, `messages`)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from agent.coordinator.features.client_apis.neutral import Only
from agent.coordinator.operations.jobs.requests import JobOptions
from aitbc.answers.fields import example
from runners.llm.request import MAX_TEXT, MAX_TOKEN_IDS, MAX_TOOLS, ToolName

ModelName = Annotated[str, Field(max_length=200, examples=["smollm2-135m-instruct"])]


def _text(content: Any) -> Any:
    """Return the text of a message's content, whose text parts are joined by line breaks."""
    if not isinstance(content, list):
        return content
    if any(not isinstance(part, dict) or not isinstance(part.get("text"), str) for part in content):
        raise ValueError("only texts have tokens that can be counted; remove the other parts")
    return "\n".join(part["text"] for part in content)


class _Field(BaseModel, defer_build=True):
    model_config = ConfigDict(extra="forbid", strict=True)


class CountedCall(_Field):
    """The function of a call. `arguments` is a JSON object as text."""

    name: ToolName
    arguments: str


class ToolUse(_Field):
    """A call in an assistant's message."""

    id: str
    type: Literal["function"]
    function: CountedCall


class OfferedFunction(_Field):
    """A function that the model may call."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class OfferedTool(_Field):
    """A tool; only functions are supported."""

    type: Literal["function"]
    function: OfferedFunction

    def parameters(self) -> dict[str, Any]:
        """Return the tool in the service's form."""
        return self.function.model_dump(exclude_none=True, exclude={"strict"})


class CountedMessage(_Field):
    """One turn of a conversation, in the form of OpenAI's API."""

    role: Literal["developer", "system", "user", "assistant", "tool"]
    content: Annotated[
        str | None, BeforeValidator(_text, json_schema_input_type=str | list[dict[str, Any]] | None)
    ] = None
    tool_calls: list[ToolUse] | None = None
    tool_call_id: str | None = None
    name: str | None = None

    def turn(self) -> dict[str, Any]:
        """Return the message in the service's form."""
        turn: dict[str, Any] = {
            "role": "system" if self.role == "developer" else self.role,
            "content": self.content or "",
        }
        if self.tool_calls:
            turn["tool_calls"] = [
                {"id": call.id, **call.function.model_dump(mode="json")} for call in self.tool_calls
            ]
        return turn if self.tool_call_id is None else {**turn, "tool_call_id": self.tool_call_id}


class TokenizeRequest(JobOptions):
    """A text or a conversation. The options of a job are extensions."""

    model_config = example({"model": "smollm2-135m-instruct", "prompt": "Hello there."})

    model: ModelName | None = Field(
        default=None, description="Null: the language model that can be used now, if it is the only one"
    )
    content: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)] | None = None
    prompt: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)] | None = None
    messages: Annotated[list[CountedMessage], Field(min_length=1, max_length=1000)] | None = None
    tools: Annotated[list[OfferedTool], Field(max_length=MAX_TOOLS)] | None = None
    add_special: bool = Field(default=False, description="For `content`: also the token that begins a text")
    parse_special: Annotated[bool | None, Only(True)] = None
    with_pieces: bool = Field(default=False, description="For `content`: also the text of each token")
    add_special_tokens: bool | None = Field(
        default=None, description="For `prompt`: also the token that begins a text. Null: yes"
    )
    add_generation_prompt: Annotated[bool | None, Only(True)] = None
    return_token_strs: bool | None = Field(default=None, description="Also the text of each token")

    @model_validator(mode="after")
    def _one_text(self) -> Self:
        if sum(text is not None for text in (self.content, self.prompt, self.messages)) != 1:
            raise ValueError("give one of content, prompt and messages")
        return self

    def parameters(self) -> dict[str, Any]:
        """Return the service's parameters without the model."""
        if self.messages is not None:
            turns = [message.turn() for message in self.messages]
            return {"messages": turns, "tools": [tool.parameters() for tool in self.tools or ()]}
        special = self.add_special if self.content is not None else self.add_special_tokens is not False
        return {"prompt": self.content or self.prompt, "raw": True, "special_tokens": special}


class DetokenizeRequest(JobOptions):
    """Numbers of tokens. The options of a job are extensions."""

    model_config = example({"model": "smollm2-135m-instruct", "tokens": [19556, 665]})

    model: ModelName | None = Field(
        default=None, description="Null: the language model that can be used now, if it is the only one"
    )
    tokens: Annotated[
        list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1, max_length=MAX_TOKEN_IDS)
    ]
