"""`text_embedding` with a real model."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from platformdirs import user_cache_path
from pydantic import ValidationError

from runners.api import Cancelled, Device, Fail, Model, Retry, Tools
from runners.embedding import EmbeddingRunner
from runners.embedding.request import EmbeddingRequest

NAME = "all-minilm-l6-v2"
TEXTS = ("The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium.")


@pytest.fixture(scope="module")
def device():
    return Device("cpu", "test processor", threads=1)


@pytest.fixture(scope="module")
def runner(device, tmp_path_factory):
    directory = Path(os.environ.get("AITBC_MODELS_DIR") or user_cache_path("aitbc") / "models") / NAME
    if not (directory / "model.gguf").is_file():
        pytest.fail(f"The embedding model is not in {directory}; run `make setup`.")
    loaded = EmbeddingRunner(Tools(models_dir=tmp_path_factory.mktemp("models"), batch=2), device)
    loaded.load(Model(NAME, directory, options={"context": 512}))
    yield loaded
    loaded.close()


def product(one, other):
    return sum(first * second for first, second in zip(one, other, strict=True))


def test_similar_texts_have_similar_vectors(runner, make_context):
    """The products are those that the model's authors publish for these sentences (sbert.net): 0.666, 0.105, 0.141."""
    result = runner.run(EmbeddingRequest(model=NAME, input=TEXTS), make_context())
    lovely, sunny, stadium = result.results["embeddings"]
    assert len(lovely) == 384
    assert product(lovely, lovely) == pytest.approx(1, abs=1e-5)
    products = [product(lovely, sunny), product(lovely, stadium), product(sunny, stadium)]
    assert products == pytest.approx([0.666, 0.105, 0.141], abs=2e-3)
    assert result.results["usage"] == {"prompt_tokens": 25, "total_tokens": 25}
    assert result.units == 25


def test_many_texts_keep_their_order_and_report_progress(runner, make_context):
    context = make_context()
    texts = [f"Number {number}" for number in range(40)]
    many = runner.run(EmbeddingRequest(model=NAME, input=texts), context).results["embeddings"]
    (alone,) = runner.run(EmbeddingRequest(model=NAME, input=[texts[33]]), make_context()).results[
        "embeddings"
    ]
    assert many[33] == pytest.approx(alone, abs=1e-4)
    assert [percent for percent, _ in context.reported] == [40, 80, 100]
    model, speed = (line for source, line in context.lines if source == "llama.cpp")
    assert model.startswith(f"Model {NAME} in llama.cpp on the CPU")
    assert re.fullmatch(r"40 texts with \d+ tokens in \d+\.\d\d s: \d+ token/s\.", speed)


def test_a_vector_can_be_shortened(runner, make_context):
    whole = runner.run(EmbeddingRequest(model=NAME, input=TEXTS[:1]), make_context()).results["embeddings"][0]
    short = runner.run(EmbeddingRequest(model=NAME, input=TEXTS[:1], dimensions=8), make_context())
    (vector,) = short.results["embeddings"]
    assert len(vector) == 8
    assert product(vector, vector) == pytest.approx(1, abs=1e-5)
    assert vector[0] / vector[1] == pytest.approx(whole[0] / whole[1], abs=1e-3)


def test_a_text_that_is_too_long_is_an_input_error(runner, make_context):
    with pytest.raises(Fail, match=r"more tokens than the model reads \(512\); split it") as caught:
        runner.run(EmbeddingRequest(model=NAME, input=["word " * 600]), make_context())
    assert caught.value.code == "CONTEXT_OVERFLOW"


def test_a_job_is_cancelled_between_two_parts(runner, make_context):
    context = make_context()
    context.on_progress = context.cancel
    with pytest.raises(Cancelled):
        runner.run(EmbeddingRequest(model=NAME, input=["a"] * 64), context)
    assert len(context.reported) == 1


def test_invalid_requests_are_refused():
    for fields, words in [
        ({"input": []}, "at least 1"),
        ({"input": [""]}, "at least 1 character"),
        ({"input": ["a"] * 513}, "at most 512"),
        ({"input": ["a"], "dimensions": 0}, "greater than or equal to 1"),
        ({"input": ["a" * 600_000] * 2}, "1000000 characters together"),
    ]:
        with pytest.raises(ValidationError, match=words):
            EmbeddingRequest(model=NAME, **fields)


def test_a_model_without_gguf_is_unavailable(device, tools, tmp_path):
    with pytest.raises(Retry, match="models pull other") as caught:
        EmbeddingRunner(tools, device).load(Model("other", tmp_path))
    assert caught.value.code == "MODEL_UNAVAILABLE"


def test_a_text_of_many_control_tokens_is_refused_at_once(runner, make_context):
    """llama.cpp would read it for minutes. A long text that fits is read."""
    request = EmbeddingRequest(model=NAME, input=("[SEP]" * 190_000,))
    with pytest.raises(Fail, match="more tokens than the model reads") as caught:
        runner.run(request, make_context())
    assert caught.value.code == "CONTEXT_OVERFLOW"
    result = runner.run(EmbeddingRequest(model=NAME, input=("\n" * 20_000 + "word",)), make_context())
    assert len(result.results["embeddings"]) == 1
