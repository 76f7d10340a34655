"""Requests that only convert text to tokens, or tokens to text."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from runners.api import Result
from runners.llm.engines.base import LanguageEngine, OnStep
from runners.llm.request import InferenceRequest

SHARE = 100
"""A token that is only counted costs this part of one that the model reads, since it takes no computation of the model."""


def convert(engine: LanguageEngine, request: InferenceRequest, on_step: OnStep) -> Result:
    """Return the result of a request with `only_tokens`. Raises `Fail` or `Retry`."""
    fields: dict[str, Any] = {"text": "", "finish_reason": "stop"}
    if request.only_tokens == "text":
        number = len(request.token_ids)
        fields["text"] = engine.text(request.token_ids)
    else:
        tokens = engine.tokens(request, on_step)
        number = len(tokens)
        if request.only_tokens != "count":
            fields["tokens"] = [identifier for identifier, _ in tokens]
        if request.only_tokens == "pieces":
            fields["pieces"] = [piece for _, piece in tokens]
    usage = {"prompt_tokens": number, "completion_tokens": 0, "total_tokens": number}
    return Result({**fields, "usage": usage}, max(Decimal(1), Decimal(number) / SHARE))
