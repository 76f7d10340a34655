"""A real HTTP server that behaves as a coordinator does towards a client, with faults on demand."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

PIECE = 64 * 1024
CUT = b"cut"
"""A piece of a stream at which the connection breaks."""
HOLD = b"hold"
"""A piece of a stream after which nothing is sent until the client disconnects."""
FINAL = frozenset({"completed", "failed", "cancelled"})
CREATED = {
    "status": "submitted",
    "created_at": "2026-11-24T15:00:00Z",
    "estimated_completion": "2026-11-24T15:05:00Z",
}


def error(status: int, code: str, message: str, **headers: str) -> JSONResponse:
    body = {"error": {"code": code, "message": message, "details": {"a": 1}, "request_id": "req_1"}}
    return JSONResponse(body, status, headers=headers)


@dataclass
class Coordinator:
    """The server's state, and the requests that it received.

    `faults` are responses that are sent before anything else; `cut_after` breaks the next downloads after that many bytes; `states` are
    the states of a job, one for each poll, and `ends` the states of single jobs that override them; `created` has the jobs by their
    idempotency key; `on_created` is called for each new one;
    `holds_creating` delays that response (from `creating` until `answering`), `holds_cancelling` the one to a
    cancellation; `streams` has the pieces of event streams, a list for each connection (by default they publish the states), and
    `sockets` the messages of each WebSocket; `proofs` are the responses to requests for a proof, `log` the files of the log by path,
    and `answers` the responses to other calls by method and path.
    """

    artifacts: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    faults: deque[Response] = field(default_factory=deque)
    cut_after: deque[int] = field(default_factory=deque)
    states: deque[dict[str, Any]] = field(default_factory=deque)
    ends: dict[str, dict[str, Any]] = field(default_factory=dict)
    created: dict[str, str] = field(default_factory=dict)
    streams: deque[list[bytes]] = field(default_factory=deque)
    sockets: deque[list[Any]] = field(default_factory=deque)
    left: threading.Event = field(default_factory=threading.Event)
    results: dict[str, Any] = field(default_factory=dict)
    receipt: dict[str, Any] = field(default_factory=dict)
    proofs: deque[str] = field(default_factory=deque)
    log: dict[str, bytes] = field(default_factory=dict)
    cosigned: list[bytes] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)
    registry: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    on_created: Callable[[], None] = lambda: None
    holds_cancelling: bool = False
    holds_creating: bool = False
    creating: threading.Event = field(default_factory=threading.Event)
    answering: threading.Event = field(default_factory=threading.Event)
    ranges: bool = True
    file_limit: int = 2**40

    def store(self, data: bytes) -> str:
        artifact_id = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.artifacts[artifact_id] = data
        return artifact_id

    def paths(self) -> list[str]:
        return [f"{method} {path}" for method, path, _ in self.seen]

    def application(self) -> Starlette:
        routes = [
            Route("/v1/health", self._health),
            Route("/v1/jobs", self._jobs, methods=["GET", "POST"]),
            Route("/v1/jobs/{job_id}", self._job, methods=["GET", "DELETE"]),
            Route("/v1/jobs/{job_id}/results", self._results),
            Route("/v1/jobs/{job_id}/events", self._events),
            Route("/v1/jobs/{job_id}/files/{name}", self._file, methods=["PUT"]),
            Route("/v1/services/{route:path}", self._service, methods=["POST"]),
            Route("/v1/artifacts", self._upload, methods=["GET", "POST"]),
            Route("/v1/artifacts/{artifact_id}", self._download),
            Route("/v1/registry/services{rest:path}", self._registry, methods=["GET", "POST"]),
            Route("/v1/receipts/verify", self._verify, methods=["POST"]),
            Route("/v1/receipts/{job_id}", self._receipt),
            Route("/v1/log/proof/{reference}", self._proof),
            Route("/v1/log/{path:path}", self._log, methods=["GET", "POST"]),
            Route("/v1/{rest:path}", self._other, methods=["GET", "POST", "PUT", "DELETE"]),
        ]
        return Starlette(
            routes=[
                WebSocketRoute("/v1/ws", self._socket),
                *(Route(route.path, self._faulty(route.endpoint), methods=route.methods) for route in routes),
            ]
        )

    def _faulty(self, endpoint):
        async def respond(request: Request) -> Response:
            self.seen.append((request.method, request.url.path, dict(request.headers)))
            if self.faults:
                return self.faults.popleft()
            return await endpoint(request)

        return respond

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok", "version": "1.0.0", "services": {"database": "healthy"}})

    async def _jobs(self, request: Request) -> Response:
        if request.method == "POST":
            self.bodies.append(await request.json())
            return JSONResponse({"job_id": self._create(request), **CREATED}, 201)
        job = {
            "job_id": "job_1",
            "status": "completed",
            "type": "ai-inference",
            "created_at": CREATED["created_at"],
        }
        query = request.query_params
        return JSONResponse(
            {"jobs": [job], "total": 1, "limit": int(query["limit"]), "offset": int(query["offset"])}
        )

    async def _job(self, request: Request) -> Response:
        job_id = request.path_params["job_id"]
        if request.method == "DELETE":
            self.cancelled.set()
            self.ends[job_id] = {"status": "cancelled"}
            while self.holds_cancelling and not await request.is_disconnected():
                await request.receive()
            return JSONResponse(
                {"job_id": job_id, "status": "cancelled", "cancelled_at": "2026-11-24T15:03:00Z"}
            )
        if job_id not in {"job_1", *self.created.values()}:
            return error(404, "JOB_NOT_FOUND", "There is no such job.")
        return JSONResponse(self._state(job_id))

    def _state(self, job_id: str) -> dict[str, Any]:
        state = self.ends.get(job_id) or (self.states.popleft() if len(self.states) > 1 else self.states[0])
        return {"job_id": job_id, **state}

    def _create(self, request: Request) -> str:
        key = request.headers.get("idempotency-key", f"none {len(self.created)}")
        if key not in self.created:
            self.on_created()
        return self.created.setdefault(key, f"job_{len(self.created) + 1}")

    async def _results(self, request: Request) -> Response:
        return JSONResponse(
            {
                "job_id": request.path_params["job_id"],
                "status": "completed",
                "results": self.results,
                "completed_at": "2026-11-24T15:00:04Z",
            }
        )

    async def _events(self, request: Request) -> Response:
        pieces = self.streams.popleft() if self.streams else self._changes(request.path_params["job_id"])
        return StreamingResponse(self._publish(pieces), media_type="text/event-stream")

    def _changes(self, job_id: str) -> list[bytes]:
        """Return the states of a job as events. The last state remains."""
        states = [self._state(job_id)]
        while job_id not in self.ends and states[-1]["status"] not in FINAL and len(self.states) > 1:
            states.append(self._state(job_id))
        if job_id not in self.ends and states[-1]["status"] not in FINAL:
            states.append(self._state(job_id))
        events = [f"event: job_update\ndata: {json.dumps(state)}\n\n".encode() for state in states]
        return [*events, HOLD]

    async def _socket(self, websocket: WebSocket) -> None:
        self.seen.append(("WS", websocket.url.path, dict(websocket.headers)))
        if self.faults:
            await websocket.send_denial_response(self.faults.popleft())
            return
        await websocket.accept()
        self.bodies.append(await websocket.receive_json())
        for piece in self.sockets.popleft():
            if piece == HOLD:
                await websocket.receive()  # until the client disconnects
                self.left.set()
                return
            await websocket.send_text(piece if isinstance(piece, str) else json.dumps(piece))

    async def _publish(self, pieces: list[bytes]) -> AsyncIterator[bytes]:
        try:
            for piece in pieces:
                if piece == CUT:
                    raise ConnectionAbortedError
                if piece == HOLD:
                    await asyncio.Event().wait()
                yield piece
        finally:
            self.left.set()

    async def _registry(self, request: Request) -> Response:
        self.asked.append(str(request.url.query))
        if request.method == "POST":
            self.bodies.append(await request.json())
        return JSONResponse(self.registry[request.path_params["rest"]])

    async def _other(self, request: Request) -> Response:
        if request.method in {"POST", "PUT"}:
            self.bodies.append(await request.json())
        self.asked.append(str(request.url.query))
        return JSONResponse(self.answers[f"{request.method} {request.url.path}"])

    async def _file(self, request: Request) -> Response:
        data = await request.body()
        if len(data) > self.file_limit:
            return error(413, "PAYLOAD_TOO_LARGE", "The file is too large.")
        self.files[request.path_params["name"]] = data
        return JSONResponse({"job_id": request.path_params["job_id"], "status": "submitted"})

    async def _service(self, request: Request) -> Response:
        self.bodies.append(await request.json())
        created = {"job_id": self._create(request), **CREATED}
        self.creating.set()
        if self.holds_creating:
            await asyncio.to_thread(self.answering.wait, 30)
        return JSONResponse({**created, "service_id": request.path_params["route"]}, 201)

    async def _upload(self, request: Request) -> Response:
        artifact_id = self.store(await request.body())
        size, media_type = len(self.artifacts[artifact_id]), request.headers["content-type"]
        return JSONResponse({"artifact_id": artifact_id, "size": size, "media_type": media_type}, 201)

    async def _download(self, request: Request) -> Response:
        data = self.artifacts.get(request.path_params["artifact_id"])
        if data is None:
            return error(404, "NOT_FOUND", "There is no such artifact.")
        asked = request.headers.get("range") if self.ranges else None
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if asked and start >= len(data):
            return error(
                416, "VALIDATION_ERROR", "The file ends before.", **{"Content-Range": f"bytes */{len(data)}"}
            )
        headers = {"Content-Length": str(len(data) - start)}
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        cut = self.cut_after.popleft() if self.cut_after else None
        return StreamingResponse(self._pieces(data[start:], cut), 206 if asked else 200, headers=headers)

    async def _pieces(self, data: bytes, cut: int | None) -> AsyncIterator[bytes]:
        for position in range(0, len(data), PIECE):
            piece = data[position : position + PIECE]
            if cut is not None and position + len(piece) > cut:
                yield piece[: cut - position]
                raise ConnectionAbortedError
            yield piece

    async def _verify(self, request: Request) -> Response:
        self.bodies.append(await request.json())
        return JSONResponse({"valid": True, "miner_signature_valid": True, "coordinator_attestations": 2})

    async def _receipt(self, _: Request) -> Response:
        return Response(json.dumps(self.receipt), media_type="application/json")

    async def _proof(self, _: Request) -> Response:
        return PlainTextResponse(self.proofs.popleft() if len(self.proofs) > 1 else self.proofs[0])

    async def _log(self, request: Request) -> Response:
        if request.method == "POST":
            self.cosigned.append(await request.body())
            return JSONResponse({"size": 1, "cosigned_by": ["w"]})
        content = self.log.get(request.path_params["path"])
        return error(404, "NOT_FOUND", "The log has no such tile.") if content is None else Response(content)


class _Announced(uvicorn.Server):
    """A server that signals when it accepts connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets=None) -> None:
        await super().startup(sockets)
        self.ready.set()


@dataclass
class Stage:
    """The running server's URL, and the coordinator that it currently serves."""

    coordinator: Coordinator = field(default_factory=Coordinator)
    url: str = ""

    async def __call__(self, scope, receive, send) -> None:
        await self.coordinator.application()(scope, receive, send)


@contextmanager
def serving() -> Iterator[Stage]:
    """Run the server in a thread."""
    stage = Stage()
    server = _Announced(uvicorn.Config(stage, port=0, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, name="stand-in coordinator", daemon=True)
    thread.start()
    assert server.ready.wait(120)
    stage.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield stage
    finally:
        server.should_exit = True
        thread.join(120)
        assert not thread.is_alive()
