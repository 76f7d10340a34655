"""Language models in vLLM's own server, from safetensors, on one or several GPUs or the CPU."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runners.api import Device, FailureCode, Model, Retry
from runners.engine_server import SOCKET, EngineServer, Stream, shared_memory, socket_directory
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
)
from runners.llm.engines.calls import read_calls
from runners.llm.engines.enforcing import answer_grammar
from runners.llm.evidence import TOP
from runners.llm.files import TEMPLATES
from runners.llm.images import Images
from runners.llm.prompt import raw_prompt
from runners.llm.request import MAX_SHOWN, InferenceRequest
from runners.torch_memory import memory_fraction

MODULE = "vllm.entrypoints.openai.api_server"
SERVED = "model"
"""The model's name in vLLM's API."""

SHARE = 0.9
"""Share of the GPU's memory that vLLM may take without a limit."""

CPU_CACHE = 2
"""GiB of main memory for the keys and values of all requests on a machine without a GPU."""


_SAME_NAMES = {"repetition_penalty", "min_p", "min_tokens", "ignore_eos"}
"""Fields of a request that vLLM knows by the same names."""

_AMPERE, _ADA = 8.0, 8.9
"""Compute capabilities from which on a card computes with bfloat16, and with 8-bit floats."""

_NOT_IN_FLOAT16 = frozenset(("gemma2", "gemma3", "gemma3_text", "glm4"))
"""Types of models whose numbers exceed its range."""

_WITHOUT_NVCC = {
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
    "VLLM_ALLREDUCE_USE_FLASHINFER": "0",
    "VLLM_USE_DEEP_GEMM": "0",
}
"""Parts of vLLM 0.33 that compile kernels with nvcc when they are first used, which machines with a driver lack. It has others for the same."""


def start_vllm(interpreter: str, model: Model, device: Device, vram: int | None) -> EngineServer:
    """Start a server with the interpreter of vLLM's environment. Raises as `EngineServer.start`, and `Retry`.

    The code is GPU_UNAVAILABLE for a slice of a card that vLLM cannot use, MODEL_UNAVAILABLE without enough shared memory.
    """
    # vLLM 0.33 takes an instance's number within its card for the number of a card, and reads that one's capability.
    if not device.by_index:
        raise Retry(
            f"vLLM cannot use this slice of a card (MIG, {device.uuid}): it would take it for another card. "
            "Use llama.cpp there, or a slice whose number is that of a card of the same model.",
            code=FailureCode.GPU_UNAVAILABLE,
        )
    if device.kind == "cpu" or device.others:
        lack = shared_memory.lack()
        if lack is not None:
            raise Retry(
                f"vLLM cannot start on {device.words}: {lack} {shared_memory.REMEDY}",
                code=FailureCode.MODEL_UNAVAILABLE,
            )
    try:
        return _start(interpreter, model, device, vram)
    except Retry as error:
        # vLLM gives up if another program frees memory during its measurement. The agent's own evictions do that too, and have ended by now.
        if error.code != FailureCode.NO_MEMORY:
            raise
    return _start(interpreter, model, device, vram)


def _start(interpreter: str, model: Model, device: Device, vram: int | None) -> EngineServer:
    directory = socket_directory()
    # What the owner has set counts, for machines with nvcc.
    environment = {**_WITHOUT_NVCC, **os.environ, "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    if device.kind == "cpu":
        environment |= {
            "VLLM_CPU_KVCACHE_SPACE": str(CPU_CACHE),
            "OMP_NUM_THREADS": str(device.threads),
            # The rest of what --enforce-eager leaves compiled would need a C++ compiler at the first request.
            "TORCHDYNAMO_DISABLE": "1",
        }
    arguments = [
        *("--uds", str(directory / SOCKET)),
        *("--model", str(model.path), "--served-model-name", SERVED, "--load-format", "safetensors"),
        *("--max-logprobs", str(MAX_SHOWN + 1)),
        *("--max-model-len", "-1"),  # the model's context, or as much of it as fits
        *("--generation-config", "vllm"),  # the request determines the sampling, not the model's directory
        *("--structured-outputs-config", json.dumps({"backend": "guidance"})),
        "--enable-prompt-tokens-details",
        *("--disable-log-stats", "--no-enable-log-requests", "--disable-uvicorn-access-log"),
        *(
            ("--enforce-eager",)
            if device.kind == "cpu"
            else ("--gpu-memory-utilization", _share(device, vram))
        ),
        *(("--tensor-parallel-size", str(len(device.gpus))) if device.others else ()),
        *_model_options(model),
    ]
    return EngineServer.start([interpreter, MODULE, *arguments], environment, directory=directory)


class VLLMEngine(openai.ServerEngine):
    """See `LanguageEngine`. vLLM schedules and limits the requests by itself."""

    name = "vllm"
    reads_partly = False
    adapters = ()

    def __init__(self, interpreter: str, model: Model, device: Device, vram: int | None) -> None:
        added = _added_tokens(model)
        self._added = set(added)
        self._break = openai.breaker(token for token, special in added.items() if special)
        self.precision = _precision(model, device)
        self._sees = "vision_config" in json.loads((model.path / "config.json").read_bytes())
        self._server = start_vllm(interpreter, model, device, vram)
        self.context = int(self._server.get("/v1/models")["data"][0]["max_model_len"])

    def check(self, request: InferenceRequest) -> None:
        """See `LanguageEngine.check`."""
        check_samplers(request, self.name)
        if request.images and not self._sees:
            raise cannot_see(request)

    def submit(
        self, request: InferenceRequest, images: Images, options: GenerationOptions
    ) -> _VLLMGeneration:
        """See `LanguageEngine.submit`."""
        # vLLM names tokens by their texts or by their numbers: by these only if the client asked for no texts.
        alternatives = request.top_logprobs
        requested = TOP if alternatives is None and options.evidence else alternatives
        # It lists the drawn token first, even in place of the last of the likeliest: one more shows all of these.
        top = None if requested is None else requested + 1
        fields = {"model": SERVED, **openai.sampling(request, options.seed)} | {
            **request.model_dump(include=_SAME_NAMES),
            "return_tokens_as_token_ids": alternatives is None,
            # A random salt is shared with nobody, so nothing is reused.
            "cache_salt": options.salt or secrets.token_hex(),
            "n": _answers(request),
            "top_k": request.top_k or -1,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        }
        syntax = self._syntax if request.chosen_tools else PLAIN
        if (text := answer_grammar(request, syntax)) is not None:
            fields["structured_outputs"] = {"grammar": text}
        path, logprobs = "/v1/chat/completions", {"logprobs": True, "top_logprobs": top}
        if request.raw:
            path, logprobs = "/v1/completions", {"logprobs": top}
        prompt = self._prompt(request, images)
        fields |= {} if top is None else logprobs
        counted = self._tokenized(prompt)["count"]
        options.on_step()
        check_context(int(counted), request, self.context)
        return _VLLMGeneration(self._server.stream(path, fields | prompt), request, syntax)

    def _rendered(self, fields: Mapping[str, Any]) -> str:
        return self.text(self._tokenized(fields)["tokens"])

    def _is_words(self, text: str) -> bool:
        return self._break(text) == text

    def _tokenized(self, fields: Mapping[str, Any]) -> Any:
        return self._server.read("/tokenize", {"model": SERVED, **fields})

    def _prompt(self, request: InferenceRequest, images: Images) -> dict[str, Any]:
        if request.raw:
            return {"prompt": raw_prompt(request, self._added.__contains__)}
        return openai.conversation(request, images, self._break)

    def prompt_tokens(self, request: InferenceRequest) -> list[int]:
        """See `LanguageEngine.prompt_tokens`."""
        return [*self._tokenized(self._prompt(request, {}))["tokens"]]

    def tokens(self, request: InferenceRequest, on_step: OnStep = ignore) -> list[tuple[int, str]]:
        """See `LanguageEngine.tokens`."""
        special = {"add_special_tokens": request.special_tokens} if request.raw else {}
        read = self._tokenized({"return_token_strs": True, **self._prompt(request, {}), **special})
        on_step()
        return list(zip(read["tokens"], read["token_strs"], strict=True))

    def text(self, tokens: Sequence[int]) -> str:
        """See `LanguageEngine.text`."""
        return str(self._server.read("/detokenize", {"model": SERVED, "tokens": [*tokens]})["prompt"])

    def read(self, request: InferenceRequest, text: AnswerTokens) -> Iterator[Reading]:
        """See `LanguageEngine.read`. The server reads everything in one step."""
        last = text.positions[-1]
        fields = {
            "model": SERVED,
            "prompt": [*text.prompt, *text.answer[: last + 1]],
            "max_tokens": 1,
            "prompt_logprobs": SEEN,
            "cache_salt": secrets.token_hex(),
        }
        readings = self._server.compute("/v1/completions", fields)["choices"][0]["prompt_logprobs"]
        for position in text.positions:
            entries = readings[len(text.prompt) + position]
            top = {int(number): float(entry["logprob"]) for number, entry in entries.items()}
            yield Reading(top, most_likely_margin(request, top, text.answer[position]))


@dataclass(frozen=True, slots=True)
class _VLLMGeneration:
    """See `Generation`."""

    stream: Stream
    request: InferenceRequest
    syntax: CallSyntax

    def pieces(self) -> Iterator[Piece]:
        """See `Generation.pieces`."""
        generated = openai.pieces(
            self.stream,
            _answers(self.request),
            _counts,
            counts_all=True,
            alternatives=self.request.top_logprobs,
        )
        generated = read_calls(generated, self.request, self.syntax)
        # At temperature 0, the one answer stands for all that were requested.
        copies = self.request.n // _answers(self.request)
        return (replace(piece, index=piece.index + copy) for piece in generated for copy in range(copies))

    def cancel(self) -> None:
        """See `Generation.cancel`."""
        self.stream.cancel()


def _answers(request: InferenceRequest) -> int:
    """Return how many answers vLLM generates: it refuses several at temperature 0, which would be the same."""
    return request.n if request.temperature > 0 else 1


def _counts(event: Mapping[str, Any]) -> tuple[int, int] | None:
    usage = event.get("usage")
    return None if not usage else (int(usage["prompt_tokens"]), int(usage["completion_tokens"]))


def _share(device: Device, vram: int | None) -> str:
    # vLLM takes its share beyond what CUDA's context uses already, whose memory is a part of the budget.
    return f"{min(SHARE, memory_fraction(vram, device.memory)):.3f}"


def _model_options(model: Model) -> list[str]:
    """Return vLLM's arguments for the options of a model's entry."""
    named = {
        "context": "--max-model-len",
        "tool_parser": "--tool-call-parser",
        "reasoning_parser": "--reasoning-parser",
    }
    arguments = [
        part
        for name, flag in named.items()
        if name in model.options
        for part in (flag, str(model.options[name]))
    ]
    if "template" in model.options:
        arguments += ["--chat-template", str(TEMPLATES / f"{model.options['template']}.jinja")]
    if "tool_parser" in model.options:
        arguments.append("--enable-auto-tool-choice")
    return arguments


def _added_tokens(model: Model) -> dict[str, bool]:
    """Return the tokens beside those of words, and whether they are control tokens."""
    described = json.loads((model.path / "tokenizer.json").read_bytes())
    # Read from the file: the tokenizer itself needs packages that this environment may lack.
    return {token["content"]: token["special"] for token in described["added_tokens"]}


def _precision(model: Model, device: Device) -> str:
    """Return the type of numbers that vLLM computes with.

    It chooses another one than that of the model's files where the card lacks it, and then the answers look like another model's.
    """
    config = json.loads((model.path / "config.json").read_bytes())
    capability = float(device.compute_capability or 0)
    method = (config.get("quantization_config") or {}).get("quant_method")
    if method is not None:
        return f"{method}-w8a16" if "fp8" in method and capability < _ADA else str(method)
    numbers = str(config.get("dtype") or config.get("torch_dtype") or "auto")
    # As `_resolve_auto_dtype` of vLLM 0.33.
    able = (
        ["bfloat16", "float16", "float32"]
        if device.kind == "cpu" or capability >= _AMPERE
        else ["float16", "float32"]
    )
    if config.get("model_type") in _NOT_IN_FLOAT16:
        able.remove("float16")
    return numbers if numbers in (*able[:-1], "auto") else able[0]
