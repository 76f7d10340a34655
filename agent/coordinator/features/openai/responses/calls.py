"""`POST /v1/responses`: submits the job of a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agent.coordinator.features.client_apis import services
from agent.coordinator.features.client_apis.serving import submit
from agent.coordinator.features.client_apis.settings import ClientApiSettings
from agent.coordinator.features.client_apis.submission import AnswerSubmission, ClientCall
from agent.coordinator.features.client_apis.text import message_images
from agent.coordinator.features.client_apis.text.message_content import References
from agent.coordinator.features.openai.responses.items import Item, MessageItem, images_of, turns
from agent.coordinator.features.openai.responses.request import (
    AllowedTools,
    ResponseRequest,
    ResponseToolName,
)
from agent.coordinator.features.openai.text.text_request import (
    effort_parameters,
    form_parameters,
    tool_parameters,
)
from agent.sections import section_of


async def create(
    call: ClientCall, request: ResponseRequest, key: str | None, history: Sequence[Item] = ()
) -> AnswerSubmission:
    """Submit the job of a request, whose input follows the `history`. See `serving.submit`."""
    items = [*history, *own_items(request)]
    usual = section_of(call.context.settings, ClientApiSettings).answer_max_tokens
    images = await message_images.references(call, images_of(items), "input")
    limit = request.max_output_tokens
    parameters: dict[str, Any] = {
        **request.sampling(),
        "messages": _messages(request, items, images),
        "max_tokens": usual if limit is None else limit,
        **form_parameters(request.format),
        **effort_parameters(None if request.reasoning is None else request.reasoning.effort),
        **_tools(request),
    }
    if request.reports_logprobs:
        parameters["top_logprobs"] = request.top_logprobs or 0
    names = {
        "response_schema": "text.format.schema",
        "messages": "input",
        "max_tokens": "max_output_tokens",
        **request.constraint_names(),
    }
    return await submit(call, services.TEXT, parameters, request, key=key, names=names)


def own_items(request: ResponseRequest) -> list[Item]:
    """Return the items of a request's input; a text is a user's message."""
    if isinstance(request.input, str):
        return [MessageItem(role="user", content=request.input)]
    return request.input


def _messages(request: ResponseRequest, items: Sequence[Item], images: References) -> list[dict[str, Any]]:
    # Instructions are not part of the conversation, so a client can change them from request to request.
    first = [{"role": "system", "content": request.instructions}] if request.instructions else []
    return [*first, *turns(items, images)]


def _tools(request: ResponseRequest) -> dict[str, Any]:
    choice = request.tool_choice or "auto"
    tools = request.tools or []
    # The service knows no restriction of tools: those that are not allowed are left out of the list.
    if isinstance(choice, AllowedTools):
        allowed = {tool.name for tool in choice.tools}
        tools, choice = [tool for tool in tools if tool.name in allowed], choice.mode
    named = {"name": choice.name} if isinstance(choice, ResponseToolName) else choice
    return tool_parameters(tools, named, parallel=request.parallel_tool_calls)
