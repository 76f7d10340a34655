"""Broken and unusual requests to the services that work on files, and to OpenAI's images and transcriptions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from pydantic import BaseModel, ValidationError

from agent.coordinator.operations.jobs.requests import JobOptions
from campaign.broken import conversations
from campaign.broken.pictures import picture
from campaign.broken.programs import GOOD, archive, program
from campaign.broken.recordings import SOUND_KINDS, VIDEO_KINDS
from campaign.broken.request import Chance, Generate, Request, Upload, leaves, options
from campaign.broken.scenes import scene
from campaign.broken.values import ODD_VALUES, addresses, spoiled, text
from runners.blender.request import RenderRequest
from runners.embedding.request import EmbeddingRequest
from runners.ffmpeg.request import TranscodeRequest
from runners.llm.request import InferenceRequest as LanguageRequest
from runners.python_model.request import InferenceRequest
from runners.stable_diffusion.request import GenerateRequest
from runners.whisper.request import TranscribeRequest

SECONDS = {
    "video_transcoding": 8,
    "blender_rendering": 15,
    "whisper_transcription": 20,
    "image_generation": 30,
}
"""Time limits of requests, short where some would never end."""


def _request(chance: Chance, service: str, kind: str, path: str, body: dict[str, Any]) -> Request:
    """Return a native request; one of ten has a spoiled body, and a few are submitted as jobs of their type."""
    if chance.random() < 0.1:
        kind, body = f"spoiled: {kind}", spoiled(chance, body)
    if chance.random() < 0.2:
        path, body = "/v1/jobs", {"type": service, "parameters": body}
    return Request(
        service,
        kind,
        path,
        {**body, **options(chance, seconds=SECONDS.get(service, 60))},
        leave_after=leaves(chance),
    )


def _file(chance: Chance, data: bytes) -> Upload | str:
    return Upload(data) if chance.random() < 0.97 else addresses(chance)


def speech(chance: Chance) -> Request:
    """Draw a request to `whisper_transcription`."""
    kind = chance.choice(list(SOUND_KINDS))
    body: dict[str, Any] = {"audio_url": _file(chance, SOUND_KINDS[kind](chance)), "model": "tiny.en"}
    if chance.random() < 0.5:
        body |= {
            "word_timestamps": chance.random() < 0.5, "output_formats": chance.choice((["srt"], ["txt", "vtt", "json", "srt"], ["srt", "srt"])),
            "initial_prompt": text(chance)[:2000], "temperature": chance.choice((0, 1, 0.33, 1e-9)), "language": chance.choice(("en", "en", "de", "xx")),
            "engine": chance.choice((None, "faster-whisper", "openai-whisper", "onnx-asr")),
        }  # fmt: skip
    return _request(chance, "whisper_transcription", kind, "/v1/services/whisper/transcribe", body)


def transcription(chance: Chance) -> Request:
    """Draw a request to OpenAI's transcriptions."""
    kind = chance.choice(list(SOUND_KINDS))
    fields = {
        "model": chance.choice(("tiny.en", "tiny.en", "tiny.en", "x", "")),
        "timeout_seconds": "60",
        "max_attempts": "1",
    }
    if chance.random() < 0.5:
        fields |= {
            "response_format": chance.choice(("json", "text", "srt", "vtt", "verbose_json", "x")), "temperature": chance.choice(("0", "1", "x", "nan")),
            "stream": chance.choice(("true", "false")), "prompt": text(chance)[:500].encode("utf-8", "replace").decode(), "language": chance.choice(("en", "xx", "\0")),
        }  # fmt: skip
    data = SOUND_KINDS[kind](chance)
    return Request(
        "transcription", kind, "/v1/audio/transcriptions", form=(fields, data), leave_after=leaves(chance)
    )


def _size(chance: Chance) -> str:
    if chance.random() < 0.02:
        return chance.choice(("2048x2048", "2048x64"))
    return chance.choice(("64x64", "64x64", "64x128", "72x64", "1x1", "99x99"))


def image(chance: Chance) -> Request:
    """Draw a request to `image_generation`, most with pictures to change, mask or follow."""
    body: dict[str, Any] = {
        "model": "untrained-diffusion",
        "prompt": text(chance) or "x",
        "size": _size(chance),
        "steps": chance.choices((1, 2, 3, 150), (8, 4, 4, 1))[0],
    }
    kind = "strange values"
    extremes: dict[str, Any] = {
        "negative_prompt": text(chance)[:4000], "num_images": chance.choice((1, 2, 8)), "guidance": chance.choice((0, 1e-9, 30)), "seed": chance.choice((0, 2**32 - 1, 2**31)),
        "scheduler": chance.choice(("ddim", "pndm", "euler", "euler_a", "dpmpp_2m", "dpmpp_2m_karras", "dpmpp_2m_sde", "dpmpp_2m_sde_karras", "unipc", "lcm")),
        "cache": chance.choice((1e-9, 1)), "output_format": chance.choice(("png", "jpeg", "webp")), "loras": [{"name": chance.choice(("x", "tiny.en"))}],
    }  # fmt: skip
    body |= {name: extremes[name] for name in chance.sample(sorted(extremes), chance.randint(0, 3))}
    match chance.randrange(4):
        case 0:
            kind, data = picture(chance)
            body |= {"image_url": _file(chance, data), "strength": chance.choice((1e-9, 0.01, 0.5, 1))}
        case 1:
            (kind, data), (_, mask) = picture(chance), picture(chance)
            kind = f"mask and {kind}"
            body |= {"image_url": _file(chance, data), "mask_url": _file(chance, mask)}
        case 2 if chance.random() < 0.3:
            kind, data = picture(chance)
            kind = f"control: {kind}"
            body |= {"control": {"name": "x"}, "control_url": _file(chance, data)}
        case _:
            pass
    if chance.random() < 0.3:
        del body["size"]
    return _request(chance, "image_generation", kind, "/v1/services/stable-diffusion/generate", body)


def openai_image(chance: Chance) -> Request:
    """Draw a request to OpenAI's images."""
    body = {
        "model": "untrained-diffusion", "prompt": text(chance) or "x", "n": chance.choice((1, 2, 8)), "size": _size(chance), "steps": chance.choice((1, 2)),
        "response_format": chance.choice(("b64_json", "url")), "guidance": chance.choice((0, 30)), "seed": chance.choice((0, 2**32 - 1)),
    }  # fmt: skip
    kind = "strange values"
    if chance.random() < 0.1:
        kind, body = f"spoiled: {kind}", spoiled(chance, body)
    return Request(
        "images", kind, "/v1/images/generations", {**body, **options(chance)}, leave_after=leaves(chance)
    )


def transcode(chance: Chance) -> Request:
    """Draw a request to `video_transcoding`."""
    kind = chance.choice(list(VIDEO_KINDS))
    body: dict[str, Any] = {"input_url": _file(chance, VIDEO_KINDS[kind](chance))}
    container = chance.choice(("mp4", "webm", "mkv", "mov", "gif", "mp3", "m4a", "ogg", "flac", "wav"))
    if chance.random() < 0.8:
        body["output_format"] = container
    extremes: dict[str, Any] = {
        "codec": chance.choice(("h264", "hevc", "av1", "vp9", "copy", "copy")), "resolution": chance.choice(("16x16", "64x64", "48x8192", "8192x16", "480p", "x32", "4096x4096")),
        "fit": chance.choice(("pad", "contain", "stretch")), "fps": chance.choice((1, 240, 1.0001, 29.97)), "bitrate": chance.choice(("1", "1k", "9999999M")),
        "quality": chance.choice((0, 51, 63)), "audio_codec": chance.choice(("aac", "opus", "mp3", "flac", "copy", "none")), "audio_bitrate": chance.choice(("1", "64k", "9999M")),
        "start": chance.choice((0.3, 0.39999, 5, 1e9, 1e300)), "duration": chance.choice((1e-9, 0.001, 1e300)), "hardware": chance.choice(("off", "required")),
    }  # fmt: skip
    body |= {name: extremes[name] for name in chance.sample(sorted(extremes), chance.choice((0, 1, 1, 2, 3)))}
    return _request(chance, "video_transcoding", kind, "/v1/services/ffmpeg/transcode", body)


def render(chance: Chance) -> Request:
    """Draw a request to `blender_rendering`."""
    kind, data = scene(chance)
    body: dict[str, Any] = {
        "blend_file_url": _file(chance, data),
        "resolution_x": 64,
        "resolution_y": 48,
        "samples": 1,
    }
    extremes: dict[str, Any] = {
        "engine": chance.choice(("cycles", "cycles", "eevee")), "frame": chance.choice((0, 1, 1_048_574)), "frames": chance.choice(("1-3", "1,5,1048574", [0, 1], "0-999")),
        "resolution_x": chance.choice((16, 16384)), "resolution_y": chance.choice((16, 4096)), "samples": chance.choice((2, 65_536)),
        "output_format": chance.choice(("png", "jpeg", "exr")), "color_depth": chance.choice((8, 16, 32)), "camera": text(chance)[:255] or "x", "scene": chance.choice(("Scene", "x", "\0")),
        "seed": 2**31 - 1, "transparent": True, "denoise": True, "noise_threshold": chance.choice((0, 1, 1e-30)), "device": chance.choice(("cpu", "gpu")),
    }  # fmt: skip
    body |= {name: extremes[name] for name in chance.sample(sorted(extremes), chance.randint(0, 3))}
    if chance.random() < 0.3:  # what the file says
        for name in chance.sample(("resolution_x", "resolution_y", "samples"), chance.randint(1, 3)):
            del body[name]
    if chance.random() < 0.1:
        body |= {"frames": "1-2", "video": True, "fps": chance.choice((1, 240, 23.976))}
        body.pop("frame", None)
    return _request(chance, "blender_rendering", kind, "/v1/services/blender/render", body)


def infer(chance: Chance) -> Request:
    """Draw a request to `ai_inference`."""
    body: dict[str, Any] = {"type": "ai_inference", "model": {"type": "python", "entrypoint": "model.py"}}
    files: dict[str, bytes] = {}
    if chance.random() < 0.25:
        kind, data = archive(chance)
        files[chance.choice(("model.zip", "model.tar.gz", "model.tgz", "model.tar"))] = data
    else:
        kind, data = program(chance)
        if chance.random() < 0.2:
            body["model"]["source"] = Upload(data)
        elif chance.random() < 0.3:
            body["model"]["source"] = {"inline": data.decode("utf-8", "replace")}
        else:
            files["model.py"] = data
    if chance.random() < 0.15:
        kind, data = f"strange parameters; {kind}", GOOD if not files else data
        body["parameters"] = {
            chance.choice(("input", "self", "x", "", "\0", "\ud800", "class")): chance.choice(ODD_VALUES)
        }
    if chance.random() < 0.15:
        body["input"] = {
            "type": "file",
            "format": chance.choice(("jpeg", "PY", "x" * 10, "..")),
            "source": _file(chance, chance.randbytes(chance.choice((0, 9, 9000)))),
        }
    if chance.random() < 0.05:
        body["model"]["entrypoint"] = chance.choice(
            ("../model.py", "a/b/model.py", "model", "-c.py", "\0.py")
        )
    return Request(
        "ai_inference",
        kind,
        "/v1/jobs",
        {**body, **options(chance, seconds=chance.choice((3, 5)))},
        files=files,
        leave_after=leaves(chance),
    )


GENERATORS: Mapping[str, tuple[int, Generate]] = {
    "whisper_transcription": (4, speech),
    "transcription": (2, transcription),
    "image_generation": (7, image),
    "images": (2, openai_image),
    "llm_inference": (13, conversations.native),
    "chat": (15, conversations.chat),
    "completions": (6, conversations.completions),
    "responses": (8, conversations.responses),
    "text_embedding": (12, conversations.embeddings),
    "video_transcoding": (12, transcode),
    "blender_rendering": (3, render),
    "ai_inference": (13, infer),
    "stream": (3, conversations.sockets),
}
"""What is sent to each service or path, and how often."""


VALID_SHARE = 0.85
"""The share of requests that are drawn again until their schema accepts them, so that they reach the queue and most an engine."""
_DRAWS = 12

_NATIVE: Mapping[str, type[BaseModel]] = {
    "whisper_transcription": TranscribeRequest,
    "image_generation": GenerateRequest,
    "llm_inference": LanguageRequest,
    "text_embedding": EmbeddingRequest,
    "video_transcoding": TranscodeRequest,
    "blender_rendering": RenderRequest,
    "ai_inference": InferenceRequest,
}
_OPENAI: Mapping[str, str] = {
    "/v1/chat/completions": "text.chat.ChatRequest",
    "/v1/completions": "text.completions.CompletionRequest",
    "/v1/responses": "responses.request.ResponseRequest",
    "/v1/embeddings": "embeddings.EmbeddingsRequest",
    "/v1/images/generations": "images.ImageRequest",
}


def _model(request: Request) -> type[BaseModel]:
    """Return the model of the request's body, or of its parameters. OpenAI's API is optional."""
    if request.path not in _OPENAI:
        return _NATIVE[request.service]
    module, _, name = _OPENAI[request.path].rpartition(".")
    model: type[BaseModel] = getattr(import_module(f"agent.coordinator.features.openai.{module}"), name)
    return model


def _is_valid(request: Request) -> bool:
    """Return whether the schema of a request accepts its body."""
    if request.form is not None or request.messages:
        return True
    model = _model(request)
    body = request.body.get("parameters", request.body) if request.service != "ai_inference" else request.body
    if request.path not in _OPENAI:
        body = {
            name: value
            for name, value in body.items()
            if name not in JobOptions.model_fields and name != "type"
        }
    try:
        model.model_validate_json(json.dumps(body, default=lambda _: "artifact:x"))
    except ValidationError:
        return False
    return True


def generate(seed: int, number: int, chosen: tuple[str, ...] = ()) -> Request:
    """Return a campaign's request with this number, of one of the chosen services (of any if there are none)."""
    chance = Chance(f"{seed}-{number}")
    names = chosen or tuple(GENERATORS)
    (name,) = chance.choices(names, [GENERATORS[name][0] for name in names])
    request = GENERATORS[name][1](chance)
    if chance.random() < VALID_SHARE:
        for _ in range(_DRAWS):
            if _is_valid(request):
                break
            request = GENERATORS[name][1](chance)
    return request
