"""The services that do the work of these paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXT: Final = "llm_inference"
EMBEDDINGS: Final = "text_embedding"
SPEECH: Final = "whisper_transcription"
IMAGES: Final = "image_generation"
VOICES: Final = "speech_synthesis"
RERANKING: Final = "text_reranking"
SERVICES: Final = (TEXT, EMBEDDINGS, RERANKING, SPEECH, IMAGES, VOICES)

USES: Final[Mapping[str, str]] = {
    TEXT: "text, at /v1/chat/completions",
    EMBEDDINGS: "embeddings, at /v1/embeddings",
    SPEECH: "transcripts, at /v1/audio/transcriptions",
    IMAGES: "images, at /v1/images/generations",
    VOICES: "speech, at /v1/audio/speech",
    RERANKING: "reranking, at /v1/rerank",
}
"""What the models of a service are for, and where, in errors about a model of another service."""
