"""`POST /v1/messages`: the request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from agent.coordinator.features.anthropic.blocks import (
    Blocks,
    CallName,
    ContentBlock,
    Texts,
    ToolReferenceBlock,
    ToolResultBlock,
    contents,
)
from agent.coordinator.features.client_apis.neutral import Only
from agent.coordinator.operations.jobs.requests import JobOptions
from aitbc.answers.fields import example
from runners.llm.request import MAX_STOPS, MAX_TOOLS, StopText

MAX_DESCRIPTION = 100_000
"""Characters of a tool's description."""


class Turn(ContentBlock):
    """A message. A `system` message between others has the weight of a user's, since most models read only one at the beginning."""

    role: Literal["user", "assistant", "system"]
    content: Blocks

    @model_validator(mode="after")
    def _has_content(self) -> Self:
        if self.role != "assistant" and not self.results and not any(contents(self.content)):
            raise ValueError("the content is empty")
        return self

    @property
    def results(self) -> list[ToolResultBlock]:
        """What tools returned."""
        blocks = [] if isinstance(self.content, str) else self.content
        return [block for block in blocks if isinstance(block, ToolResultBlock)]


def _own(kind: Any) -> Any:
    """Refuse a tool that only Anthropic's servers have."""
    if kind not in {None, "custom"}:
        raise ValueError(
            f"{str(kind)[:100]!r} is a tool of Anthropic's; only tools with a name and an input_schema of yours are possible here"
        )
    return kind


class CustomTool(ContentBlock):
    """A tool that the client runs. With `defer_loading` the model sees it only after a `tool_reference` to it."""

    # Checked first, since a tool of Anthropic's lacks the other fields.
    type: Annotated[Any, BeforeValidator(_own)] = None
    name: CallName
    description: Annotated[str, Field(max_length=MAX_DESCRIPTION)] = ""
    input_schema: dict[str, Any]
    defer_loading: bool = False


class ToolSelection(ContentBlock):
    """Whether the model calls tools: `any` makes it call one, `tool` this one."""

    type: Literal["auto", "any", "tool", "none"]
    name: CallName | None = None
    disable_parallel_tool_use: bool = False

    @model_validator(mode="after")
    def _named(self) -> Self:
        if (self.name is None) == (self.type == "tool"):
            raise ValueError('give a name with the type "tool", and with no other')
        return self


class ThinkingOptions(ContentBlock):
    """Whether a model that thinks does so before it answers, and about how long."""

    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: Annotated[int, Field(ge=0)] | None = None
    display: Literal["summarized", "omitted"] | None = None


class AnswerSchema(ContentBlock):
    """JSON that follows a schema."""

    type: Literal["json_schema"]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class OutputOptions(ContentBlock):
    """The form of the answer, and how long the model thinks."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: AnswerSchema | None = None


class CountRequest(JobOptions):
    """A conversation whose tokens are counted. Job options are extensions; fields that this list does not have are ignored."""

    model_config = ConfigDict(
        extra="ignore",
        **example(
            {
                "model": "smollm2-135m-instruct",
                "messages": [{"role": "user", "content": "Name the capital of France."}],
            }
        ),
    )

    model: Annotated[str, Field(max_length=200, examples=["smollm2-135m-instruct"])]
    messages: Annotated[list[Turn], Field(min_length=1, max_length=1000)]
    system: Texts | None = None
    tools: Annotated[list[CustomTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolSelection | None = None
    thinking: ThinkingOptions | None = None
    output_config: OutputOptions | None = None
    output_format: AnswerSchema | None = None
    container: Annotated[Any, Only()] = None
    mcp_servers: Annotated[Any, Only([])] = None

    @model_validator(mode="after")
    def _last_turn(self) -> Self:
        # Engines differ in what they do then: one continues the text, another begins a new one.
        if self.messages[-1].role == "assistant":
            raise ValueError(
                "messages must end with a user's message; the beginning of an answer cannot be given"
            )
        return self

    @property
    def shows_thoughts(self) -> bool:
        """Whether the answer has what the model thought before it."""
        return self.thinking is not None and self.thinking.type != "disabled"

    @property
    def form(self) -> dict[str, Any] | None:
        """The schema of the answer; None if it is free text."""
        current = None if self.output_config is None else self.output_config.format
        chosen = current or self.output_format
        return None if chosen is None else chosen.schema_

    @property
    def usable_tools(self) -> list[CustomTool]:
        """The tools that the model sees."""
        named = set(self._references())
        return [tool for tool in self.tools or () if not tool.defer_loading or tool.name in named]

    def _references(self) -> Iterator[str]:
        for turn in self.messages:
            for result in turn.results:
                for block in result.content or ():
                    if isinstance(block, ToolReferenceBlock):
                        yield block.tool_name


class MessagesRequest(CountRequest):
    """A conversation to continue."""

    model_config = example(
        {
            "model": "smollm2-135m-instruct",
            "max_tokens": 64,
            "messages": [{"role": "user", "content": "Name the capital of France."}],
        }
    )

    max_tokens: Annotated[int, Field(ge=1)]
    stream: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1000)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    stop_sequences: Annotated[list[StopText], Field(max_length=MAX_STOPS)] | None = None
