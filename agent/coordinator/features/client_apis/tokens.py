"""Jobs that only convert text to tokens, or tokens to text: nothing is generated, and a token costs a hundredth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from agent.coordinator.features.client_apis import services
from agent.coordinator.features.client_apis.serving import submit
from agent.coordinator.features.client_apis.submission import AnswerSubmission, ClientCall
from agent.coordinator.operations.jobs.requests import JobOptions

Conversion = Literal["count", "tokens", "pieces", "text"]
"""What the results have: the number of tokens (`usage.prompt_tokens`), also `tokens`, also their `pieces`; or the `text` of tokens."""


async def convert(
    call: ClientCall,
    conversion: Conversion,
    parameters: Mapping[str, Any],
    options: JobOptions,
    *,
    key: str | None,
    names: Mapping[str, str],
) -> AnswerSubmission:
    """Submit a job whose results are an `InferenceResult`. See `serving.submit`.

    `parameters` are those of an answer to the request: `model`, and `messages` with `tools`, a `raw` `prompt`, or `token_ids`.
    """
    fields = {**parameters, "only_tokens": conversion, "max_tokens": 1}
    return await submit(call, services.TEXT, fields, options, key=key, names=names)
