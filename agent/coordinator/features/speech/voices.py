"""`GET /v1/audio/voices`: the voices of the catalogue's models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from agent.catalogue import CatalogueEntry
from agent.coordinator.features.client_apis import models, services
from agent.coordinator.operations.context import Context
from agent.core.errors import invalid_request
from runners.near_names import hint
from runners.speech.base import OPENAI_VOICES
from runners.speech.kokoro import VOICES


class Voice(BaseModel, defer_build=True):
    """A voice of a model. `id` is its name in requests, `aliases` what else it is called."""

    id: str = Field(examples=["af_heart"])
    name: str = Field(examples=["af_heart"])
    model: str = Field(examples=["kokoro-82m"])
    aliases: list[str] = Field(examples=[["alloy"]])
    available: bool = Field(description="Whether a miner that is online would use it now")


class VoiceList(BaseModel, defer_build=True):
    """All voices, or those of a model."""

    object: Literal["list"] = "list"
    voices: list[Voice]


async def find_all(context: Context, model: str | None) -> VoiceList:
    """Return the voices of all models, or of one. A model that is not in the catalogue has none here."""
    available = {listed.id for listed in (await models.find_all(context, available=True)).data}
    voices = [
        Voice(
            id=voice,
            name=voice,
            model=entry.name,
            aliases=sorted(name for name, meant in _other_names(entry).items() if meant == voice),
            available=entry.name in available,
        )
        for entry in context.catalogue.models.values()
        if entry.service == services.VOICES and model in (None, entry.name)
        for voice in voices_of(entry)
    ]
    return VoiceList(voices=voices)


def voices_of(entry: CatalogueEntry) -> list[str]:
    """Return the voices that a model is known to have; empty if they are unknown."""
    names = entry.options.get("names", VOICES if "kokoro-onnx" in entry.engines else ())
    return [str(name) for name in names]


def check_voice(context: Context, model: str, voice: str) -> None:
    """Raise `ValidationFailed` for a voice that a model of the catalogue does not have."""
    entry = context.catalogue.models.get(model)
    voices = [] if entry is None else voices_of(entry)
    if entry is None or not voices or voice in voices:
        return
    # The miner understands these too (`runners.speech.base.chosen_voice`).
    if voice.lower() in OPENAI_VOICES or voice.lower() in _other_names(entry):
        return
    problem = f"the model {model!r} has no such voice{hint(voice, voices)}"
    raise invalid_request({"voice": problem})


def _other_names(entry: CatalogueEntry) -> Mapping[str, Any]:
    names: Mapping[str, Any] = entry.options.get("voices", {})
    return names
