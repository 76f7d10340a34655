"""The requests of Ollama's API, as its clients send them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from agent.coordinator.features.client_apis.neutral import Only
from aitbc.answers.fields import example
from runners.embedding.request import MAX_CHARACTERS, MAX_TEXTS
from runners.llm.request import MAX_IMAGES, MAX_SHOWN, MAX_STOPS, MAX_TEXT, MAX_TOOLS, StopText, ToolName

QUESTION: Final[Any] = {"role": "user", "content": "Name the capital of France."}
MODEL: Final = "smollm2-135m-instruct"
Text = Annotated[str, Field(max_length=MAX_TEXT)]
ModelName = Annotated[str, Field(min_length=1, max_length=200, examples=[MODEL])]


class OllamaPart(BaseModel, defer_build=True):
    """A part of a request. Other fields are refused, as they would be ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OllamaOptions(OllamaPart):
    """How the text is generated. Options for Ollama's own machine have no effect: the miner decides how it runs a model.

    `num_ctx` does not change the model's context. `num_predict` -1 and -2, as no limit, stand for
    `coordinator.answer_max_tokens`.
    """

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1000)] | None = None
    seed: Annotated[int, Field(lt=2**53)] | None = None
    stop: StopText | Annotated[list[StopText], Field(max_length=MAX_STOPS)] | None = None
    num_predict: Annotated[int, Field(ge=-2)] | None = None
    repeat_penalty: Annotated[float, Field(ge=0.5, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    typical_p: Annotated[float, Field(gt=0, le=1)] | None = None
    tfs_z: Annotated[Any, Only(1)] = None
    mirostat: Annotated[int, Field(ge=0, le=2)] | None = None
    mirostat_tau: Annotated[float, Field(ge=0, le=20)] | None = None
    mirostat_eta: Annotated[float, Field(gt=0, le=1)] | None = None
    repeat_last_n: Any = None
    penalize_newline: Any = None
    num_ctx: Any = None
    num_keep: Any = None
    num_batch: Any = None
    num_gpu: Any = None
    main_gpu: Any = None
    num_thread: Any = None
    numa: Any = None
    low_vram: Any = None
    f16_kv: Any = None
    logits_all: Any = None
    vocab_only: Any = None
    use_mmap: Any = None
    use_mlock: Any = None
    embedding_only: Any = None

    NAMES: ClassVar = {"max_tokens": "num_predict", "repetition_penalty": "repeat_penalty"}
    """Ollama's names of parameters of the service, where they differ."""

    def sampling(self) -> dict[str, Any]:
        """Return the given options as parameters of the service, without the limit of tokens."""
        sampling = self.model_dump(
            include={
                "temperature",
                "top_p",
                "top_k",
                "seed",
                "stop",
                "presence_penalty",
                "frequency_penalty",
                "min_p",
                "typical_p",
                *(("mirostat", "mirostat_tau", "mirostat_eta") if self.mirostat else ()),
            },
            exclude_none=True,
        )
        # As in Ollama, a negative seed is a random one.
        if sampling.get("seed", 0) < 0:
            del sampling["seed"]
        if self.repeat_penalty is not None:
            sampling["repetition_penalty"] = self.repeat_penalty
        return sampling


def _form_kind(form: Any) -> str:
    return "name" if isinstance(form, str) else "schema"


Form = Annotated[
    Annotated[Literal["", "json"], Tag("name")] | Annotated[dict[str, Any], Tag("schema")],
    Discriminator(_form_kind),
]
"""The form of the answer: any JSON object, or a JSON Schema."""
Images = Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=MAX_IMAGES)]
"""Images as base64, without a media type."""


class OllamaRequest(OllamaPart):
    """What all requests for text have in common. `keep_alive` has no effect: miners unload a model when they need its memory."""

    model: ModelName
    options: OllamaOptions | None = None
    format: Form | None = None
    stream: bool | None = None
    think: bool | Literal["low", "medium", "high", ""] | None = None
    keep_alive: float | str | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_SHOWN)] | None = None
    truncate: bool | None = None
    shift: bool | None = None
    debug_render_only: Annotated[Any, Only(False), Field(alias="_debug_render_only")] = None

    @property
    def streamed(self) -> bool:
        """Whether the answer comes in chunks, which is the default of Ollama's API."""
        return self.stream is not False

    @property
    def unloads(self) -> bool:
        """Whether a request without a question asks to unload the model, and not to load it."""
        return self.keep_alive in {0, "0", "0s"}


class OllamaFunction(OllamaPart):
    """A function that the model may call."""

    name: ToolName
    description: Annotated[str, Field(max_length=10_000)] | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class OllamaTool(OllamaPart):
    """A tool; only functions are supported."""

    type: Literal["function"] = "function"
    function: OllamaFunction


class OllamaCalledFunction(OllamaPart):
    """A function that the model has called, with its arguments as an object."""

    name: ToolName
    arguments: dict[str, Any] = {}
    index: int | None = None


class OllamaCall(OllamaPart):
    """A call of a function in an assistant's message."""

    id: Annotated[str, Field(max_length=100)] | None = None
    type: Literal["function"] | None = None
    function: OllamaCalledFunction


class OllamaTurn(OllamaPart):
    """One turn. A message of the role `tool` answers the call `tool_call_id`, or else the next open call of the function `tool_name`."""

    role: Literal["system", "user", "assistant", "tool"]
    content: Text | None = None
    images: Images | None = None
    tool_calls: Annotated[list[OllamaCall], Field(max_length=MAX_TOOLS)] | None = None
    tool_name: Annotated[str, Field(max_length=100)] | None = None
    tool_call_id: Annotated[str, Field(max_length=100)] | None = None
    # Clients send answers back unchanged; the model does not need its thoughts again.
    thinking: Text | None = None
    name: Annotated[str, Field(max_length=100)] | None = None


class OllamaChatRequest(OllamaRequest):
    """A conversation to continue. Without messages, the model is only looked up."""

    model_config = example(
        {"model": MODEL, "messages": [QUESTION], "stream": False, "options": {"temperature": 0}}
    )

    messages: Annotated[list[OllamaTurn], Field(max_length=1000)] | None = None
    tools: Annotated[list[OllamaTool], Field(max_length=MAX_TOOLS)] | None = None


class OllamaGenerateRequest(OllamaRequest):
    """A prompt to answer, or with `raw` to continue unchanged. With `suffix`, the answer is the text between both. Without a prompt, the model is only looked up."""

    model_config = example({"model": MODEL, "prompt": QUESTION["content"], "stream": False})

    prompt: Text | None = None
    system: Text | None = None
    images: Images | None = None
    raw: bool | None = None
    suffix: Text | None = None
    template: Annotated[Any, Only("")] = None
    context: Annotated[Any, Only([])] = None
    width: Annotated[Any, Only(0)] = None
    height: Annotated[Any, Only(0)] = None
    steps: Annotated[Any, Only(0)] = None


def _listed(texts: str | list[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else texts


class OllamaEmbedRequest(OllamaPart):
    """Texts to embed. A text that is too long for the model is refused; `truncate` and `options` have no effect."""

    model_config = example({"model": "all-minilm-l6-v2", "input": ["The weather is lovely."]})

    model: ModelName
    input: Annotated[
        Annotated[str, Field(max_length=MAX_CHARACTERS)]
        | Annotated[list[Annotated[str, Field(max_length=MAX_CHARACTERS)]], Field(max_length=MAX_TEXTS)],
        AfterValidator(_listed),
    ] = []
    dimensions: Annotated[int, Field(ge=1, le=16_384)] | None = None
    truncate: bool | None = None
    options: dict[str, Any] | None = None
    keep_alive: float | str | None = None


class OllamaEmbeddingsRequest(OllamaPart):
    """A text to embed, in the older form of this call."""

    model_config = example({"model": "all-minilm-l6-v2", "prompt": "The weather is lovely."})

    model: ModelName
    prompt: Annotated[str, Field(max_length=MAX_CHARACTERS)] | None = None
    options: dict[str, Any] | None = None
    keep_alive: float | str | None = None


class OllamaNamed(OllamaPart):
    """A model. `name` is the older name of `model`."""

    model_config = example({"model": MODEL})

    model: Annotated[str, Field(max_length=200)] | None = None
    name: Annotated[str, Field(max_length=200)] | None = None

    @model_validator(mode="after")
    def _named(self) -> Self:
        if not self.wanted:
            raise ValueError("give the model")
        return self

    @property
    def wanted(self) -> str:
        """The model's name."""
        return self.model or self.name or ""


class OllamaShowRequest(OllamaNamed):
    """A model to describe. The options change nothing about the answer."""

    verbose: bool | None = None
    system: Annotated[Any, Only("")] = None
    template: Annotated[Any, Only("")] = None
    options: dict[str, Any] | None = None


class OllamaPullRequest(OllamaNamed):
    """A model to look for."""

    stream: bool | None = None
    insecure: bool | None = None
    username: Annotated[Any, Only("")] = None
    password: Annotated[Any, Only("")] = None
