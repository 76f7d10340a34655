"""Transcription and translation of speech by Whisper."""

from runners.whisper.runner import WhisperRunner

__all__ = ["WhisperRunner"]
