"""How clients of speech write a language."""

from __future__ import annotations

import pytest
from openai import OpenAI

from agent.coordinator.features.openai import languages
from agent.coordinator.features.openai.audio import TranscriptionRequest
from runners.whisper.request import LANGUAGES
from support.clients.openai_jobs import SPEECH, answered, register
from support.clients.scripted_miner import ScriptedMiner
from support.server import Served

TRANSCRIPT = {
    "text": "Hello.", "language": "en", "duration": 1, "segments": [], "files": [], "units": 1,
    "processing_time": 0.1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("en", "en"),
        ("EN", "en"),
        ("English", "en"),
        ("en-US", "en"),
        ("pt_BR", "pt"),
        ("jv", "jw"),
        ("nb", "no"),
    ],
)
def test_a_language_is_understood(written: str, code: str) -> None:
    assert TranscriptionRequest.model_validate({"model": SPEECH, "language": written}).language == code


def test_every_language_has_a_name() -> None:
    assert {languages.code_of(name) for name in languages._CODES} == LANGUAGES


def test_fields_of_other_servers_for_whisper_are_accepted(served: Served, ai: OpenAI) -> None:
    """As their clients send them, without being asked."""
    miner = register(ScriptedMiner(served.url))
    extra = {"vad_filter": "true", "temperature_inc": "0.2"}
    _, parameters = answered(
        miner,
        TRANSCRIPT,
        lambda: ai.audio.transcriptions.create(
            file=("a.wav", b"RIFF"), model=SPEECH, language="english", extra_body=extra
        ),
    )
    assert parameters["language"] == "en"
