"""The tokens of chats and completions in the form of OpenAI's API."""

from __future__ import annotations

from pydantic import BaseModel

from runners.llm.request import Usage


class CachedPrompt(BaseModel, defer_build=True):
    """The tokens at the beginning of the prompt that the engine had computed for an earlier request of the account."""

    cached_tokens: int


class TextUsage(BaseModel, defer_build=True):
    """Tokens read and generated. The price counts all of them. `prompt_tokens_details` is missing where the engine does not report it."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedPrompt | None = None


def usage_of(usage: Usage) -> TextUsage:
    """Return a result's usage."""
    counted = TextUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.total_tokens,
    )
    if usage.cached_tokens is not None:  # a field that is not set does not appear in the answer
        counted.prompt_tokens_details = CachedPrompt(cached_tokens=usage.cached_tokens)
    return counted
