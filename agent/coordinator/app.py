"""Builds the coordinator: its parts, and the ASGI application over them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from agent import __version__
from agent.catalogue import load_catalogue
from agent.coordinator.background import background_tasks
from agent.coordinator.blobs.directory import directory_of
from agent.coordinator.blobs.space import Space
from agent.coordinator.cluster import Cluster, Installation
from agent.coordinator.connections import Connections, raise_descriptor_limit
from agent.coordinator.dispatch.dispatcher import Dispatcher
from agent.coordinator.errors import map_errors
from agent.coordinator.feature import Opening
from agent.coordinator.feed.feed import Feed, Recent
from agent.coordinator.feed.hub import Hub
from agent.coordinator.http.bodies import Bodies, Guarded
from agent.coordinator.http.client_versions import ClientVersions
from agent.coordinator.http.hosts import Hosts
from agent.coordinator.http.middleware import API_MOUNT, Failures, Paths, RequestIds
from agent.coordinator.http.plain import PlainRoute, declarations
from agent.coordinator.installed import FEATURES, METRICS, ROUTERS, open_blobs, open_cluster, open_database
from agent.coordinator.operations.caches import Caches
from agent.coordinator.operations.context import Catalogue, Context, Features, Files, HealthState, Monitoring
from agent.coordinator.routes._callers import guard_of
from agent.coordinator.secret_file import load_secret
from agent.coordinator.signer import Signer, load_signer
from agent.coordinator.store.database import Database
from agent.coordinator.store.receipts import any_receipt
from agent.core.errors import (
    ConfigurationError,
)
from agent.core.nonces import Secrets, nonce_key
from agent.metrics import Meter
from agent.settings import Settings
from runners.registry import installed

CROSS_ORIGIN: Final[dict[str, Any]] = {
    "allow_methods": ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
    "allow_headers": ("*",),  # also those of tus, of OpenAI's clients, and of tracing
    "expose_headers": sorted(
        {
            "Content-Range",
            "ETag",
            "Location",
            "Preference-Applied",
            "Retry-After",
            "X-Job-ID",
            "X-Request-ID",
            "X-Trace-ID",
        }.union(*(feature.exposed_headers for feature in FEATURES))
    ),
    "max_age": 600,
}
"""What pages of other origins may do: everything that a key permits. Cookies are not allowed, so the dashboard's session is useless."""


def build_context(settings: Settings) -> Context:
    """Open the database, the artifacts and the coordinator's key, and raise the process's limit on open files.

    Raises `ConfigurationError`.
    """
    directory = settings.data_dir / "coordinator"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    meter = Meter(METRICS)
    database = open_database(settings, meter)
    try:
        return _context(settings, directory, database, meter)
    except ConfigurationError:
        database.close()
        raise


def _context(settings: Settings, directory: Path, database: Database, meter: Meter) -> Context:
    artifacts = open_blobs(settings)
    key_file = directory / "log.key"
    signer = _signer(settings, key_file, database)
    artifacts.open()
    link_key = load_secret(directory / "links.key")
    keys = {key_file: signer.vkey.encode(), directory / "links.key": link_key}
    installation = Installation(database, keys, directory_of(settings) or str(settings.artifacts.url))
    cluster = open_cluster(installation)
    stream = settings.coordinator.streams
    hub = Hub(stream.queue, stream.queue_size, stream.queued_size)
    services = {service_id: runner.definition for service_id, runner in installed().items()}
    salted = frozenset(service_id for service_id, definition in services.items() if definition.reuses)
    secrets = Secrets(nonce_key(bytes(signer.key)), salted)
    dispatcher = Dispatcher(settings.coordinator, database, time.time, meter, cluster, secrets)
    opening = Opening(settings, directory, signer, key_file, database, artifacts, cluster.bus, time.time)
    return Context(
        settings=settings.coordinator,
        database=database,
        feed=Feed(database, hub, Recent(stream.history, stream.history_size), cluster),
        dispatcher=dispatcher,
        files=Files(
            artifacts,
            Space(directory_of(settings), database.directory, reserve=settings.coordinator.storage_reserve),
            link_key,
        ),
        signer=signer,
        catalogue=Catalogue(services, load_catalogue(settings.data_dir)),
        clock=time.time,
        monitoring=Monitoring(
            meter,
            health=HealthState(
                features=dict.fromkeys((name for feature in FEATURES for name in feature.health), True)
            ),
        ),
        connections=Connections(
            settings.coordinator.connections, meter, descriptors=raise_descriptor_limit()
        ),
        features=_features(opening, cluster),
        caches=Caches(bus=cluster.bus),
    )


def _features(opening: Opening, cluster: Cluster) -> Features:
    """Open the features' parts."""
    return Features(
        {
            feature.part: feature.open(opening)
            for feature in FEATURES
            if feature.part is not None and feature.open is not None
        },
        cluster,
        [feature.read_metrics for feature in FEATURES if feature.read_metrics is not None],
        [feature.check_health for feature in FEATURES if feature.check_health is not None],
        [read for feature in FEATURES for read in feature.credentials],
    )


def _signer(settings: Settings, key_file: Path, database: Database) -> Signer:
    """Load the coordinator's key, or create it for a new installation."""
    # A new key would silently make every receipt of this installation worthless.
    if not key_file.exists() and database.read_now(any_receipt):
        raise ConfigurationError(
            f"{key_file} is missing, but the database has receipts that were signed with it. Restore it from "
            "your backup, or copy it from another replica; with a new key, none of them would verify."
        )
    return load_signer(key_file, settings.coordinator.origin)


def build_app(context: Context) -> FastAPI:
    """Return the ASGI application over a context. Its lifespan runs the dispatcher, the upkeep and the other tasks."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with background_tasks(context, FEATURES):
            yield

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
    app.state.routers = ROUTERS
    app.router.routes.extend(_api().routes)
    app.mount(API_MOUNT, _api())
    for feature in FEATURES:
        if feature.pages is not None:
            app.router.routes.extend(feature.pages(context))
    map_errors(app)
    # Each middleware runs before those that are added above it.
    limits = [limit for feature in FEATURES for limit in feature.body_limits]
    app.add_middleware(Bodies, context=context, guarded=_guarded(), limits=limits)
    # Also within the features' middleware, which may write errors in the form of another API.
    app.add_middleware(Failures)
    for feature in FEATURES:
        for middleware in feature.middleware:
            app.add_middleware(middleware, context)
    app.add_middleware(Failures)
    # Without any, the framework's handler is left out, so that other origins get no permission at all.
    if context.settings.cors_origins:
        app.add_middleware(CORSMiddleware, allow_origins=context.settings.cors_origins, **CROSS_ORIGIN)
    if context.settings.trusted_proxies:
        trusted = [str(network) for network in context.settings.trusted_proxies]
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=trusted)
    app.add_middleware(Hosts, settings=context.settings, meter=context.monitoring.meter)
    app.add_middleware(Paths)
    app.add_middleware(ClientVersions)
    app.add_middleware(RequestIds, meter=context.monitoring.meter)
    return app


@cache
def _api() -> APIRouter:
    """Return the routes of the API. They are not included but shared: the framework would analyse them for each inclusion."""
    routes = [route for router in ROUTERS for route in router.routes]
    plain = [route for route in routes if isinstance(route, PlainRoute)]

    def rank(route: BaseRoute) -> tuple[bool, bool, bool]:
        # What every job calls is tried first, with the literal paths that it would match: to follow all others would cost it a tenth of a millisecond.
        path, methods = getattr(route, "path", ""), set(getattr(route, "methods", None) or ())
        called_often = any(
            other.path_regex.match(path) and methods.intersection(other.methods or ()) for other in plain
        )
        # A literal path takes precedence over one with a parameter, also over that of a router that is tried earlier.
        return not called_often, "{" in path, not isinstance(route, PlainRoute)

    return APIRouter(routes=sorted(routes, key=rank))


@cache
def _guarded() -> Sequence[Guarded]:
    """Return the routes that refuse a body without a key."""
    return tuple(
        Guarded(route.path_regex, frozenset(route.methods or ()), guard.check)
        for route in declarations(ROUTERS)
        if (guard := guard_of(route))
    )
