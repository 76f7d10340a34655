"""OpenAI's own client changes images."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

from agent.coordinator.features.image_edits.requests import VARIATION, EditRequest, VariationRequest
from runners.registry import installed
from support.clients.openai_jobs import LIMIT_SECONDS, PICTURES, answered, asking, register
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.server import Served

GUIDE = (Path(__file__).parents[3] / "docs" / "reference" / "openai.md").read_text()
PICTURE = ("photo.png", b"\x89PNG a photo", "image/png")
MASK = ("mask.png", b"\x89PNG a mask", "image/png")


@pytest.fixture
def miner(served: Served) -> ScriptedMiner:
    """A miner of this version, which knows masks as OpenAI's clients send them."""
    offered = capabilities()
    offered["services"]["image_generation"] |= {
        "models": [PICTURES],
        "features": {"options": list(installed()["image_generation"].definition.input_options())},
    }
    miner = ScriptedMiner(served.url)
    assert miner.register(capabilities=offered).status_code == 200
    return miner


@pytest.fixture
def ai(served: Served) -> Iterator[OpenAI]:
    with OpenAI(api_key=served.client_key, base_url=f"{served.url}/v1", max_retries=0, timeout=180) as ai:
        yield ai


def results(miner: ScriptedMiner, content: bytes) -> dict[str, Any]:
    """Results with one image."""
    stored = miner.upload(content, "image/png")
    image = {
        **stored, "media_type": "image/png", "name": "image-0.png", "seed": 7, "width": 64, "height": 32,
        "url": f"/v1/artifacts/{stored['artifact_id']}",
    }  # fmt: skip
    return {"images": [image], "units": 0.001, "processing_time": 1}


def stored_file(client: httpx.Client, address: str) -> tuple[bytes, str]:
    """The content and the media type of an artifact."""
    answer = client.get(f"/v1/artifacts/{address.removeprefix('artifact:')}")
    return answer.content, answer.headers["content-type"]


@pytest.mark.parametrize("listed", [False, True])
def test_an_image_is_edited(ai: OpenAI, miner: ScriptedMiner, client: httpx.Client, listed: bool) -> None:
    """The client sends one image by its name or as a list of one; the files become the caller's artifacts."""
    answer, parameters = answered(
        miner,
        results(miner, b"\x89PNG result"),
        lambda: ai.images.edit(
            image=[PICTURE] if listed else PICTURE,
            mask=MASK,
            prompt="a red door",
            model=PICTURES,
            n=1,
            size="64x64",
            quality="high",
            extra_body={"steps": 2, "strength": 0.5, "pricing": {"max_cost": "0.25"}},
        ),
    )
    assert [base64.b64decode(image.b64_json or "") for image in answer.data or []] == [b"\x89PNG result"]
    assert stored_file(client, parameters["image_url"]) == PICTURE[1:]
    assert stored_file(client, parameters["mask_url"]) == MASK[1:]
    expected = {
        "prompt": "a red door", "model": PICTURES, "num_images": 1, "size": "64x64", "steps": 2, "strength": 0.5,
        "mask_region": "transparent",
    }  # fmt: skip
    assert expected.items() <= parameters.items()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_image_is_varied(ai: OpenAI, miner: ScriptedMiner, client: httpx.Client) -> None:
    answer, parameters = answered(
        miner,
        results(miner, b"\x89PNG result"),
        lambda: ai.images.create_variation(image=PICTURE, model=PICTURES, response_format="url"),
    )
    assert [httpx.get(image.url or "").content for image in answer.data or []] == [b"\x89PNG result"]
    assert stored_file(client, parameters["image_url"]) == PICTURE[1:]
    assert parameters["prompt"] == VARIATION
    # Older miners would refuse a field that they do not know.
    assert "mask_region" not in parameters


def test_an_older_miner_gets_no_mask_that_it_would_misread(ai: OpenAI, served: Served) -> None:
    """It would take the picture's bright parts for the mask."""
    register(ScriptedMiner(served.url))
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        ai.images.edit(image=PICTURE, mask=MASK, prompt="a red door", model=PICTURES)
    assert caught.value.code == "CANNOT_RUN"


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"image": [PICTURE, MASK]}, "image"),
        ({"stream": True}, "stream"),
        ({"input_fidelity": "high"}, "input_fidelity"),
        ({"background": "transparent"}, "background"),
        ({"n": 9}, "n"),
        ({"extra_body": {"mask": "text"}}, "mask"),
        ({"extra_body": {"strength": 2}}, "strength"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(ai: OpenAI, changed: dict[str, Any], field: str) -> None:
    request: dict[str, Any] = {"image": PICTURE, "prompt": "a red door", "model": PICTURES} | changed
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        ai.images.edit(**request)
    assert caught.value.param == field
    assert f"{field}: " in caught.value.message


def test_a_model_that_cannot_be_had_is_not_found(ai: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="There is no model 'gpt-image-1'"):
        ai.images.edit(image=PICTURE, prompt="a red door", model="gpt-image-1")


def test_errors_of_the_job_name_the_clients_fields(ai: OpenAI, miner: ScriptedMiner) -> None:
    with asking(lambda: ai.images.edit(image=PICTURE, mask=MASK, prompt="x", model=PICTURES)) as asked:
        (lease,) = miner.poll()
        sentence = "mask_url: the mask has no transparent region; erase the region to redraw."
        miner.job(lease, "fail", kind="fail", code="INPUT_INVALID", message=sentence)
        with pytest.raises(openai.UnprocessableEntityError, match=r"- mask: the mask has no"):
            asked.result(LIMIT_SECONDS)


@pytest.mark.parametrize("form", [EditRequest, VariationRequest])
def test_the_guide_documents_every_parameter(form: type[BaseModel]) -> None:
    unnamed = [name for name in form.model_fields if f"`{name}`" not in GUIDE]
    assert unnamed == []
