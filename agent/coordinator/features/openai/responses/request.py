"""`POST /v1/responses`: the request, in the form of OpenAI's Responses API and of Open Responses."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from agent.coordinator.features.client_apis.neutral import Only
from agent.coordinator.features.openai.responses.items import Item, Text
from agent.coordinator.features.openai.text.text_request import (
    Effort,
    Function,
    JsonObject,
    MaxTokens,
    NamedSchema,
    Part,
    PlainText,
    Sampling,
)
from aitbc.answers.fields import example
from runners.llm.request import MAX_TOOLS, ToolName


class ResponseTool(Function):
    """A function that the model may call."""

    type: Literal["function"]
    allowed_callers: Annotated[Any, Only(["direct"])] = None
    defer_loading: Annotated[Any, Only(False)] = None
    output_schema: Annotated[Any, Only()] = None


class ResponseToolName(Part):
    """A function's name."""

    type: Literal["function"]
    name: ToolName


class AllowedTools(Part):
    """The tools that this answer may use, of those in `tools`."""

    type: Literal["allowed_tools"]
    mode: Literal["none", "auto", "required"] = "auto"
    tools: Annotated[list[ResponseToolName], Field(min_length=1, max_length=MAX_TOOLS)]


def _choice_form(choice: Any) -> str:
    form = choice.get("type") if isinstance(choice, dict) else getattr(choice, "type", "word")
    return form if isinstance(form, str) else "word"


ResponseToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("word")]
    | Annotated[ResponseToolName, Tag("function")]
    | Annotated[AllowedTools, Tag("allowed_tools")],
    Discriminator(_choice_form),
]


class ResponseSchema(NamedSchema):
    """JSON that follows a schema, with or without `strict`."""

    type: Literal["json_schema"]


class ResponseText(Part):
    """The form of the text."""

    format: Annotated[PlainText | JsonObject | ResponseSchema, Field(discriminator="type")] | None = None
    verbosity: Annotated[Any, Only("medium")] = None


class ResponseReasoning(Part):
    """How long a model that thinks does so before it answers. Its thoughts are shown whole."""

    effort: Effort | None = None
    summary: Annotated[Any, Only("auto", "detailed")] = None
    generate_summary: Annotated[Any, Only("auto", "detailed")] = None
    context: Annotated[Any, Only("auto")] = None
    mode: Annotated[Any, Only()] = None


class ResponseStreamOptions(Part):
    """No option has an effect here."""

    include_obfuscation: Annotated[Any, Only(False)] = None


StoredId = Annotated[str, Field(min_length=1, max_length=64)]


class ConversationName(Part):
    """A stored conversation."""

    id: StoredId


LOGPROBS = "message.output_text.logprobs"
ItemInput = Annotated[list[Item], Field(min_length=1, max_length=1000)]


class ResponseRequest(Sampling):
    """A conversation to continue: the items of `input`, after those of a stored response or conversation.

    A parameter without effect accepts only its neutral value, except those that only describe the request.
    """

    model_config = example(
        {
            "model": "smollm2-135m-instruct",
            "input": "Name the capital of France.",
            "max_output_tokens": 64,
            "temperature": 0,
        }
    )

    input: Annotated[
        Annotated[Text, Field(min_length=1), Tag("text")] | Annotated[ItemInput, Tag("items")],
        Discriminator(lambda value: "items" if isinstance(value, list) else "text"),
    ]
    instructions: Text | None = None
    max_output_tokens: MaxTokens | None = None
    tools: Annotated[list[ResponseTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: ResponseToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: ResponseText | None = None
    reasoning: ResponseReasoning | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    include: list[Literal["message.output_text.logprobs", "reasoning.encrypted_content"]] | None = None
    metadata: Annotated[dict[str, str], Field(max_length=16)] | None = None
    prompt_cache_key: Annotated[str, Field(max_length=500)] | None = None
    safety_identifier: Annotated[str, Field(max_length=500)] | None = None
    stream_options: ResponseStreamOptions | None = None
    previous_response_id: StoredId | None = None
    conversation: StoredId | ConversationName | None = None
    background: bool | None = None
    store: bool | None = None
    context_management: Annotated[Any, Only([])] = None
    max_tool_calls: Annotated[Any, Only()] = None
    moderation: Annotated[Any, Only()] = None
    prompt: Annotated[Any, Only()] = None
    prompt_cache_options: Annotated[Any, Only()] = None
    prompt_cache_retention: Annotated[Any, Only()] = None
    service_tier: Annotated[Any, Only("auto", "default")] = None
    truncation: Annotated[Any, Only("disabled")] = None

    @model_validator(mode="after")
    def _known_tools(self) -> Self:
        if isinstance(self.tool_choice, AllowedTools):
            missing = {tool.name for tool in self.tool_choice.tools} - {
                tool.name for tool in self.tools or ()
            }
            if missing:
                raise ValueError(f"tool_choice allows {', '.join(sorted(missing))}, which is not in tools")
        return self

    @model_validator(mode="after")
    def _stored(self) -> Self:
        if self.conversation is not None and self.previous_response_id is not None:
            raise ValueError("give either conversation or previous_response_id")
        if self.store is False and (self.conversation is not None or self.background):
            raise ValueError("conversation and background need a stored response; omit store")
        return self

    @property
    def conversation_id(self) -> str | None:
        """The id of the conversation to continue."""
        named = self.conversation
        return named.id if isinstance(named, ConversationName) else named

    @property
    def uses_storage(self) -> list[str]:
        """The fields that only a server which stores responses can execute."""
        fields = ("store", "conversation", "previous_response_id", "background")
        return [name for name in fields if getattr(self, name)]

    @property
    def reports_logprobs(self) -> bool:
        """Whether the answer has the log-probabilities of its tokens."""
        return bool(self.top_logprobs) or LOGPROBS in (self.include or ())

    def _usual_form(self) -> str | None:
        return None if self.format.type == "text" else "text.format"

    @property
    def format(self) -> PlainText | JsonObject | ResponseSchema:
        """The form of the text."""
        requested = None if self.text is None else self.text.format
        return PlainText(type="text") if requested is None else requested
