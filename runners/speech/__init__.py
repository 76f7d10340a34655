"""Speech from text."""

from runners.speech.runner import SpeechRunner

__all__ = ["SpeechRunner"]
