"""`POST /api/chat` and `/api/generate`: their requests as jobs of the service for text."""

from __future__ import annotations

from typing import Any

from agent.coordinator.features.client_apis import services
from agent.coordinator.features.client_apis.serving import submit
from agent.coordinator.features.client_apis.settings import ClientApiSettings
from agent.coordinator.features.client_apis.submission import AnswerSubmission, ClientCall
from agent.coordinator.features.ollama.conversation import turns
from agent.coordinator.features.ollama.requests import (
    OllamaChatRequest,
    OllamaGenerateRequest,
    OllamaOptions,
    OllamaRequest,
    OllamaTurn,
)
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.jobs.requests import JobOptions
from agent.core.errors import invalid_request
from agent.sections import section_of
from runners.llm.request import MAX_NEW_TOKENS


async def continue_chat(call: ClientCall, request: OllamaChatRequest) -> AnswerSubmission:
    """Submit the job of a conversation. See `serving.submit`."""
    parameters: dict[str, Any] = {"messages": await turns(call, request.messages or [])}
    if request.tools:
        parameters["tools"] = [
            tool.function.model_dump(exclude={"strict"}, exclude_none=True) for tool in request.tools
        ]
    return await _submit(call, request, parameters)


async def answer_prompt(call: ClientCall, request: OllamaGenerateRequest) -> AnswerSubmission:
    """Submit the job of a prompt. See `serving.submit`."""
    if request.raw or request.suffix:
        refused = [name for name in ("system", "images") if getattr(request, name)]
        if refused:
            raise invalid_request(
                dict.fromkeys(refused, "raw and suffix continue the prompt alone; remove one of them"),
            )
        filled_in = {"suffix": request.suffix} if request.suffix else {}
        return await _submit(call, request, {"prompt": request.prompt, "raw": True, **filled_in})
    messages = [OllamaTurn(role="user", content=request.prompt, images=request.images)]
    if request.system:
        messages.insert(0, OllamaTurn(role="system", content=request.system))
    return await _submit(call, request, {"messages": await turns(call, messages)})


async def _submit(call: ClientCall, request: OllamaRequest, parameters: dict[str, Any]) -> AnswerSubmission:
    names = {
        "response_schema": "format",
        "json_object": "format",
        "top_logprobs": "top_logprobs",
        **{name: f"options.{name}" for name in ("temperature", "top_p", "top_k", "seed", "stop")},
        **{parameter: f"options.{option}" for parameter, option in OllamaOptions.NAMES.items()},
    }
    parameters |= {"model": request.model, **_settings(call.context, request)}
    return await submit(call, services.TEXT, parameters, JobOptions(), key=None, names=names)


def _settings(context: Context, request: OllamaRequest) -> dict[str, Any]:
    """Return the service's parameters for everything but the question."""
    options = request.options or OllamaOptions()
    usual = section_of(context.settings, ClientApiSettings).answer_max_tokens
    limit = options.num_predict if options.num_predict is not None and options.num_predict > 0 else usual
    settings: dict[str, Any] = {**options.sampling(), "max_tokens": min(limit, MAX_NEW_TOKENS)}
    if request.format == "json":
        settings["json_object"] = True
    elif request.format:
        settings["response_schema"] = request.format
    if request.think is False:
        settings["reasoning_effort"] = "none"
    elif isinstance(request.think, str) and request.think:
        settings["reasoning_effort"] = request.think
    if request.logprobs:
        settings["top_logprobs"] = request.top_logprobs or 0
    return settings
