"""The request and the result of an inference job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from runners.api import InputFile, Since, Strict, WrongField, shown_as
from runners.input_options import OPTIONS
from runners.llm.arguments import arguments_text
from runners.llm.grammar import (
    bounded,
    check_calls,
    check_grammar,
    check_schema,
    in_version_0_2,
    parse_schema,
    schema_text,
)

MAX_TEXT = 1_000_000
"""Characters of a prompt, or of all messages together."""

MAX_NEW_TOKENS = 32_768
MAX_STOPS = 8

MAX_ANSWERS = 8
"""Answers to one request."""

MAX_PARTS = 100
"""Parts of one message."""
MAX_IMAGES = 16
"""Images in one request."""

VISION = "an image in a message"
"""The feature `vision` of engines that read images, in words."""

CALLS = "a call of a function"
"""The feature `tools` of engines whose answers call functions, in words."""

LENIENT_SCHEMAS = "a JSON Schema with parts that are not enforced"
TOOLS_OR_FORM = "an answer that is a call of a function or follows a JSON Schema"
"""Options of requests that agents of version 0.2 refuse, in words."""

MAX_TOKEN_IDS = 200_000
"""Tokens whose text a request may ask for."""

ENGINES_OF: Mapping[str, tuple[str, frozenset[str]]] = {
    "mirostat": ("the sampler mirostat", frozenset(("llama.cpp",))),
    "typical_p": ("the sampler typical_p", frozenset(("llama.cpp", "transformers"))),
    "min_tokens": ("a least number of tokens (min_tokens)", frozenset(("vllm", "transformers"))),
}
"""Fields that not all engines know: the value of the feature `samplers` of engines that do, and their names."""

MAX_TOOLS = 128
MAX_TEMPLATE_OPTIONS = 16
MAX_BIASES = 300

MAX_SHOWN = 20
"""Alternatives to each token that a client may request."""

Text = Annotated[str, Field(max_length=MAX_TEXT)]
StopText = Annotated[str, Field(min_length=1, max_length=256)]
ToolName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", examples=["get_weather"])]
Schema = Annotated[
    dict[str, Any],
    BeforeValidator(parse_schema, json_schema_input_type=dict[str, Any]),
    AfterValidator(check_schema),
    PlainSerializer(schema_text, return_type=str, when_used="json"),
]
"""A JSON Schema that the answer must follow, or its JSON text.

It becomes text in JSON: the answer's properties come in the order of the schema's, and the canonical JSON of a
job's specification sorts the properties of objects.
"""
ToolSchema = Annotated[
    dict[str, Any],
    BeforeValidator(parse_schema, json_schema_input_type=dict[str, Any]),
    AfterValidator(bounded),
    PlainSerializer(schema_text, return_type=str, when_used="json"),
]
"""The same for the arguments of a function, which must follow it only if a call is required."""
GrammarText = Annotated[str, Field(min_length=1), AfterValidator(check_grammar)]
"""A grammar of the answer in GBNF, or in Lark's form as llguidance reads it, which it becomes."""

_OWN_OPTIONS = frozenset(
    ("messages", "tools", "documents", "add_generation_prompt", "continue_final_message", "chat_template")
)


def _is_free(name: str) -> str:
    if name in _OWN_OPTIONS or name.endswith("_token"):
        raise ValueError("the agent sets this variable of the chat template; remove it")
    return name


TemplateOption = Annotated[
    str,
    Field(pattern=r"^[a-z][a-z0-9_]{0,63}$", examples=["enable_thinking"]),
    AfterValidator(_is_free),
]
TemplateText = Annotated[str, Field(max_length=1000)]
FinishReason = Literal["stop", "length", "tool_calls"]

ANY_OBJECT = {"type": "object", "additionalProperties": True}
"""The schema of `json_object`."""


class ToolCall(Strict):
    """A function that the model calls. `arguments` is a JSON object as text; in a request, an empty text stands for `{}`."""

    id: str = Field(max_length=100)
    name: ToolName
    arguments: Text


class TextPart(Strict):
    """A text in a message."""

    type: Literal["text"]
    text: Text


class ImagePart(Strict):
    """An image in a message: PNG, JPEG, WebP or GIF (its first frame)."""

    type: Literal["image"]
    image_url: Annotated[str, InputFile()] = Field(min_length=1, max_length=4096)


ContentPart = Annotated[TextPart | ImagePart, Field(discriminator="type")]


def _content_form(content: Any) -> str:
    return "parts" if isinstance(content, list | tuple) else "text"


Content = Annotated[
    Annotated[Text, Tag("text")]
    | Annotated[tuple[ContentPart, ...], Field(min_length=1, max_length=MAX_PARTS), Tag("parts")],
    Discriminator(_content_form),
]


def _readable(calls: tuple[ToolCall, ...]) -> tuple[ToolCall, ...]:
    """Return the calls of a conversation with arguments that every chat template can read. Raises `ValueError`."""
    read = []
    for call in calls:
        try:
            read.append(call.model_copy(update={"arguments": arguments_text(call.arguments)}))
        except ValueError as error:
            raise ValueError(f"the arguments of {call.name}: {error}") from None
    return tuple(read)


class Message(Strict):
    """One turn of a conversation. A `tool` message answers the call `tool_call_id` of the turn before.

    A user's message may consist of parts, texts and images in the order in which the model reads them.
    """

    role: Literal["system", "user", "assistant", "tool"]
    content: Content = ""
    tool_calls: Annotated[tuple[ToolCall, ...], AfterValidator(_readable)] = Field(
        default=(), max_length=MAX_TOOLS
    )
    tool_call_id: str | None = Field(default=None, max_length=100)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.tool_calls and self.role != "assistant":
            raise ValueError("only an assistant's message has tool_calls")
        if (self.tool_call_id is None) == (self.role == "tool"):
            raise ValueError("a tool's message, and no other, requires tool_call_id")
        if not self.content and self.role in {"system", "user"}:
            raise ValueError("the content is empty")
        if self.images and self.role != "user":
            raise ValueError("only a user's message has images")
        return self

    @property
    def text(self) -> str:
        """The message's text; several parts are joined by line breaks."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def images(self) -> int:
        """The number of images in the message."""
        return 0 if isinstance(self.content, str) else sum(part.type == "image" for part in self.content)


class Tool(Strict):
    """A function that the model may call. `parameters` is the JSON Schema of its arguments, an object."""

    name: ToolName
    description: str = Field(default="", max_length=10_000)
    parameters: ToolSchema = Field(default_factory=lambda: dict(NO_PARAMETERS))


NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


class ToolChoice(Strict):
    """The function that the model must call."""

    name: ToolName


class InferenceRequest(Strict):
    """Input of the service `llm_inference`.

    Requires either `prompt` or `messages`. A model with a chat template receives `prompt` as a user's message; a
    model without one, or `raw`, continues the text unchanged, control tokens included. `temperature` 0 always chooses the
    most likely token; `seed` makes other temperatures repeatable. `stop` ends the text before the first of these strings.
    With `response_schema` (JSON Schema) or `json_object`, a text that was not cut off is JSON of that form; an object has only the
    properties that the schema lists, in the same order, unless it has `additionalProperties`.
    `repetition_penalty` includes the prompt; `presence_penalty` and `frequency_penalty` do so only in llama.cpp. `n` is the
    number of answers. `top_logprobs` reports the log-probability of each token and of so many alternatives. `logit_bias` adds
    to the logits of tokens, by the token's number. With `tools`, the model may answer with calls of these functions;
    `tool_choice` "required", or a function's name, makes it do so; only a text has to follow `response_schema`. `reasoning_effort` "none"
    lets a model that thinks before it answers do without. With `only_tokens` nothing is generated: the results have the number of the request's
    tokens, also the tokens, or also their texts; without `special_tokens`, those of a `raw` prompt itself. "text" returns the text of `token_ids`.
    `grammar` is one that the text follows, in GBNF. `suffix` follows the text that a raw `prompt` begins, for models that fill in. `min_p`, `typical_p`
    and `mirostat` choose among the tokens as the engines do that know them; `min_tokens` and `ignore_eos` let no answer end early.
    `template_options` are variables of the model's chat template.
    """

    model_config = shown_as(
        {
            "model": "llama-7b",
            "prompt": "Explain quantum computing",
            "max_tokens": 256,
            "temperature": 0.7,
        }
    )

    model: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", examples=["smollm2-135m-instruct"])
    prompt: Text | None = Field(default=None, min_length=1)
    messages: tuple[Message, ...] = Field(default=(), max_length=1000)
    raw: bool = False
    max_tokens: int = Field(default=256, ge=1, le=MAX_NEW_TOKENS)
    temperature: float = Field(default=0.7, ge=0, le=2, allow_inf_nan=False)
    top_p: float = Field(default=1, gt=0, le=1, allow_inf_nan=False)
    top_k: int = Field(default=0, ge=0, le=1000, description="0 disables the limit.")
    stop: StopText | Annotated[tuple[StopText, ...], Field(max_length=MAX_STOPS)] = ()
    seed: int | None = Field(default=None, ge=0, lt=2**53)
    repetition_penalty: float = Field(default=1, ge=0.5, le=2, allow_inf_nan=False)
    presence_penalty: float = Field(default=0, ge=-2, le=2, allow_inf_nan=False)
    frequency_penalty: float = Field(default=0, ge=-2, le=2, allow_inf_nan=False)
    response_schema: Schema | None = None
    json_object: bool = False
    n: int = Field(default=1, ge=1, le=MAX_ANSWERS)
    top_logprobs: int | None = Field(default=None, ge=0, le=MAX_SHOWN)
    logit_bias: dict[
        Annotated[str, Field(pattern=r"^[0-9]{1,7}$", examples=["198"])],
        Annotated[float, Field(ge=-100, le=100)],
    ] = Field(default_factory=dict, max_length=MAX_BIASES)
    tools: tuple[Tool, ...] = Field(default=(), max_length=MAX_TOOLS)
    tool_choice: Literal["auto", "none", "required"] | ToolChoice = "auto"
    parallel_tool_calls: bool = True
    reasoning_effort: Literal["none", "low", "medium", "high"] | None = None
    only_tokens: Annotated[Literal["count", "tokens", "pieces", "text"] | None, Since("0.3")] = None
    special_tokens: Annotated[bool, Since("0.3")] = True
    min_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), Since("0.3")] = 0
    typical_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False), Since("0.3")] = 1
    mirostat: Annotated[int, Field(ge=0, le=2), Since("0.3")] = 0
    mirostat_tau: Annotated[float, Field(ge=0, le=20, allow_inf_nan=False), Since("0.3")] = 5
    mirostat_eta: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False), Since("0.3")] = 0.1
    min_tokens: Annotated[int, Field(ge=0, le=MAX_NEW_TOKENS), Since("0.3")] = 0
    ignore_eos: Annotated[bool, Since("0.3")] = False
    grammar: Annotated[GrammarText | None, Since("0.3")] = None
    suffix: Annotated[Text, Since("0.3")] = ""
    template_options: Annotated[
        dict[TemplateOption, bool | int | Annotated[float, Field(allow_inf_nan=False)] | TemplateText],
        Since("0.3"),
    ] = Field(default_factory=dict, max_length=MAX_TEMPLATE_OPTIONS)
    token_ids: Annotated[
        tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(max_length=MAX_TOKEN_IDS), Since("0.3")
    ] = ()

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings, always as a tuple."""
        return (self.stop,) if isinstance(self.stop, str) else self.stop

    @property
    def schema_(self) -> dict[str, Any] | None:
        """The JSON schema that the answer's text must follow, None if it is free text."""
        if self.response_schema is not None:
            return self.response_schema
        return ANY_OBJECT if self.json_object else None

    @property
    def is_formed(self) -> bool:
        """Whether the answer's text must follow a schema or a grammar."""
        return self.schema_ is not None or self.grammar is not None

    @property
    def restricts(self) -> bool:
        """Whether more than the model's probabilities decide which tokens are possible."""
        return bool(self.logit_bias or self.is_formed or self.tools or self.min_tokens or self.ignore_eos)

    @property
    def conversation(self) -> tuple[Message, ...]:
        """The messages; a prompt is a user's message."""
        return self.messages or (Message(role="user", content=self.prompt or ""),)

    @property
    def chosen_tools(self) -> tuple[Tool, ...]:
        """The tools that the answer may call if its text must follow a schema: then engines enforce the form of calls too."""
        free = self.tool_choice == "auto" and self.schema_ is not None
        return self.tools if free else self.forced_tools

    @property
    def images(self) -> int:
        """The number of images in all messages."""
        return sum(message.images for message in self.messages)

    @property
    def forced_tools(self) -> tuple[Tool, ...]:
        """The tools of which the answer must call one; empty if it may be text."""
        return _forced(self.tools, self.tool_choice)

    @field_validator("tool_choice")
    @classmethod
    def _enforceable(cls, choice: str | ToolChoice, values: ValidationInfo) -> str | ToolChoice:
        forced = _forced(values.data.get("tools", ()), choice)
        check_calls({tool.name: tool.parameters for tool in forced})
        return choice

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        if (self.only_tokens == "text") != bool(self.token_ids):
            raise WrongField("token_ids", 'token_ids and only_tokens "text" require each other')
        if (self.prompt is not None) + bool(self.messages) + bool(self.token_ids) != 1:
            raise WrongField("prompt", "give either prompt or messages")
        if self.only_tokens and self.images:
            raise WrongField("messages", "the tokens of images cannot be counted; remove the images")
        if not self.special_tokens and not (self.raw and self.only_tokens):
            raise WrongField("special_tokens", "only a raw prompt whose tokens are counted can do without")
        if self.raw and self.messages:
            raise WrongField("raw", "raw requires prompt; messages need the model's chat template")
        if sum(len(message.text) for message in self.messages) > MAX_TEXT:
            raise WrongField("messages", f"the messages have more than {MAX_TEXT} characters")
        if self.images > MAX_IMAGES:
            raise WrongField("messages", f"the messages have more than {MAX_IMAGES} images")
        return self

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.response_schema is not None and self.json_object:
            raise WrongField("response_schema", "give either response_schema or json_object")
        if self.stops and self.schema_ is not None:
            raise WrongField(
                "stop", "stop could cut the JSON short; omit it with response_schema and json_object"
            )
        return self

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if self.grammar is not None and (self.schema_ is not None or self.tools):
            raise WrongField("grammar", "give either a grammar, or functions and a JSON Schema")
        if self.min_tokens > self.max_tokens:
            raise WrongField("min_tokens", "min_tokens is more than max_tokens")
        for name in ("ignore_eos", "min_tokens"):
            if getattr(self, name) and (self.is_formed or self.forced_tools):
                raise WrongField(name, "an answer in a certain form ends where the form does; remove this")
        if self.suffix and not self.raw:
            raise WrongField("suffix", "a text to fill in needs raw, and a prompt")
        return self

    @model_validator(mode="after")
    def _usable_tools(self) -> Self:
        if self.tools and self.raw:
            raise WrongField("raw", "tools need the model's chat template; omit raw")
        if len({tool.name for tool in self.tools}) < len(self.tools):
            raise WrongField("tools", "two tools have the same name")
        if self.tool_choice not in {"auto", "none"} and not self.forced_tools:
            raise WrongField("tool_choice", "tool_choice names no function in tools")
        return self


def _forced(tools: tuple[Tool, ...], choice: str | ToolChoice) -> tuple[Tool, ...]:
    if isinstance(choice, ToolChoice):
        return tuple(tool for tool in tools if tool.name == choice.name)
    return tools if choice == "required" else ()


class Usage(BaseModel, defer_build=True):
    """Tokens read and generated, including those that ended the answers. `cached_tokens` of the prompt were computed for an earlier request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int | None = None


class Alternative(BaseModel, defer_build=True):
    """A token and its log-probability. `bytes` are those of its text, which may be part of a character."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class TokenLogprob(Alternative):
    """A token of the answer, and the most likely tokens instead of it."""

    top_logprobs: list[Alternative] = []


class Answer(BaseModel, defer_build=True):
    """One answer. `finish_reason` is "length" if `max_tokens` or the cost limit ended the text.

    `reasoning` is what the model thought before it answered, where it does so. `stop_text` is the stop string that ended the text.
    """

    text: str
    finish_reason: FinishReason
    reasoning: str | None = None
    tool_calls: list[ToolCall] | None = None
    logprobs: list[TokenLogprob] | None = None
    stop_text: str | None = None


class InferenceResult(Answer):
    """Output of the service: the first answer, and in `answers` all of them if several were requested.

    `tokens` and their texts, `pieces`, are for `only_tokens`.
    """

    usage: Usage
    answers: list[Answer] | None = None
    tokens: list[int] | None = None
    pieces: list[str] | None = None

    @property
    def all_answers(self) -> list[Answer]:
        """The answers in order, at least one."""
        return self.answers or [self]


def title(request: Mapping[str, Any], _: Mapping[str, str]) -> str | None:
    """Return the text that the model answers or continues: the prompt, or the newest message of a person."""
    questions = (
        _text(turn["content"]) for turn in reversed(request.get("messages") or ()) if turn["role"] == "user"
    )
    return request.get("prompt") or next(questions, None)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in content if part["type"] == "text")


def needs(request: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the features of an engine that a request needs."""
    contents = [turn["content"] for turn in request.get("messages") or () if "content" in turn]
    sees = any(part["type"] == "image" for parts in contents if not isinstance(parts, str) for part in parts)
    features = [("vision", VISION)] if sees else []
    features += [("tools", CALLS)] if request.get("tools") else []
    features += [("samplers", words) for name, (words, _) in ENGINES_OF.items() if request.get(name)]
    if not _in_version_0_2(request):
        features.append((OPTIONS, LENIENT_SCHEMAS))
    if request.get("tools") and (request.get("response_schema") is not None or request.get("json_object")):
        features.append((OPTIONS, TOOLS_OR_FORM))
    return features


def _in_version_0_2(request: Mapping[str, Any]) -> bool:
    """Return whether agents of version 0.2 accept all schemas of a request, which also compile those of functions that need not be called."""
    answer, choice = request.get("response_schema"), request.get("tool_choice")
    if answer is not None and not in_version_0_2(parse_schema(answer), compiled=True):
        return False
    return all(
        in_version_0_2(
            parse_schema(tool["parameters"]),
            compiled=choice == "required" or (isinstance(choice, Mapping) and choice["name"] == tool["name"]),
        )
        for tool in request.get("tools") or ()
    )
