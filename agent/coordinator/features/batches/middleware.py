"""How the lines of batches reach the application that also answers clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from agent.coordinator.http.in_process import OwnApplication
from agent.coordinator.http.plain import declarations
from agent.coordinator.operations.context import Context
from agent.core.errors import ServiceUnavailable

JOB_HEADER: Final = "X-Job-ID"


class BatchSender:
    """The part that sends requests. `Entrance` completes it when the server starts, before anything else runs."""

    def __init__(self) -> None:
        self._application: OwnApplication | None = None

    def connect(self, application: OwnApplication) -> None:
        """Send requests to this application from now on."""
        self._application = application

    @property
    def application(self) -> OwnApplication:
        """The application. Raises `ServiceUnavailable` while there is none."""
        if self._application is None:
            raise ServiceUnavailable("The coordinator is not serving yet.")
        return self._application

    @property
    def endpoints(self) -> Sequence[str]:
        """The paths that lines may name: those that answer JSON with the results of a job."""
        routes = declarations(self.application.framework.state.routers)
        return sorted(
            route.path
            for route in routes
            if "POST" in (route.methods or ())
            and route.body_field is not None
            and _answers_with_job(route.responses)
        )

    async def close(self) -> None:
        """Nothing is open."""


def _answers_with_job(responses: Mapping[int | str, Mapping[str, Any]]) -> bool:
    return JOB_HEADER in responses.get(HTTPStatus.OK, {}).get("headers", {})


class Entrance:
    """Middleware that changes nothing, and knows the application behind it. It is the feature's that comes last, so errors have their API's form."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app = app
        self._sender = context.part(BatchSender)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            self._sender.connect(OwnApplication(self._app, scope["app"]))
        await self._app(scope, receive, send)
