"""The paths of Ollama's API, for its existing clients (docs/reference/ollama.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from agent.coordinator.features.client_apis.results import invalid_results, result
from agent.coordinator.features.client_apis.routes import streaming
from agent.coordinator.features.client_apis.routes.declared import Call, answers
from agent.coordinator.features.client_apis.routes.job_answers import json_answer
from agent.coordinator.features.client_apis.routes.streaming import Framing
from agent.coordinator.features.client_apis.submission import AnswerSubmission
from agent.coordinator.features.ollama import catalogue, chat, embeddings
from agent.coordinator.features.ollama.answers import (
    OllamaChatAnswer,
    OllamaForm,
    OllamaGenerateAnswer,
    OllamaMessage,
    TimedInference,
)
from agent.coordinator.features.ollama.catalogue import (
    LoadedOllamaModels,
    OllamaModelList,
    OllamaStatus,
    ShownOllamaModel,
)
from agent.coordinator.features.ollama.embeddings import OllamaVector, OllamaVectors, TimedEmbeddings
from agent.coordinator.features.ollama.paths import PREFIX, OllamaRoute
from agent.coordinator.features.ollama.requests import (
    OllamaChatRequest,
    OllamaEmbeddingsRequest,
    OllamaEmbedRequest,
    OllamaGenerateRequest,
    OllamaPullRequest,
    OllamaRequest,
    OllamaShowRequest,
)
from agent.coordinator.operations.context import Context
from agent.coordinator.routes._callers import AnyCaller, Client, ContextOf
from agent.coordinator.routes._declare import errors
from agent.core.errors import Forbidden, NotFound
from agent.core.values.quantities import format_time
from aitbc.answers.fields import example

router = APIRouter(route_class=OllamaRoute, prefix=PREFIX, tags=["Ollama-compatible"])

LINES: Final = "application/x-ndjson"
VERSION: Final = "0.12.6"
"""The version of Ollama whose API these paths follow, which some clients require to be recent enough."""
_STREAM: Final = "The answer; unless `stream` is false, a line of JSON for each chunk"


class OllamaVersion(BaseModel, defer_build=True):
    """The version of Ollama whose API these paths follow."""

    model_config = example({"version": VERSION})

    version: str


@router.get("/version", summary="Ollama's version")
async def ollama_version(_: AnyCaller) -> OllamaVersion:
    """The version of Ollama whose API these paths follow."""
    return OllamaVersion(version=VERSION)


@router.get("/tags", summary="List Ollama's models")
async def ollama_models(context: ContextOf, _: AnyCaller) -> OllamaModelList:
    """Returns the models for text and embeddings that miners would run now."""
    return await catalogue.usable(context)


@router.get("/ps", summary="List loaded models")
async def ollama_loaded_models(context: ContextOf, _: AnyCaller) -> LoadedOllamaModels:
    """Returns the models for text and embeddings that online miners have loaded."""
    return await catalogue.loaded(context)


@router.post("/show", responses=errors(NotFound), summary="Show a model")
async def ollama_show(context: ContextOf, _: AnyCaller, body: OllamaShowRequest) -> ShownOllamaModel:
    """Returns what the catalogue knows about a model."""
    return await catalogue.shown(context, body.wanted)


@router.post(
    "/pull", response_model=OllamaStatus, responses=answers("The steps", LINES), summary="Look for a model"
)
async def ollama_pull(context: ContextOf, _: Client, body: OllamaPullRequest) -> Response:
    """Succeeds if a miner has the model, or can download it, which it does only for a job that names it. Nothing is downloaded now."""
    steps = await catalogue.pulled(context, body.wanted)
    if body.stream is False:
        return JSONResponse(steps[-1].model_dump())
    return Response(b"".join(_line(step) for step in steps), media_type=LINES)


@router.post(
    "/chat",
    summary="Continue a conversation",
    response_model=OllamaChatAnswer,
    responses=answers(_STREAM, LINES),
)
async def ollama_chat(call: Call, body: OllamaChatRequest) -> Response:
    """Answers like Ollama. Disconnecting before the end cancels the job. Without messages, the model is only looked up."""
    if not body.messages:
        message: dict[str, Any] = {"message": OllamaMessage()}
        return await _looked_up(call.context, body, lambda shared: OllamaChatAnswer(**shared, **message))
    began = call.context.clock()
    submission = await chat.continue_chat(call, body)
    return await _answered(submission, OllamaForm(submission, began, chat=True), body)


@router.post(
    "/generate",
    summary="Answer a prompt",
    response_model=OllamaGenerateAnswer,
    responses=answers(_STREAM, LINES),
)
async def ollama_generate(call: Call, body: OllamaGenerateRequest) -> Response:
    """Answers like Ollama. Disconnecting before the end cancels the job. Without a prompt, the model is only looked up."""
    if not body.prompt:
        return await _looked_up(
            call.context, body, lambda shared: OllamaGenerateAnswer(**shared, response="")
        )
    began = call.context.clock()
    submission = await chat.answer_prompt(call, body)
    return await _answered(submission, OllamaForm(submission, began, chat=False), body)


@router.post(
    "/embed",
    summary="Embed texts for Ollama's clients",
    response_model=OllamaVectors,
    responses=answers("The vectors"),
)
async def ollama_embed(call: Call, body: OllamaEmbedRequest) -> Response:
    """Answers when all vectors are made. Disconnecting before the end cancels the job."""
    began = call.context.clock()
    if not body.input:
        await catalogue.find(call.context, body.model)
        return JSONResponse(embeddings.no_vectors(body.model).model_dump())
    submission = await embeddings.create(call, body.model, body.input, body.dimensions, field="input")
    embedded = await result(submission, TimedEmbeddings)
    return _json(submission, embeddings.vectors(submission, embedded, began))


@router.post(
    "/embeddings",
    summary="Embed a text for Ollama's clients",
    response_model=OllamaVector,
    responses=answers("The vector"),
)
async def ollama_embeddings(call: Call, body: OllamaEmbeddingsRequest) -> Response:
    """The older form of `/api/embed`."""
    submission = await embeddings.create(call, body.model, [body.prompt or ""], None, field="prompt")
    embedded = await result(submission, TimedEmbeddings)
    if len(embedded.embeddings) != 1:
        raise invalid_results(submission)
    return _json(submission, OllamaVector(embedding=embedded.embeddings[0]))


def _refusal(change: str) -> Forbidden:
    return Forbidden(
        f"Clients cannot {change} models here, which belong to the owners of the miners. Owners use 'aitbc-agent models' on their machines."
    )


def _refusing(change: str, method: str, path: str) -> None:
    """Declare a path that changes models, which clients cannot do."""

    async def refuse(_: Client) -> None:
        raise _refusal(change)

    name = f"ollama_{change}"
    refuse.__doc__ = f"Refused: clients cannot {change} models."
    router.add_api_route(
        path,
        refuse,
        methods=[method],
        name=name,
        operation_id=name,
        status_code=204,
        summary=f"Refused: {change}",
    )


for _change, _method, _path in (
    ("delete", "DELETE", "/delete"),
    ("create", "POST", "/create"),
    ("copy", "POST", "/copy"),
    ("push", "POST", "/push"),
):
    _refusing(_change, _method, _path)


@router.post("/blobs/{digest}", status_code=204, operation_id="ollama_upload", summary="Refused: upload")
async def ollama_upload(
    _: Client,
    digest: Annotated[str, Path(description="Of the file", examples=["sha256:9f86d081884c7d65"])],  # noqa: ARG001 - named for the document
) -> None:
    """Refused: clients cannot upload models."""
    raise _refusal("upload")


async def _looked_up(
    context: Context, body: OllamaRequest, form: Callable[[dict[str, Any]], BaseModel]
) -> Response:
    """Answer a request without a question, with which clients load or unload a model: miners do that for themselves."""
    await catalogue.find(context, body.model)
    reason = "unload" if body.unloads else "load"
    answer = form(
        {"model": body.model, "created_at": format_time(context.clock()), "done": True, "done_reason": reason}
    )
    return Response(_line(answer), media_type=LINES if body.streamed else "application/json")


async def _answered(submission: AnswerSubmission, form: OllamaForm, body: OllamaRequest) -> Response:
    if body.streamed:
        framing = Framing(_line, keep_alive=_line(form.empty()), media_type=LINES)
        return await streaming.text(submission, form, framing)
    generated = await result(submission, TimedInference)
    try:
        return _json(submission, form.whole(generated))
    except ValueError:
        raise invalid_results(submission) from None


def _line(answer: BaseModel) -> bytes:
    return answer.model_dump_json(exclude_none=True).encode() + b"\n"


def _json(submission: AnswerSubmission, answer: BaseModel) -> Response:
    return json_answer(answer, submission, exclude_none=True)
