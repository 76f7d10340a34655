"""OpenAI's own client with a real agent and real engines."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI
from PIL import Image, ImageChops
from pydantic import BaseModel

from aitbc import AITBCClient
from aitbc.receipts import verify_bundle
from support.agents import Agent
from support.inputs.media import SENTENCE

pytestmark = [pytest.mark.system, pytest.mark.acceptance, pytest.mark.needs("openai")]

LLM = "smollm2-135m-instruct"
QUESTION: list[Any] = [{"role": "user", "content": "Name the capital of France."}]


@pytest.fixture(scope="module")
def ai(agent: Agent) -> Iterator[OpenAI]:
    with OpenAI(
        api_key=agent.file["client_key"], base_url=f"{agent.url}/v1", max_retries=0, timeout=200
    ) as ai:
        yield ai


def test_a_conversation_is_answered_with_a_receipt(agent: Agent, client: AITBCClient, ai: OpenAI) -> None:
    answer = ai.chat.completions.create(model=LLM, messages=QUESTION, temperature=0, max_tokens=32)
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert verify_bundle(client.receipts.export(answer.id), agent.file["log_key"]).valid


def test_a_streamed_conversation_has_the_same_answer(ai: OpenAI) -> None:
    request: Any = {"model": LLM, "messages": QUESTION, "temperature": 0, "max_tokens": 32}
    whole = ai.chat.completions.create(**request)
    chunks = list(ai.chat.completions.create(**request, stream=True, stream_options={"include_usage": True}))
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == whole.choices[0].message.content
    assert len([piece for piece in pieces if piece]) > 1
    # The tokens of the second prompt may be those that the engine has stored of the first; all other numbers are the same.
    details: Any = {"prompt_tokens_details"}
    assert chunks[-1].usage.model_dump(exclude=details) == whole.usage.model_dump(exclude=details)


class Capital(BaseModel):
    """A schema for an answer."""

    country: str
    city: str


def test_an_answer_conforms_to_a_pydantic_model(ai: OpenAI) -> None:
    answer = ai.chat.completions.parse(
        model=LLM, messages=QUESTION, response_format=Capital, temperature=0, max_tokens=64
    )
    assert isinstance(answer.choices[0].message.parsed, Capital)


def test_a_text_is_continued(ai: OpenAI) -> None:
    request: Any = {"model": LLM, "prompt": "One, two, three, four,", "temperature": 0, "max_tokens": 8}
    whole = ai.completions.create(**request)
    assert "five" in whole.choices[0].text
    pieces = [chunk.choices[0].text for chunk in ai.completions.create(**request, stream=True)]
    assert "".join(pieces) == whole.choices[0].text


@pytest.mark.ship
def test_speech_is_transcribed(ai: OpenAI, speech: Path) -> None:
    answer = ai.audio.transcriptions.create(
        file=speech, model="tiny.en", response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert answer.text.strip() == SENTENCE
    words = answer.words or []
    assert [word.word.strip() for word in words] == SENTENCE.split()
    assert all(before.start <= after.start for before, after in pairwise(words))
    subtitles = ai.audio.transcriptions.create(file=speech, model="tiny.en", response_format="srt")
    assert subtitles.startswith("1\n00:00:00,000 --> ")
    assert "coordinator" in subtitles


@pytest.mark.ship
def test_a_streamed_transcript_has_the_same_text(ai: OpenAI, speech: Path) -> None:
    """Its pieces arrive as events of the client's own types."""
    whole = ai.audio.transcriptions.create(file=speech, model="tiny.en")
    *pieces, done = list(ai.audio.transcriptions.create(file=speech, model="tiny.en", stream=True))
    assert done.type == "transcript.text.done"
    assert done.text == whole.text == SENTENCE
    assert "".join(piece.delta for piece in pieces if piece.type == "transcript.text.delta") == SENTENCE


def test_several_prompts_are_continued(ai: OpenAI) -> None:
    """By the model's name in a repository."""
    name = "HuggingFaceTB/SmolLM2-135M-Instruct"
    prompts = ["One, two, three,", "A, B, C,"]
    answer = ai.completions.create(model=name, prompt=prompts, max_tokens=4, temperature=0)
    assert answer.model == name
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert "four" in answer.choices[0].text
    assert "D" in answer.choices[1].text


@pytest.mark.ship
@pytest.mark.needs("image_edits")
def test_an_image_is_edited_within_its_mask(ai: OpenAI) -> None:
    """Noise is drawn where the mask is transparent, and every other pixel is the picture's."""
    picture, mask = Image.new("RGB", (128, 64), "orange"), Image.new("RGBA", (128, 64), "white")
    mask.paste((255, 255, 255, 0), (0, 0, 64, 64))
    files = {}
    for name, image in (("picture", picture), ("mask", mask)):
        image.save(content := io.BytesIO(), "PNG")
        files[name] = (f"{name}.png", content.getvalue(), "image/png")
    answer = ai.images.edit(
        image=files["picture"],
        mask=files["mask"],
        prompt="a lighthouse",
        model="untrained-diffusion",
        size="128x64",
        extra_body={"steps": 4},
    )
    (image,) = answer.data or []
    edited = Image.open(io.BytesIO(base64.b64decode(image.b64_json or ""))).convert("RGB")
    assert edited.size == picture.size
    difference = ImageChops.difference(edited, picture)
    assert difference.crop((64, 0, 128, 64)).getbbox() is None
    assert difference.crop((0, 0, 64, 64)).getbbox() is not None


@pytest.mark.ship
def test_images_are_generated(ai: OpenAI) -> None:
    """With an untrained model, so they are noise, but in the requested size and format."""
    answer = ai.images.generate(
        model="untrained-diffusion",
        prompt="a lighthouse",
        size="64x64",
        n=2,
        output_format="webp",
        extra_body={"steps": 2},
    )
    for picture in answer.data or []:
        image = Image.open(io.BytesIO(base64.b64decode(picture.b64_json or "")))
        assert (image.size, image.format) == ((64, 64), "WEBP")
    assert len(answer.data or []) == 2
