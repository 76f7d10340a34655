"""Stored responses: what a request continues, what is stored of its answer, and what is read later."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter, ValidationError

from agent.coordinator.features.client_apis import services
from agent.coordinator.features.client_apis.conversation_store import (
    ConversationStore,
    StoredItem,
    StoredResponse,
    as_listed,
    store_of,
)
from agent.coordinator.features.client_apis.results import checked_result
from agent.coordinator.features.client_apis.submission import AnswerSubmission, ClientCall
from agent.coordinator.features.openai.responses.events import ResponseEvent
from agent.coordinator.features.openai.responses.items import Item
from agent.coordinator.features.openai.responses.request import ResponseRequest
from agent.coordinator.features.openai.responses.response import Response, made
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.jobs import own_jobs
from agent.core.errors import ApiError, JobAlreadyCompleted, NotFound, invalid_request
from agent.core.jobs import FINAL
from runners.llm.request import InferenceResult

_ITEMS: Final = TypeAdapter(list[Item])
_PREFIXES: Final = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}
_ENDS: Final = ("response.completed", "response.incomplete")


def is_stored(context: Context, request: ResponseRequest) -> bool:
    """Return whether the response is stored: as the request says, or where it continues what is stored, or as the operator says."""
    store = store_of(context)
    if store is None or request.store is not None:
        return bool(store and request.store)
    continues = request.conversation_id or request.previous_response_id or request.background
    return bool(continues) or store.stores_all(context)


async def history(call: ClientCall, request: ResponseRequest) -> list[Item]:
    """Return the items that a request continues. Raises `NotFound`, and `ValidationFailed` where nothing is stored."""
    store = store_of(call.context)
    if store is None:
        if request.uses_storage:
            advice = "responses are not stored here; send the whole conversation in input"
            raise invalid_request(dict.fromkeys(request.uses_storage, advice))
        return []
    if request.conversation_id is None and request.previous_response_id is None:
        return []
    await _settle(call, store, request)
    items = await call.context.database.read(
        store.history, call.caller, request.previous_response_id, request.conversation_id
    )
    try:
        return _ITEMS.validate_python(items)
    except ValidationError as error:
        position = error.errors()[0]["loc"][0]
        stored_id = items[int(position)]["id"]
        message = f"its item {stored_id} cannot be used: {error.errors()[0]['msg']}"
        raise invalid_request({"conversation": message}) from None


async def begin(
    submission: AnswerSubmission, request: ResponseRequest, own_items: Sequence[Item], first: Response
) -> StoredResponse:
    """Store a response whose job is submitted, and cancel the job if that is not possible."""
    response = StoredResponse(
        response_id=submission.job_id,
        account_id=submission.caller.account_of("Stored responses"),
        input_items=_as_stored(submission, own_items),
        answer=first.model_dump(mode="json"),
        previous_id=request.previous_response_id,
        conversation_id=request.conversation_id,
    )
    try:
        context = submission.context
        await context.database.write(_store(context).add, context, response)
    except ApiError:
        with suppress(JobAlreadyCompleted):
            await own_jobs.cancel(submission.context, submission.caller, submission.job_id)
        raise
    return response


async def finish(context: Context, response: StoredResponse | None, answer: dict[str, Any]) -> None:
    """Store the complete answer, if the response is stored."""
    if response is not None:
        await context.database.write(_store(context).finish, response, answer, context.clock())


async def recorded(
    context: Context, response: StoredResponse | None, chunks: AsyncIterator[BaseModel | None]
) -> AsyncIterator[BaseModel | None]:
    """Yield the events of a stream, and store the answer of the last one before it is sent."""
    async for chunk in chunks:
        if isinstance(chunk, ResponseEvent) and chunk.type in _ENDS and chunk.response is not None:
            await finish(context, response, chunk.response)
        yield chunk


async def current(call: ClientCall, response_id: str) -> dict[str, Any]:
    """Return a stored response as it is now. Raises `NotFound`, and `AnswerInvalid` for invalid results."""
    context = call.context
    response = await _find(call, response_id)
    if response.finished:
        return dict(response.answer)
    # Nobody waits for a response in the background, so its answer is made when somebody reads it.
    job, results = await own_jobs.wait_until_final(context, call.caller, response_id, 0)
    if job.status not in FINAL:
        return {**response.answer, "status": "queued" if job.attempts == 0 else "in_progress"}
    if results is None:
        error = None if job.error is None else {"code": job.error.code, "message": job.error.message}
        answer = {**response.answer, "status": "cancelled" if error is None else "failed", "error": error}
        # What was asked without an answer is no part of the conversation.
        response = replace(response, conversation_id=None)
    else:
        first = Response.model_validate(response.answer)
        submission = AnswerSubmission(
            call, response_id, services.TEXT, first.model, first.created_at, resumable=True
        )
        checked = await checked_result(submission, job, results, InferenceResult)
        answer = made(first, submission, checked).model_dump(mode="json")
    await finish(context, response, answer)
    return answer


async def cancel(call: ClientCall, response_id: str) -> dict[str, Any]:
    """Cancel the job of a response, unless it has ended. Raises `NotFound`."""
    await _find(call, response_id)
    with suppress(JobAlreadyCompleted):
        await own_jobs.cancel(call.context, call.caller, response_id)
    return await current(call, response_id)


async def input_items(call: ClientCall, response_id: str) -> Sequence[StoredItem]:
    """Return a response's own input. Raises `NotFound`."""
    return (await _find(call, response_id)).input_items


async def delete(call: ClientCall, response_id: str) -> None:
    """Delete a response. Raises `NotFound`."""
    await call.context.database.write(_store(call.context).delete, call.caller, response_id)


async def _settle(call: ClientCall, store: ConversationStore, request: ResponseRequest) -> None:
    """Make the answers of responses of the background that nobody has read, so that the conversation has them."""
    if request.conversation_id is not None:
        for response_id in await call.context.database.read(
            store.unfinished, call.caller, request.conversation_id
        ):
            with suppress(ApiError):  # it fails for who reads it
                await current(call, response_id)
    if request.previous_response_id is not None:
        previous = await current(call, request.previous_response_id)
        if previous["status"] in {"queued", "in_progress"}:
            message = f"this response is still {previous['status']}; wait for its end"
            raise invalid_request({"previous_response_id": message})


async def _find(call: ClientCall, response_id: str) -> StoredResponse:
    return await call.context.database.read(_store(call.context).find, call.caller, response_id)


def _store(context: Context) -> ConversationStore:
    store = store_of(context)
    if store is None:
        raise NotFound("Responses are not stored here.")
    return store


def _as_stored(submission: AnswerSubmission, items: Sequence[Item]) -> list[StoredItem]:
    """Return items as JSON, with ids."""
    stored: list[StoredItem] = []
    suffix = submission.job_id.removeprefix("job_")
    for number, item in enumerate(items):
        fields = item.model_dump(mode="json", exclude_none=True)
        fields.setdefault("id", f"{_PREFIXES[item.type]}_{suffix}_in{number}")
        stored.append(as_listed(fields))
    return stored
