"""No request of a client makes an engine for language models fail through the machine's fault, and the next request is answered."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from runners.api import Device, Fail, FailureCode, Model, RunnerError, Tools
from runners.engine_server import SOCKET, EngineServer, socket_directory
from runners.errors import Fault
from runners.llm import LLMRunner
from runners.llm.engines import vllm
from runners.llm.request import InferenceRequest
from support.inputs.language_models import NAME, QUESTION
from support.servers import vllm_server

pytestmark = pytest.mark.ship

EXAMPLES = 25

WORDS = st.sampled_from(
    (
        "", " ", "\0", "a", "\ufffe", "<|im_end|>", "<|im_start|>system", "<__media__>", "{{ 1/0 }}", "{% raw %}", "</tool_call>",
        '<tool_call>{"name": "f", "arguments": {', "[TOOL_CALLS]", "\u202e\u0301", "😀" * 9, "cuda error: out of memory", "x" * 3000,
        "<|im_end|>" * 2000, " " * 20_000,
        vllm_server.BROKEN_STREAM,
    )
)  # fmt: skip
TEXTS = WORDS | st.text(max_size=20) | st.builds("".join, st.lists(WORDS, max_size=3))
ARGUMENTS = st.sampled_from(
    ("", "{}", "{", '{"a":', "[]", "1", "null", "NaN", '{"a": NaN}', '{"a": 1e999}', '{"a": "\\ud800"}', '{"a": 1, "a": 2}', "\ufeff{}",
     '{"a": ' + "9" * 400 + "}", '{"a":' * 70 + "1" + "}" * 70, "{'a': 1}", '{"a": "\x00"}')
)  # fmt: skip
CALLS = st.fixed_dictionaries({"id": TEXTS, "name": st.sampled_from(("f", "g")), "arguments": ARGUMENTS})
PARTS = st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS}), min_size=1, max_size=2)
MESSAGES = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(("system", "user")), "content": TEXTS | PARTS}),
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": TEXTS}, optional={"tool_calls": st.lists(CALLS, max_size=2)}
    ),
    st.fixed_dictionaries({"role": st.just("tool"), "content": TEXTS | PARTS, "tool_call_id": TEXTS}),
)
SCHEMAS = st.recursive(
    st.sampled_from(
        ({}, {"type": "string"}, {"type": "text"}, {"type": "string", "pattern": "^(a|b)*c{1,900}$"}, {"type": "string", "pattern": "(?=a)"},
         {"type": "string", "format": "uri"}, {"type": "string", "format": "byte"}, {"type": "integer", "minimum": 3, "maximum": 2},
         {"type": "string", "minLength": 1990}, {"type": "string", "minLength": 5, "maxLength": 2}, {"type": "string", "pattern": "^a{5,2}$"}, {"enum": [None, 1, "a"]}, {"const": {"a": 1}}, {"$ref": "#/$defs/x"}, {"$ref": "http://x/y"},
         {"not": {}}, {"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": {"type": "integer"}}, {"enum": []})
    ),
    lambda inner: st.fixed_dictionaries({"type": st.just("object"), "properties": st.dictionaries(TEXTS, inner, max_size=2)},
                                        optional={"required": st.lists(TEXTS, max_size=2)})
    | st.fixed_dictionaries({"type": st.just("array"), "items": inner}, optional={"minItems": st.integers(0, 9)})
    | st.fixed_dictionaries({"anyOf": st.lists(inner, max_size=2)}),
    max_leaves=4,
)  # fmt: skip
TOOLS = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from(("f", "g"))}, optional={"parameters": SCHEMAS, "description": TEXTS}),
    min_size=1, max_size=2, unique_by=lambda tool: tool["name"],
)  # fmt: skip
PROMPTS = st.one_of(
    st.fixed_dictionaries({"prompt": TEXTS}, optional={"raw": st.booleans()}),
    st.fixed_dictionaries({"messages": st.lists(MESSAGES, min_size=1, max_size=4)}),
)
FORMS = st.one_of(
    st.fixed_dictionaries({}, optional={"stop": st.lists(st.sampled_from(("a", "\0", "x" * 200)), max_size=3)}),
    st.fixed_dictionaries({"tools": TOOLS}, optional={"tool_choice": st.sampled_from(("auto", "none", "required", {"name": "f"}))}),
    st.fixed_dictionaries({"response_schema": SCHEMAS}),
    st.just({"json_object": True}),
)  # fmt: skip
SAMPLINGS = st.fixed_dictionaries(
    {"max_tokens": st.integers(1, 4)},
    optional={
        "logit_bias": st.dictionaries(st.sampled_from(("0", "1", "9999999")), st.sampled_from((-100.0, 100.0))),
        "temperature": st.sampled_from((0, 1e-300, 2)),
        "top_p": st.sampled_from((1e-300, 1)),
        "top_k": st.sampled_from((0, 1, 1000)),
        "top_logprobs": st.sampled_from((0, 20)),
        "repetition_penalty": st.sampled_from((0.5, 2)),
        "frequency_penalty": st.sampled_from((-2, 2)),
        "n": st.sampled_from((1, 3, 8)),
        "seed": st.sampled_from((0, 2**53 - 1)),
        "reasoning_effort": st.sampled_from(("none", "high")),
    },
)  # fmt: skip
REQUESTS = st.builds(lambda *parts: {**parts[0], **parts[1], **parts[2]}, PROMPTS, FORMS, SAMPLINGS)
TOO_LONG = {"prompt": "<|im_end|>" * 99_000}
BROKEN_CALL = {
    "messages": [{"role": "user", "content": "Go"}, {"role": "assistant", "tool_calls": [{"id": "c", "name": "f", "arguments": "{"}]}]
}  # fmt: skip
FEW_ROLES = {"messages": [{"role": "assistant", "content": "a"}] * 3}


def broken(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test with generated requests, always the same ones. Requests to a model may take any time."""
    for request in (TOO_LONG, BROKEN_CALL, FEW_ROLES):
        test = example(fields=request)(test)
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]
    chosen = settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=checks, database=None
    )
    return chosen(given(fields=REQUESTS)(test))


@pytest.fixture(scope="module")
def vllm_runner(tmp_path_factory: pytest.TempPathFactory, tiny: Path, device: Device) -> Iterator[LLMRunner]:
    """The runner with vLLM's engine, whose server is a stand-in."""

    def start(*_: Any) -> EngineServer:
        directory = socket_directory()
        return EngineServer.start(
            [sys.executable, vllm_server.__file__, str(directory / SOCKET)], os.environ, directory=directory
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vllm, "start_vllm", start)
        runner = LLMRunner(Tools(models_dir=tmp_path_factory.mktemp("models")), device)
        runner._engine = vllm.VLLMEngine(sys.executable, Model(NAME, tiny), device, None)
    yield runner
    runner.close()


def send(runner: LLMRunner, context: Any, fields: dict[str, Any]) -> RunnerError | None:
    """Send a request as a coordinator and a miner do. Returns the error that it ended with."""
    try:
        submitted = InferenceRequest.model_validate_json(json.dumps({"model": NAME, **fields}), strict=True)
    except ValidationError:
        return None  # refused before any miner sees it
    request = InferenceRequest.model_validate(submitted.model_dump(mode="json"))
    try:
        runner.run(request, context)
    except RunnerError as error:
        return error
    return None


def check(runner: LLMRunner, make_context: Callable[..., Any], fields: dict[str, Any]) -> None:
    """Send a request. It may only fail for good, or as one that this engine leaves to others."""
    error = send(runner, make_context(), fields)
    if error is not None:
        assert error.fault in {Fault.INPUT, Fault.NEITHER}, error
        assert isinstance(error, Fail) or error.code == FailureCode.ENGINE_UNAVAILABLE, error
    assert send(runner, make_context(), {"prompt": QUESTION, "max_tokens": 2}) is None


@broken
def test_llama_cpp(runner: LLMRunner, make_context: Callable[..., Any], fields: dict[str, Any]) -> None:
    check(runner, make_context, fields)


@broken
def test_transformers(
    tiny_runner: LLMRunner, make_context: Callable[..., Any], fields: dict[str, Any]
) -> None:
    check(tiny_runner, make_context, fields)


@broken
def test_vllm(vllm_runner: LLMRunner, make_context: Callable[..., Any], fields: dict[str, Any]) -> None:
    check(vllm_runner, make_context, fields)
