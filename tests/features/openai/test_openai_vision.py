"""Images in the messages of OpenAI's clients become files of the job."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from support.clients.openai_jobs import ANSWER, LIMIT_SECONDS, LLM, TEXT, answered, asking
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.server import Served

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
DATA_URL = f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}"
SEEING = "seeing-model"
"""A model of the miner's owner, of which the catalogue knows nothing."""

ADDRESS = "https://client.example/cat.png"


@pytest.fixture
def miner(served: Served) -> ScriptedMiner:
    miner, offered = ScriptedMiner(served.url), capabilities()
    offered["services"]["llm_inference"]["models"] = [LLM, SEEING]
    assert miner.register(capabilities=offered).status_code == 200
    return miner


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def test_images_reach_the_miner_in_their_order(ai: OpenAI, miner: ScriptedMiner) -> None:
    messages: list[Any] = [{"role": "user", "content": [text("Compare"), image(DATA_URL), image(ADDRESS)]}]
    _, parameters = answered(
        miner,
        TEXT,
        lambda: ai.chat.completions.create(model=SEEING, messages=messages, max_completion_tokens=8),
    )
    first, stored, linked = parameters["messages"][0]["content"]
    assert first == {"type": "text", "text": "Compare"}
    assert stored["image_url"].startswith("artifact:sha256:")
    assert linked == {"type": "image", "image_url": ADDRESS}


def test_an_image_in_base64_is_a_file_that_the_miner_may_read(
    served: Served, ai: OpenAI, miner: ScriptedMiner
) -> None:
    """It is fetched like any other input, while the job runs."""
    messages: list[Any] = [{"role": "user", "content": [image(DATA_URL), text("What is this?")]}]
    with asking(lambda: ai.chat.completions.create(model=SEEING, messages=messages)) as response:
        (lease,) = miner.poll()
        (reference,) = lease["spec"]["files"].values()
        address = f"{served.url}/v1/artifacts/{reference.removeprefix('artifact:')}"
        assert httpx.get(address, headers=miner.http.headers).content == PIXEL
        assert miner.complete(lease, TEXT).status_code == 200
        assert response.result(LIMIT_SECONDS).choices[0].message.content == ANSWER


def test_responses_accept_images_too(ai: OpenAI, miner: ScriptedMiner) -> None:
    items: list[Any] = [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is this?"},
                {"type": "input_image", "image_url": DATA_URL, "detail": "auto"},
            ],
        }
    ]
    _, parameters = answered(miner, TEXT, lambda: ai.responses.create(model=SEEING, input=items))
    assert [part["type"] for part in parameters["messages"][0]["content"]] == ["text", "image"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("data:image/svg+xml;base64,PHN2Zy8+", "an image in a data URL is image/png"),
        ("data:image/png,raw", 'begins with "data:image/png;base64,"'),
        ("data:image/png;base64,%%%", "is not base64"),
        ("file:///etc/passwd", "https"),
        ("http://127.0.0.1/cat.png", "https"),
    ],
)
def test_other_addresses_are_refused(ai: OpenAI, miner: ScriptedMiner, url: str, words: str) -> None:
    messages: list[Any] = [{"role": "user", "content": [image(url)]}]
    with pytest.raises(openai.UnprocessableEntityError, match=words):
        ai.chat.completions.create(model=SEEING, messages=messages)


def test_images_for_a_model_of_texts_are_refused_before_a_miner_gets_them(
    ai: OpenAI, miner: ScriptedMiner
) -> None:
    """The catalogue knows what the model lacks."""
    messages: list[Any] = [{"role": "user", "content": [text("What is this?"), image(DATA_URL)]}]
    with pytest.raises(
        openai.UnprocessableEntityError, match="cannot use an image in a message; remove it"
    ) as caught:
        ai.chat.completions.create(model=LLM, messages=messages)
    assert caught.value.code == "VALIDATION_ERROR"
    assert miner.poll() == []


def test_only_users_send_images(ai: OpenAI, miner: ScriptedMiner) -> None:
    messages: list[Any] = [{"role": "system", "content": [image(ADDRESS)]}]
    with pytest.raises(openai.UnprocessableEntityError, match="only a user's message has images"):
        ai.chat.completions.create(model=SEEING, messages=messages)
