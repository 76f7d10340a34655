"""Builds the coordinator: its parts, the ASGI application, and its background tasks."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError as PydanticError
from pydantic_core import PydanticSerializationError
from starlette.exceptions import HTTPException
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from agent import __version__
from agent.configuration import load_catalogue
from agent.coordinator.blobs.resumable import UploadDirectory
from agent.coordinator.blobs.space import Space
from agent.coordinator.blobs.store import ArtifactDirectory
from agent.coordinator.connections import Connections, raise_descriptor_limit
from agent.coordinator.dispatch.dispatcher import Dispatcher
from agent.coordinator.feed.feed import Feed, Recent
from agent.coordinator.feed.hub import Hub
from agent.coordinator.http.bodies import Bodies, Guarded
from agent.coordinator.http.dashboard import BUILT, Dashboard, to_dashboard
from agent.coordinator.http.hosts import Hosts
from agent.coordinator.http.middleware import Failures, RequestIds, Tus
from agent.coordinator.http.rate_limits import RateLimits
from agent.coordinator.metrics import METRICS
from agent.coordinator.openapi.document import allowed, document, guard_of, routes
from agent.coordinator.operations import health, streams
from agent.coordinator.operations.accounts import browser_sessions
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.files import quota, uploads
from agent.coordinator.operations.log.log_key import load_signer, load_witnesses
from agent.coordinator.operations.log.secret_file import load_secret
from agent.coordinator.operations.market import marketplace, standing_offers
from agent.coordinator.operations.miners import events, leases
from agent.coordinator.routes import OPERATORS_ROUTERS, ROOT_ROUTERS, ROUTERS
from agent.coordinator.sequencer import PUBLISHED, Sequencer
from agent.coordinator.store.engines import open_database
from agent.coordinator.store.log import newest_checkpoint
from agent.coordinator.store.receipts import any_receipt
from agent.coordinator.webhook_sender import WebhookSender
from agent.core.errors import (
    ApiError,
    ConfigurationError,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    ServiceUnavailable,
    ValidationFailed,
    error_body,
)
from agent.metrics import Meter
from agent.protocol.validation_errors import field_errors
from agent.settings import Settings
from runners.registry import installed

UPKEEP_SECONDS: Final = 1.0
UPKEEP_SILENCE_SECONDS: Final = 120.0
"""Time after which a round of the upkeep counts as hung. Thousands of expired leases take seconds."""
UPLOADS_SECONDS: Final = 60.0
ORPHANS_SECONDS: Final = 3600.0
RETRY_AFTER_SECONDS: Final = 1
API_PREFIXES: Final = ("/v1", "/api/v1")

log = structlog.get_logger()


def build_context(settings: Settings) -> Context:
    """Open the database, the artifacts and the log's key, and raise the process's limit on open files.

    Raises `ConfigurationError`.
    """
    directory = settings.data_dir / "coordinator"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    meter = Meter(METRICS)
    database = open_database(settings.database, settings.data_dir, meter)
    key_file = directory / "log.key"
    if not key_file.exists() and (
        database.read_now(any_receipt) or database.read_now(newest_checkpoint) is not None
    ):
        database.close()
        raise ConfigurationError(
            f"{key_file} is missing, but the database has receipts and checkpoints that were signed with it. Restore it from "
            "your backup; with a new key, none of them would verify."
        )
    artifacts = ArtifactDirectory(directory / "artifacts", max_size=settings.coordinator.max_artifact)
    artifacts.open()
    upload_directory = UploadDirectory(
        directory / "artifacts" / "uploads", silence_seconds=settings.coordinator.upload_silence_seconds
    )
    upload_directory.open()
    stream = settings.coordinator.streams
    hub = Hub(stream.queue, stream.queue_size, stream.queued_size)
    signer = load_signer(key_file, settings.coordinator.origin)
    sequencer = Sequencer(
        database,
        signer,
        time.time,
        seconds=settings.coordinator.log_checkpoint_seconds,
        published=directory / PUBLISHED,
    )
    try:
        sequencer.check_at_start()
    except ConfigurationError:
        database.close()
        raise
    dispatcher = Dispatcher(settings.coordinator, database, time.time, meter)
    return Context(
        settings=settings.coordinator,
        database=database,
        hub=hub,
        feed=Feed(database, hub, Recent(stream.history, stream.history_size)),
        webhooks=WebhookSender(database, settings.coordinator.webhooks, time.time),
        dispatcher=dispatcher,
        artifacts=artifacts,
        uploads=upload_directory,
        space=Space(
            directory / "artifacts", database.directory, reserve=settings.coordinator.storage_reserve
        ),
        signer=signer,
        witnesses=load_witnesses(settings.coordinator.witnesses),
        log=sequencer,
        link_key=load_secret(directory / "links.key"),
        services={service_id: runner.definition for service_id, runner in installed().items()},
        catalogue=load_catalogue(settings.data_dir),
        clock=time.time,
        meter=meter,
        connections=Connections(
            settings.coordinator.connections, meter, descriptors=raise_descriptor_limit()
        ),
    )


def build_app(context: Context) -> FastAPI:
    """Return the ASGI application over a context. Its lifespan runs the dispatcher, the upkeep and the other tasks."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await leases.start_over(context)
        await streams.begin(context)
        await standing_offers.refresh_all(context)
        tasks = [
            _watched(context, "dispatcher", context.dispatcher.run()),
            _watched(context, "feed", context.feed.run()),
            _watched(context, "webhooks", context.webhooks.run()),
            _watched(context, "log", context.log.run()),
            _watched(context, "database", health.pulse(context)),
            _watched(context, "upkeep", _upkeep(context)),
            _watched(context, "uploads", _repeated(context, UPLOADS_SECONDS, uploads.expire_due)),
            _watched(context, "outputs", _repeated(context, UPLOADS_SECONDS, quota.settle_run_outputs)),
            _watched(context, "sessions", _repeated(context, UPLOADS_SECONDS, browser_sessions.expire_due)),
            _watched(context, "orphans", _repeated(context, ORPHANS_SECONDS, quota.remove_orphans)),
        ]
        context.dispatcher.job_waiting()
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            context.database.close()

    app = FastAPI(
        title="AITBC coordinator",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # Otherwise every request reads the environment three times to find out whether its traces are collected.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.context = context
    for prefix in API_PREFIXES:  # the router tries routes in this order
        for router in ROUTERS:
            app.include_router(router, prefix=prefix)
        app.add_route(f"{prefix}/openapi.json", _describe)
    if context.settings.dashboard:
        app.add_route("/", to_dashboard)
        app.add_route("/dashboard", to_dashboard)
        app.mount("/dashboard", Dashboard(BUILT))
    for router in ROOT_ROUTERS:
        for prefix in ("", "/api", *API_PREFIXES):
            app.include_router(router, prefix=prefix)
    for router in OPERATORS_ROUTERS:
        app.include_router(router)
    _map_errors(app)
    # Each middleware runs before those that are added above it.
    guarded = [
        Guarded(route.path_regex, frozenset(route.methods or ()), guard.check)
        for _, route in routes()
        if (guard := guard_of(route))
    ]
    app.add_middleware(Bodies, context=context, guarded=guarded)
    app.add_middleware(RateLimits, context=context)
    app.add_middleware(Tus)
    app.add_middleware(Failures)
    if context.settings.trusted_proxies:
        trusted = [str(network) for network in context.settings.trusted_proxies]
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=trusted)
    app.add_middleware(Hosts, settings=context.settings, meter=context.meter)
    app.add_middleware(RequestIds, meter=context.meter)
    return app


def _watched(context: Context, name: str, work: Any) -> asyncio.Task[None]:
    """Return a named task. If it fails, that is logged, health reports it, and the watchdog restarts the agent."""
    task: asyncio.Task[None] = asyncio.create_task(work, name=name)

    def ended(done: asyncio.Task[None]) -> None:
        context.liveness.leave(name)
        if not done.cancelled() and (error := done.exception()) is not None:
            log.critical("background_task_died", task=name, exc_info=error)
            context.liveness.fail(name, f"it ended ({type(error).__name__})")

    task.add_done_callback(ended)
    return task


async def _upkeep(context: Context) -> None:
    while True:
        context.liveness.report("upkeep", asyncio.get_running_loop().time(), UPKEEP_SILENCE_SECONDS)
        await asyncio.sleep(UPKEEP_SECONDS)
        try:
            await leases.expire_due(context)
            await marketplace.tidy(context)
            await events.prune_old(context)
            await streams.keep_numbers(context)
            context.dispatcher.capacity_freed()  # for jobs whose delay before a retry has ended
        except Exception:  # the loop survives a round that fails
            log.exception("upkeep_failed")


async def _repeated(context: Context, seconds: float, step: Callable[[Context], Awaitable[object]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await step(context)
        except Exception:  # the loop survives a step that fails
            log.exception("tidying_failed", step=step.__name__)


async def _describe(_: Request) -> Response:
    return JSONResponse(document())


def _map_errors(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def known(request: Request, error: ApiError) -> Response:
        return _error(request, error.status, error.code, error.message, error.details, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        errors = error.errors()
        if any(item["type"] == "json_invalid" for item in errors):
            message, fields = (
                "The body is not valid JSON.",
                {"body": str(errors[0].get("ctx", {}).get("error", ""))},
            )
        else:
            message, fields = "The request is not valid.", {_field(item): _sentence(item) for item in errors}
        return _error(request, ValidationFailed.status, ValidationFailed.code, message, {"fields": fields})

    @app.exception_handler(HTTPException)
    async def protocol(request: Request, error: HTTPException) -> Response:
        codes = {404: NotFound.code, 405: MethodNotAllowed.code, 413: PayloadTooLarge.code}
        messages = {
            404: f"The path {request.url.path} does not exist.",
            405: f"{request.method} is not allowed at {request.url.path}.",
        }
        code = codes.get(error.status_code, "VALIDATION_ERROR")
        message = messages.get(error.status_code, str(error.detail))
        # The framework answers 400 to a body that it cannot parse. This API answers 422 to every invalid body.
        status = ValidationFailed.status if error.status_code == HTTPStatus.BAD_REQUEST else error.status_code
        headers = dict(error.headers or {})
        if status == MethodNotAllowed.status:
            # The framework lists the methods of only one route, but a path may have several.
            headers["Allow"] = allowed(request.url.path) or headers.get("Allow", "")
        return _error(request, status, code, message, {}, headers)

    @app.exception_handler(UnicodeEncodeError)
    @app.exception_handler(PydanticSerializationError)
    async def unreadable(request: Request, _: Exception) -> Response:
        message = "The request contains text that is not valid Unicode."
        return _error(
            request, ValidationFailed.status, ValidationFailed.code, message, {"fields": {"body": message}}
        )

    @app.exception_handler(PydanticError)
    async def malformed(request: Request, error: PydanticError) -> Response:
        fields = {"fields": field_errors(error)}
        return _error(
            request, ValidationFailed.status, ValidationFailed.code, "The request is not valid.", fields
        )


def _field(error: dict[str, Any]) -> str:
    parts = [str(part) for part in error["loc"]]
    return ".".join(parts[1:] if len(parts) > 1 and parts[0] == "body" else parts)


def _sentence(error: dict[str, Any]) -> str:
    return str(error["msg"]).removeprefix("Value error, ")


def _error(
    request: Request,
    status: int,
    code: str,
    message: str,
    details: dict[str, Any],
    headers: Mapping[str, str] | None = None,
) -> Response:
    request_id = request.scope.get("request_id") or secrets.token_hex(8)
    body = error_body(code, message, details, request_id)
    headers = dict(headers or {})
    if status == ServiceUnavailable.status:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if status == 401:  # noqa: PLR2004 - RFC 9110 requires the challenge
        headers["WWW-Authenticate"] = "Bearer"
    # Details may contain values from the client: those that JSON cannot represent become text, and lone surrogates are escaped.
    return Response(json.dumps(body, default=str), status, headers, media_type="application/json")
