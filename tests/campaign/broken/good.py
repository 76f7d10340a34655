"""A good request of each service, which must succeed after any other."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from campaign.broken.conversations import MODEL
from campaign.broken.programs import GOOD
from campaign.broken.recordings import video
from campaign.broken.request import Request, Upload
from campaign.broken.scenes import scenes
from campaign.broken.sending import Sender
from support.inputs.media import make_speech

_TRIES = {"max_attempts": 1, "timeout_seconds": 600}


def good_requests() -> Iterator[Request]:
    """Yield a request of each service and of each of OpenAI's paths."""
    with tempfile.TemporaryDirectory() as folder:
        speech = make_speech(Path(folder) / "speech.wav", "Good morning.").read_bytes()
    bodies = {
        "whisper/transcribe": {"audio_url": Upload(speech), "model": "tiny.en"},
        "stable-diffusion/generate": {
            "model": "untrained-diffusion",
            "prompt": "a lighthouse",
            "size": "64x64",
            "steps": 1,
        },
        "llm/inference": {"model": MODEL, "prompt": "Name the capital of France.", "max_tokens": 8},
        "text/embedding": {"model": "all-minilm-l6-v2", "input": ["It is sunny."]},
        "ffmpeg/transcode": {"input_url": Upload(video("mp4")), "resolution": "64x64"},
        "blender/render": {"blend_file_url": Upload(scenes()["good"])},
    }
    for route, body in bodies.items():
        yield Request(route, "good", f"/v1/services/{route}", {**body, **_TRIES})
    model = {"type": "python", "entrypoint": "model.py", "source": Upload(GOOD)}
    yield Request("ai_inference", "good", "/v1/jobs", {"type": "ai_inference", "model": model, **_TRIES})
    chat = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Name the capital of France."}],
        "max_tokens": 8,
    }
    yield Request("chat", "good", "/v1/chat/completions", {**chat, **_TRIES})
    yield Request(
        "images", "good", "/v1/images/generations", {**bodies["stable-diffusion/generate"], **_TRIES}
    )
    yield Request("transcription", "good", "/v1/audio/transcriptions", form=({"model": "tiny.en"}, speech))


def failures(sender: Sender) -> list[str]:
    """Send the good requests. Returns those that did not succeed."""
    outcomes = [sender.send(0, request) for request in good_requests()]
    return [
        f"a good request to {outcome.request.service} ended as {outcome.ended}: {outcome.code} {outcome.message[:200]} {outcome.violation}"
        for outcome in outcomes
        if outcome.ended != "completed" or outcome.violation
    ]
