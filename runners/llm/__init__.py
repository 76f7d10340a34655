"""Text from language models."""

from runners.llm.runner import LLMRunner

__all__ = ["LLMRunner"]
