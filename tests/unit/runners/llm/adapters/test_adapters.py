"""Adapters (LoRA) of a language model in llama.cpp: several models that share the weights of one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runners.api import FailureCode, Model, Retry, Tools
from runners.llm import LLMRunner
from runners.llm.request import InferenceRequest
from support.inputs.gguf_models import write_adapter
from support.inputs.language_models import NAME, QUESTION

pytestmark = pytest.mark.system

ADAPTED = "with-an-adapter"


@pytest.fixture(scope="module")
def adapter(model, tmp_path_factory):
    """A model whose files are an adapter of the tests' model."""
    directory = tmp_path_factory.mktemp("adapter")
    write_adapter(directory / "adapter.gguf", model.path / "model.gguf")
    return Model(ADAPTED, directory)


@pytest.fixture(scope="module")
def adapted(model, adapter, device, tmp_path_factory):
    """A runner that has loaded the model with its adapter."""
    loaded = LLMRunner(Tools(models_dir=tmp_path_factory.mktemp("models"), batch=4), device)
    loaded.load(replace(model, adapters={ADAPTED: adapter.path}))
    yield loaded
    loaded.close()


def answer(runner, context, adapter=None):
    """Return the answer to a request of one account, which names the model or its adapter."""
    name = NAME if adapter is None else adapter.name
    context.adapters, context.cache_salt = {} if adapter is None else {name: adapter}, "account"
    request = InferenceRequest(model=name, prompt=QUESTION, temperature=0, max_tokens=16)
    return runner.run(request, context).results["text"]


def test_a_request_gets_the_adapter_that_it_names_and_no_other(ask, adapted, adapter, make_context):
    """Also directly after a request of the same account with the same prompt, from which it must not continue."""
    plain = ask()["text"]
    assert answer(adapted, make_context()) == plain
    changed = answer(adapted, make_context(), adapter)
    assert changed != plain
    assert answer(adapted, make_context()) == plain
    assert answer(adapted, make_context(), adapter) == changed


def test_a_model_that_was_loaded_without_the_adapter_sends_the_job_back(runner, adapter, make_context):
    with pytest.raises(Retry) as refused:
        answer(runner, make_context(), adapter)
    assert refused.value.code == FailureCode.MODEL_UNAVAILABLE


def test_the_digest_of_a_run_is_that_of_the_base_and_the_adapter(adapted, model, adapter):
    assert adapted.weights(model) == (model.path / "model.gguf",)
    used = replace(model, adapters={ADAPTED: adapter.path})
    assert adapted.weights(used) == (model.path / "model.gguf", adapter.path / "adapter.gguf")
