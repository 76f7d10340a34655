"""The services that do the work of these paths."""

from __future__ import annotations

from typing import Final

TEXT: Final = "llm_inference"
EMBEDDINGS: Final = "text_embedding"
SPEECH: Final = "whisper_transcription"
IMAGES: Final = "image_generation"
SERVICES: Final = (TEXT, EMBEDDINGS, SPEECH, IMAGES)
