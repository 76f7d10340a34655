"""Language models in llama.cpp, from GGUF files, on a GPU or the CPU."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from runners.api import Device, Fail, FailureCode, Model, Retry, Tools
from runners.engine_server import Stream
from runners.engine_server.llama import (
    WITHOUT_GUIDANCE,
    build,
    gguf_file,
    least_tokens,
    parts,
    projector_file,
    start_llama,
)
from runners.llm.call_syntax import PLAIN, CallSyntax
from runners.llm.engines import openai
from runners.llm.engines.base import (
    SEEN,
    AnswerTokens,
    GenerationOptions,
    OnStep,
    Piece,
    Reading,
    cannot_see,
    check_context,
    check_samplers,
    ignore,
    most_likely_margin,
    no_such_token,
)
from runners.llm.engines.calls import read_calls
from runners.llm.engines.enforcing import answer_grammar, plain_answer_schema
from runners.llm.engines.slots import SlotRequest, Slots
from runners.llm.evidence import TOP
from runners.llm.files import adapter_files, chat_template
from runners.llm.grammar import readable_schema
from runners.llm.images import Images
from runners.llm.prompt import raw_prompt
from runners.llm.request import MAX_ANSWERS, InferenceRequest

CONTEXT = 16_384
"""Tokens of all requests together on a machine without a GPU, unless the model's entry has the option `context`. On a GPU llama.cpp
takes the model's own context, or as much of it as fits."""

IMAGE_TOKENS = 2048
"""Tokens of the context that are reserved for each image."""

SAMPLERS = ("penalties", "top_k", "temperature", "min_p", "typ_p", "top_p")
"""What they choose is what OpenAI's API and the other engines choose: `top_p` sees the probabilities at the temperature, which
llama.cpp would apply last. `top_k` comes before both, because they take 4 % of a small model's time if they see the whole vocabulary."""

WAIT_SECONDS = 1.0

_SAME_NAMES = {"min_p", "typical_p", "mirostat", "mirostat_tau", "mirostat_eta", "ignore_eos"}
"""Fields of a request that llama.cpp knows by the same names."""


def _samplers(request: InferenceRequest) -> list[str]:
    """Return the samplers of a request. Those without an effect take time too."""
    idle = {"min_p": not request.min_p, "typ_p": request.typical_p == 1}
    return [name for name in SAMPLERS if not idle.get(name)]


class LlamaCppEngine(openai.ServerEngine):
    """See `LanguageEngine`."""

    name = "llama.cpp"

    def __init__(self, model: Model, device: Device, tools: Tools, vram: int | None) -> None:
        # llama.cpp refuses a request for more answers than it can generate at the same time.
        answers = max(tools.batch, MAX_ANSWERS)
        file = gguf_file(model)
        assert file is not None, "open_engine has found it"  # noqa: S101 - see the words
        adapters = adapter_files(model)
        self.adapters = tuple(adapters)
        self._server = start_llama(
            file,
            device,
            vram,
            context=int(model.options.get("context", CONTEXT if device.kind == "cpu" else 0)),
            answers=answers,
            template=chat_template(model),
            projector=str(projector) if (projector := projector_file(model)) else None,
            adapters=[str(adapter) for adapter in adapters.values()],
        )
        self._guided = build() != WITHOUT_GUIDANCE
        properties = self._server.get("/props")
        self._templated = bool(properties["chat_template"])
        self._sees = bool(properties["modalities"]["vision"])
        # A template without tools would drop them without a word.
        self._tools = bool(properties["chat_template_caps"]["supports_tools"])
        described = self._server.get("/v1/models")["data"][0]["meta"]
        self.context = min(int(described["n_ctx"]), int(described["n_ctx_train"]))
        self._vocabulary = int(described["n_vocab"])
        self._slots = Slots(answers, self._erase, int(described["n_ctx"]))
        # What the server predicts while it reads; it reports no probabilities with the end of an answer or a part of a character.
        self._word = self._words("a")[0]
        self.precision = str(described["ftype"])
        # A processor reads a token of some formats in two fifths of the time of writing one; a GPU in a small part.
        self.reads_partly = device.kind == "cpu"

    def submit(
        self, request: InferenceRequest, images: Images, options: GenerationOptions
    ) -> _LlamaGeneration:
        """See `LanguageEngine.submit`."""
        on_step, salt = options.on_step, options.salt
        alternatives = request.top_logprobs
        top = max(TOP, alternatives or 0) if options.evidence else alternatives
        if request.tools:  # it reports none beside calls
            top = None
        fields = openai.sampling(request, options.seed) | {
            **request.model_dump(include=_SAME_NAMES),
            "samplers": _samplers(request),
            "top_k": request.top_k if request.temperature else 1,  # only the likeliest token is chosen
            "repeat_penalty": request.repetition_penalty,
            # The default looks at the last 64 tokens only, other engines at all of them.
            "repeat_last_n": self.context,
            "timings_per_token": True,
            "return_progress": True,
            **self._adapter(request),
        }
        if request.raw or not self._templated:
            path, prompt = "/v1/completions", raw_prompt(request, self._is_token)
            self._check_length(prompt, request, on_step, parse_special=True)
            fields |= {"prompt": prompt} | ({} if top is None else {"logprobs": top})
        else:
            path = "/v1/chat/completions"
            texts = openai.texts(request)
            self._check_length(texts, request, on_step, parse_special=False)
            talk = self._conversation(request, images, self._without_control_tokens(texts, on_step))
            prompt = self._rendered(talk)
            on_step()
            fields |= talk | {"logprobs": top is not None, "top_logprobs": top}
        if request.stops:
            fields["verbose"] = True  # its last event then says which of them has ended the answer
        syntax = self._syntax if request.chosen_tools else PLAIN
        fields |= self._enforced(request, syntax)
        tokens = [token["id"] for token in self._tokens(prompt)]
        on_step()
        if not tokens:
            raise Fail("The prompt is empty: it has no tokens.")
        check_context(len(tokens), request, self.context)
        share = len(tokens) + request.n * request.max_tokens
        if images:  # how many tokens they are is known only when they have been read
            share = min(share + len(images) * IMAGE_TOKENS, self._slots.tokens)
        if share > self._slots.tokens:
            raise Fail(
                f"{request.n} answers of {request.max_tokens} tokens do not fit into the model's context; lower n."
            )
        if salt is not None and request.model in self.adapters:
            # What was computed without the adapter is of no use.
            salt = f"{salt} {request.model}"
        slot = self._slots.request(tokens, salt, share, answers=request.n)
        stream = self._server.stream(path, fields)
        return _LlamaGeneration(stream, request, syntax, self._words, self._slots, slot)

    def prompt_tokens(self, request: InferenceRequest) -> list[int]:
        """See `LanguageEngine.prompt_tokens`."""
        return [token["id"] for token in self._tokens(self._prompt(request))]

    def tokens(self, request: InferenceRequest, on_step: OnStep = ignore) -> list[tuple[int, str]]:
        """See `LanguageEngine.tokens`."""
        text = raw_prompt(request, self._is_token) if request.raw else openai.texts(request)
        self._check_length(text, request, on_step, parse_special=request.raw)
        tokens = self._tokens(self._prompt(request, on_step), add_special=request.special_tokens)
        return [(token["id"], _piece(token["piece"])) for token in tokens]

    def _prompt(self, request: InferenceRequest, on_step: OnStep = ignore) -> str:
        if request.raw or not self._templated:
            return raw_prompt(request, self._is_token)
        talk = self._conversation(request, {}, self._without_control_tokens(openai.texts(request), on_step))
        return self._rendered(talk)

    def text(self, tokens: Sequence[int]) -> str:
        """See `LanguageEngine.text`."""
        if max(tokens, default=0) >= self._vocabulary:  # the server would end
            raise no_such_token(self._vocabulary)
        return str(self._server.read("/detokenize", {"tokens": [*tokens]})["content"])

    def read(self, request: InferenceRequest, text: AnswerTokens) -> Iterator[Reading]:
        """See `LanguageEngine.read`. The server reads what lies between two positions in one step."""
        share = min(len(text.prompt) + len(text.answer) + 1, self._slots.tokens)
        slot = self._slots.request(text.prompt, None, share)
        try:
            # An empty reading says that the auditor still works.
            while not self._slots.acquire(slot, WAIT_SECONDS):
                yield Reading({})
            chosen = slot.fields
            for position in text.positions:
                tokens = [*text.prompt, *text.answer[:position]]
                fields = {
                    **chosen,
                    **self._adapter(request),
                    "prompt": tokens,
                    "n_predict": 1,
                    "n_probs": SEEN,
                    # The end of the answer would come without probabilities.
                    "logit_bias": [[self._word, 1000]],
                }
                likely = self._server.compute("/completion", fields)["completion_probabilities"][0][
                    "top_logprobs"
                ]
                self._slots.start(slot)
                # From here on, the slot holds this prompt.
                chosen |= {"cache_prompt": slot.number is not None}
                top = {int(entry["id"]): float(entry["logprob"]) for entry in likely}
                yield Reading(top, most_likely_margin(request, top, text.answer[position]))
        finally:
            self._slots.release(slot)

    def check(self, request: InferenceRequest) -> None:
        """See `LanguageEngine.check`."""
        check_samplers(request, self.name)
        if request.images and not self._sees:
            raise cannot_see(request)
        if request.messages and not self._templated:
            raise Fail(
                f"The model {request.model!r} has no chat template; send a prompt instead of messages."
            )
        if request.tools and not self._tools:
            raise Fail(
                f"The chat template of the model {request.model!r} has no tools; choose another model."
            )

    def _adapter(self, request: InferenceRequest) -> dict[str, Any]:
        """Return the field that applies the request's adapter and no other."""
        if not self.adapters:
            return {}
        return {
            "lora": [
                {"id": number, "scale": float(name == request.model)}
                for number, name in enumerate(self.adapters)
            ]
        }

    def _rendered(self, fields: Mapping[str, Any]) -> str:
        return str(self._server.read("/apply-template", fields)["prompt"])

    def _is_words(self, text: str) -> bool:
        return self._without_control_tokens(text)(text) == text

    def _enforced(self, request: InferenceRequest, syntax: CallSyntax) -> dict[str, Any]:
        """Return the field that enforces the form of an answer: a grammar of llguidance, or a schema for builds without it."""
        text = answer_grammar(request, syntax)
        if text is None or self._guided:
            return {} if text is None else {"grammar": text}
        if (plain := plain_answer_schema(request)) is None:
            raise Retry(
                "This machine's llama.cpp cannot enforce this form of the answer.",
                code=FailureCode.ENGINE_UNAVAILABLE,
            )
        return {"json_schema": plain}

    def _conversation(
        self, request: InferenceRequest, images: Images, text: Callable[[str], str]
    ) -> dict[str, Any]:
        """Return the messages and tools of a request. Schemas that llama.cpp cannot read are simplified: it fails for them even where it enforces nothing."""
        talk = openai.conversation(request, images, text)
        for tool in talk.get("tools", ()):
            tool["function"]["parameters"] = readable_schema(tool["function"]["parameters"])
        return talk

    def _erase(self, slot: int) -> None:
        """Empty a slot, as soon as llama.cpp has ended its request."""
        self._server.compute(f"/slots/{slot}?action=erase", {})

    def _words(self, text: str) -> list[int]:
        """Return the tokens of a text in the middle of an answer."""
        return [token["id"] for token in self._tokens(text, add_special=False, parse_special=False)]

    def _tokens(self, text: str, **options: bool) -> list[dict[str, Any]]:
        fields = {"content": text, "add_special": True, "parse_special": True, "with_pieces": True, **options}
        tokens: list[dict[str, Any]] = self._server.read("/tokenize", fields)["tokens"]
        return tokens

    def _check_length(
        self, text: str, request: InferenceRequest, on_step: OnStep, *, parse_special: bool
    ) -> None:
        """Raise `Fail` if a long text cannot fit into the context, as soon as enough of it was read."""
        for least in least_tokens(self._server, text, parse_special=parse_special):
            check_context(least, request, self.context, incomplete=True)
            on_step()

    def _without_control_tokens(self, text: str, on_step: OnStep = ignore) -> Callable[[str], str]:
        """Return a function that breaks the control tokens of `text` in any part of it. See `openai`."""
        is_control: dict[str, bool] = {}
        for part in parts(text):
            # The difference of both readings are the tokens that only the parsing of control tokens finds.
            words = {token["id"] for token in self._tokens(part, parse_special=False)}
            pieces = {token["id"]: token["piece"] for token in self._tokens(part) if token["id"] not in words}
            for identifier, piece in pieces.items():
                if piece not in is_control:
                    is_control[piece] = not self._is_word(identifier, piece)
            on_step()
        return openai.breaker(piece for piece, control in is_control.items() if control)

    def _is_token(self, text: str) -> bool:
        return len(self._tokens(text, add_special=False)) == 1

    def _is_word(self, identifier: int, piece: Any) -> bool:
        # A token that is a part of a character has no text.
        if not isinstance(piece, str):
            return True
        alone = self._tokens(piece, parse_special=False, add_special=False)
        return [token["id"] for token in alone] == [identifier]


@dataclass(frozen=True, slots=True, eq=False)
class _LlamaGeneration:
    """See `Generation`. `words` returns the tokens of a text in the middle of an answer."""

    stream: Stream
    request: InferenceRequest
    syntax: CallSyntax
    words: Callable[[str], list[int]]
    slots: Slots
    slot: SlotRequest

    def pieces(self) -> Iterator[Piece]:
        """See `Generation.pieces`."""
        ended = False
        try:
            while not self.slots.acquire(self.slot, WAIT_SECONDS):
                if self.stream.cancelled:
                    return
                yield Piece("", 0, 0)
            # Known only now, since the slot is chosen when it becomes free.
            self.stream.body |= self.slot.fields
            generated = openai.pieces(
                self.stream,
                self.request.n,
                _counts,
                alternatives=self.request.top_logprobs,
                tokens_of=self.words,
            )
            for piece in read_calls(generated, self.request, self.syntax):
                self.slots.start(self.slot)
                yield piece
            ended = not self.stream.cancelled
        finally:
            # A reader that leaves early must not keep the engine busy.
            self.stream.cancel()
            if ended or self.slot.number is None:
                self.slots.release(self.slot)
            else:  # llama.cpp notices up to a second and a step later that nobody listens
                threading.Thread(target=self._give_back_erased, name="erasing", daemon=True).start()

    def _give_back_erased(self) -> None:
        with suppress(Fail, Retry, RuntimeError):  # the server may be closed meanwhile
            self.slots.empty(self.slot)
        self.slots.release(self.slot)

    def cancel(self) -> None:
        """See `Generation.cancel`."""
        self.stream.cancel()


def _piece(piece: str | list[int]) -> str:
    """Return the text of a token. That of a part of a character are its bytes."""
    return piece if isinstance(piece, str) else bytes(piece).decode(errors="replace")


def _counts(event: Mapping[str, Any]) -> tuple[int, int] | None:
    if usage := event.get("usage"):
        return int(usage["prompt_tokens"]), int(usage["completion_tokens"])
    if timings := event.get("timings"):
        # Reused tokens are read too, as far as the client is concerned.
        return int(timings["cache_n"]) + int(timings["prompt_n"]), int(timings["predicted_n"])
    return None
