"""The names by which OpenAI's client may call a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai import OpenAI

from support.clients.openai_jobs import EMBEDDING, LLM, PICTURES, QUESTION, SPEECH, TEXT, answered, register
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.server import Served, serve

OWN = "house-model"


@pytest.fixture(scope="module")
def aliased(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A coordinator with an alias of its operator, and a miner with a model of each kind."""
    aliases = {OWN: LLM, "stolen": LLM, "claude-*": "missing", "claude-haiku-*": LLM}
    with serve(
        tmp_path_factory.mktemp("aliased") / "data", open_enrolment=True, model_aliases=aliases
    ) as served:
        yield served


@pytest.fixture(scope="module")
def miner(aliased: Served) -> ScriptedMiner:
    return register(ScriptedMiner(aliased.url))


@pytest.fixture(scope="module")
def ai(aliased: Served) -> Iterator[OpenAI]:
    with OpenAI(api_key=aliased.client_key, base_url=f"{aliased.url}/v1", max_retries=0, timeout=180) as ai:
        yield ai


@pytest.mark.parametrize(
    "name",
    [
        OWN,
        "claude-haiku-4-5",
        f"{LLM}:latest",
        "SmolLM2-135M-Instruct",
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "hf.co/huggingfacetb/smollm2-135m-instruct:latest",
        "smollm2:135m-instruct",
    ],
)
def test_a_model_has_several_names(ai: OpenAI, miner: ScriptedMiner, name: str) -> None:
    """The job names the model, and the answer what the client calls it."""
    answer, parameters = answered(
        miner, TEXT, lambda: ai.chat.completions.create(model=name, messages=QUESTION)
    )
    assert (answer.model, parameters["model"]) == (name, LLM)


def test_names_of_other_companies_stand_for_the_largest_model(ai: OpenAI, miner: ScriptedMiner) -> None:
    """Only for one that is large enough: a model of 135 million parameters is no gpt-4o-mini."""
    assert miner.miner_id
    found = {
        name: ai.models.retrieve(name).to_dict()["owned_by"] for name in ("whisper-1", "openai/whisper-base")
    }
    assert found == {"whisper-1": "Systran", "openai/whisper-base": "Systran"}
    for name in ("gpt-4o-mini", "dall-e-3", "text-embedding-3-small"):
        with pytest.raises(openai.NotFoundError, match="There is no model"):
            ai.models.retrieve(name)


def test_the_largest_is_chosen_of_those_that_can_be_used(tmp_path: Path) -> None:
    offered = capabilities()
    offered["services"]["whisper_transcription"]["models"] = ["medium.en", "tiny", "small", "large-v3"]
    offered["services"]["whisper_transcription"]["unavailable_models"] = ["large-v3"]
    offered["services"]["llm_inference"]["models"] = [LLM, "qwen3-4b-q4", "qwen3-8b-q4"]
    with (
        serve(tmp_path / "data", open_enrolment=True) as served,
        OpenAI(api_key=served.client_key, base_url=f"{served.url}/v1", max_retries=0, timeout=180) as ai,
    ):
        miner = ScriptedMiner(served.url)
        assert miner.register(capabilities=offered).status_code == 200
        answer, parameters = answered(
            miner, TEXT, lambda: ai.chat.completions.create(model="gpt-4o-mini", messages=QUESTION)
        )
        assert (answer.model, parameters["model"]) == ("gpt-4o-mini", "qwen3-8b-q4")
        # An open model has its own name, and what speaks is no language model.
        for name in ("gpt-j-6b", "gpt-image-1", "gpt-4o-mini-tts"):
            with pytest.raises(openai.NotFoundError):
                ai.chat.completions.create(model=name, messages=QUESTION)
        speech = {
            "text": "Hello.", "language": "en", "duration": 1, "segments": [], "files": [], "units": 1,
            "processing_time": 0.1,
        }  # fmt: skip
        _, parameters = answered(
            miner,
            speech,
            lambda: ai.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"RIFF", "audio/wav")),
        )
        assert parameters["model"] == "small"


def test_a_repeated_request_has_the_model_of_the_first(tmp_path: Path) -> None:
    """Though a better model has come, which the name now stands for."""
    offered = capabilities()
    offered["services"]["llm_inference"]["models"] = ["qwen3-4b-q4"]
    with (
        serve(tmp_path / "data", open_enrolment=True) as served,
        OpenAI(api_key=served.client_key, base_url=f"{served.url}/v1", max_retries=0, timeout=180) as ai,
    ):
        first_miner, second_miner = ScriptedMiner(served.url), ScriptedMiner(served.url)
        assert first_miner.register(capabilities=offered).status_code == 200

        def ask() -> str:
            return ai.chat.completions.create(
                model="gpt-4o-mini", messages=QUESTION, extra_headers={"Idempotency-Key": "q"}
            ).id

        first, _ = answered(first_miner, TEXT, ask)
        offered["services"]["llm_inference"]["models"] = ["qwen3-8b-q4"]
        assert second_miner.register(capabilities=offered).status_code == 200
        assert ai.models.retrieve("gpt-4o-mini").to_dict()["owned_by"] == "Qwen"
        assert ask() == first


def test_no_miner_takes_an_alias(aliased: Served, ai: OpenAI, miner: ScriptedMiner) -> None:
    """The operator's name counts, also where a miner calls a model so."""
    thief = ScriptedMiner(aliased.url)
    offered = capabilities()
    offered["services"]["llm_inference"]["models"] = ["stolen"]
    assert thief.register(capabilities=offered).status_code == 200
    _, parameters = answered(
        miner, TEXT, lambda: ai.chat.completions.create(model="stolen", messages=QUESTION)
    )
    assert parameters["model"] == LLM


def test_a_model_of_another_service_is_named_as_such(ai: OpenAI, miner: ScriptedMiner) -> None:
    """It exists, so "there is no model" would mislead."""
    assert miner.miner_id
    with pytest.raises(openai.NotFoundError, match=r"model of another service \(text, at /v1/chat/comp"):
        ai.embeddings.create(model=LLM, input="Hello.")
    for name, usage in ((EMBEDDING, "embeddings"), (SPEECH, "transcripts"), (PICTURES, "images")):
        with pytest.raises(openai.NotFoundError, match=rf"{name}.*another service \({usage}, at"):
            ai.chat.completions.create(model=name, messages=QUESTION)
