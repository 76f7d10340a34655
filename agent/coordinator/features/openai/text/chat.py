"""`POST /v1/chat/completions`: a conversation."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from agent.coordinator.features.client_apis import services
from agent.coordinator.features.client_apis.neutral import Only
from agent.coordinator.features.client_apis.serving import submit
from agent.coordinator.features.client_apis.settings import ClientApiSettings
from agent.coordinator.features.client_apis.submission import AnswerSubmission, ClientCall
from agent.coordinator.features.client_apis.text import message_content, message_images
from agent.coordinator.features.client_apis.text.message_content import References
from agent.coordinator.features.openai.text.text_request import (
    Effort,
    Function,
    FunctionCall,
    JsonObject,
    MaxTokens,
    NamedSchema,
    Part,
    PlainText,
    TextRequest,
    effort_parameters,
    form_parameters,
    tool_parameters,
)
from agent.sections import section_of
from aitbc.answers.fields import example
from runners.llm.request import MAX_PARTS, MAX_TEMPLATE_OPTIONS, MAX_TEXT, MAX_TOOLS, ToolName

Unused = Annotated[Any, Field(exclude=True)]
"""A field that clients send beside others, or send back, and that has no effect: prompts are cached without being marked."""


class TextPart(Part):
    """A text in a message."""

    type: Literal["text"]
    text: Annotated[str, Field(max_length=MAX_TEXT)]
    cache_control: Unused = None


class ImageUrl(Part):
    """An image: an https address, or a data URL (PNG, JPEG, WebP or GIF in base64). `detail` has no effect."""

    url: Annotated[str, Field(min_length=1, examples=["https://example.com/cat.png"])]
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Part):
    """An image in a user's message, for models that see."""

    type: Literal["image_url"]
    image_url: ImageUrl
    cache_control: Unused = None


def _form(content: Any) -> str:
    return "parts" if isinstance(content, list) else "text"


Content = Annotated[
    Annotated[str, Field(max_length=MAX_TEXT), Tag("text")]
    | Annotated[
        list[Annotated[TextPart | ImagePart, Field(discriminator="type")]],
        Field(min_length=1, max_length=MAX_PARTS),
        Tag("parts"),
    ],
    Discriminator(_form),
]


class ChatMessage(Part):
    """One turn. Without images, text parts are joined by line breaks; `developer` is a synonym of `system`.

    A message of the role `tool` answers the call `tool_call_id` of the assistant's message before it.
    """

    role: Literal["developer", "system", "user", "assistant", "tool"]
    content: Content | None = None
    tool_calls: Annotated[list[FunctionCall], Field(max_length=MAX_TOOLS)] | None = None
    tool_call_id: Annotated[str, Field(max_length=100)] | None = None
    # Clients send answers back unchanged, with these fields; the model does not need them.
    name: Annotated[str, Field(max_length=100)] | None = None
    reasoning_content: Annotated[str, Field(max_length=MAX_TEXT)] | None = None
    reasoning: Unused = None
    reasoning_details: Unused = None
    thinking_blocks: Unused = None
    provider_specific_fields: Unused = None
    refusal: Unused = None
    annotations: Unused = None
    cache_control: Unused = None
    audio: Annotated[Any, Only()] = None
    function_call: Annotated[Any, Only()] = None

    @model_validator(mode="after")
    def _has_content(self) -> Self:
        # An assistant's message that only calls functions has no content.
        if self.content is None and not self.tool_calls:
            raise ValueError("give content")
        return self

    @property
    def images(self) -> list[str]:
        """The addresses of the message's images."""
        parts = self.content if isinstance(self.content, list) else []
        return [part.image_url.url for part in parts if isinstance(part, ImagePart)]

    def turn(self, images: References) -> dict[str, Any]:
        """Return the message in the service's form."""
        parts = self.content if isinstance(self.content, list) else []
        content = message_content.content(
            (part.text if isinstance(part, TextPart) else (part.image_url.url,) for part in parts), images
        )
        turn: dict[str, Any] = {
            "role": "system" if self.role == "developer" else self.role,
            "content": content if parts else self.content or "",
        }
        if self.tool_calls:
            turn["tool_calls"] = [
                {"id": call.id, "name": call.function.name, "arguments": call.function.arguments}
                for call in self.tool_calls
            ]
        return turn if self.tool_call_id is None else turn | {"tool_call_id": self.tool_call_id}


class FunctionTool(Part):
    """A tool; only functions are supported."""

    type: Literal["function"]
    function: Function
    cache_control: Unused = None


class FunctionName(Part):
    """A function's name."""

    name: ToolName


class NamedTool(Part):
    """The function that the model must call."""

    type: Literal["function"]
    function: FunctionName


class JsonSchema(Part):
    """JSON that follows a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


ResponseFormat = Annotated[PlainText | JsonObject | JsonSchema, Field(discriminator="type")]


class ChatRequest(TextRequest):
    """A conversation to continue.

    A parameter without effect accepts only its neutral value, except those that only describe the request: `user`, `metadata`,
    `safety_identifier`, `prompt_cache_key`.
    """

    model_config = example(
        {
            "model": "smollm2-135m-instruct",
            "messages": [{"role": "user", "content": "Name the capital of France."}],
            "max_completion_tokens": 64,
            "temperature": 0,
        }
    )

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1000)]
    max_completion_tokens: MaxTokens | None = None
    response_format: ResponseFormat | None = None
    audio: Annotated[Any, Only()] = None
    function_call: Annotated[Any, Only("none", "auto")] = None
    functions: Annotated[Any, Only([])] = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Effort | None = None
    chat_template_kwargs: Annotated[dict[str, Any], Field(max_length=MAX_TEMPLATE_OPTIONS)] | None = None
    metadata: Annotated[dict[str, str], Field(max_length=16)] | None = None
    modalities: Annotated[Any, Only(["text"])] = None
    moderation: Annotated[Any, Only()] = None
    prediction: Annotated[Any, Only()] = None
    prompt_cache_key: Annotated[str, Field(max_length=500)] | None = None
    prompt_cache_options: Annotated[Any, Only()] = None
    prompt_cache_retention: Annotated[Any, Only()] = None
    safety_identifier: Annotated[str, Field(max_length=500)] | None = None
    service_tier: Annotated[Any, Only("auto", "default")] = None
    store: Annotated[Any, Only(False)] = None
    verbosity: Annotated[Any, Only("medium")] = None
    web_search_options: Annotated[Any, Only()] = None

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if None not in {self.max_tokens, self.max_completion_tokens}:
            raise ValueError("max_tokens is the old name of max_completion_tokens; give only one of them")
        return self

    @model_validator(mode="after")
    def _reported(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs requires logprobs")
        return self

    @model_validator(mode="after")
    def _whole_json(self) -> Self:
        # A stop text may occur in the middle of the JSON.
        if self.stop and self._usual_form():
            raise ValueError("stop could truncate the JSON; remove it or response_format")
        return self

    def _usual_form(self) -> str | None:
        form = self.response_format
        return None if form is None or form.type == "text" else "response_format"


async def create(call: ClientCall, request: ChatRequest, key: str | None) -> AnswerSubmission:
    """Submit the job of a request. See `serving.submit`."""
    usual = section_of(call.context.settings, ClientApiSettings).answer_max_tokens
    limit = request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens
    form, choice = request.response_format, request.tool_choice or "auto"
    urls = [url for message in request.messages for url in message.images]
    # Images become artifacts before the job is submitted, so that its payload stays small and miners can fetch them.
    images = await message_images.references(call, urls, "messages")
    parameters: dict[str, Any] = {
        **request.sampling(),
        "messages": [message.turn(images) for message in request.messages],
        # Clients expect a whole answer without naming a limit, but the job must have one, since it limits the price.
        "max_tokens": usual if limit is None else limit,
        **form_parameters(form.json_schema if isinstance(form, JsonSchema) else form),
        **effort_parameters(request.reasoning_effort),
        **tool_parameters(
            [tool.function for tool in request.tools or ()],
            {"name": choice.function.name} if isinstance(choice, NamedTool) else choice,
            parallel=request.parallel_tool_calls,
        ),
    }
    if request.chat_template_kwargs:
        parameters["template_options"] = request.chat_template_kwargs
    if request.logprobs:
        parameters["top_logprobs"] = request.top_logprobs or 0
    names = {
        "response_schema": "response_format.json_schema.schema",
        "template_options": "chat_template_kwargs",
        **request.constraint_names(),
    }
    return await submit(call, services.TEXT, parameters, request, key=key, names=names)
