"""A coordinator that stores everything in memory and speaks docs/reference/miner-protocol.md over real sockets.

Like a real one, it checks tokens, sessions, fences and signatures, and gives no miner more leases than it can accept.
`malformed` has the messages that differ from their declarations in `agent.protocol`.
"""

# ruff: noqa: ARG002, ASYNC109, ASYNC110 - handlers have the signature of their library; uvicorn has no event for "started"

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

import uvicorn
from nacl.signing import SigningKey
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from agent import __version__
from agent.core.values.quantities import format_time
from agent.protocol import messages
from aitbc.canonical import b64decode, canonical_json, sha256_hex
from aitbc.dsse import open_envelope, verify_detached
from aitbc.keys import format_vkey, miner_id, registration_payload
from aitbc.statement import PAYLOAD_TYPE, REGISTRATION_TYPE, Statement, parse_statement

MESSAGES = {
    "heartbeat": messages.Heartbeat,
    "not_understood": messages.NotUnderstood,
    "result": messages.RunResult,
    "fail": messages.RunFailure,
    "release": messages.RunRelease,
    "events": messages.RunEvents,
    "register": messages.Registration,
    "poll": messages.Poll,
    "slots": messages.SlotsMessage,
}
Key = tuple[str, int]
Answer = tuple[int, Any]


def refusal(status: int, code: str, message: str = "no") -> Answer:
    return status, {"error": {"code": code, "message": message, "details": {}, "request_id": "r"}}


class FakeCoordinator:
    def __init__(self, port: int) -> None:
        self.log_key = SigningKey.generate()
        self.origin = "log.test"
        self.port = port
        self.enrolment: str | None = None
        self.websocket = True
        self.silent = False
        """Whether calls over the WebSocket are not answered."""
        self.result_answers: deque[Answer] = deque()
        self.heartbeat_seconds = 0.5
        self.commands: list[Any] = []
        self.executed: list[str] = []
        self.heartbeat_requested = False
        self.earnings: dict[str, Any] | None = None
        self.excluded = False
        self.version: str | None = __version__
        """What a challenge states; None: nothing, as before version 0.2.0."""
        self.health_version = __version__
        self.version_problem: str | None = None
        """Why it refuses the miner's version."""
        self.clock_ahead = 0.0
        self.refused_registrations = 0
        self.session = 0
        self.tokens: dict[str, int] = {}
        self.public_key = b""
        self.queue: deque[dict[str, Any]] = deque()
        self.given: dict[Key, dict[str, Any]] = {}
        self.open: set[Key] = set()
        self.most_open = 0
        self.cancelled: list[Key] = []
        self.results: dict[str, dict[str, Any]] = {}
        self.statements: dict[str, Statement] = {}
        self.failures: dict[str, dict[str, Any]] = {}
        self.releases: dict[str, dict[str, Any]] = {}
        self.events: list[tuple[float, str, list[dict[str, Any]]]] = []
        self.lines: list[str] = []
        """What runs wrote to their jobs' logs before they ended."""
        self.registered: dict[str, Any] = {}
        """Further fields of the answer to a registration."""
        self.registrations: list[dict[str, Any]] = []
        self.heartbeats: list[dict[str, Any]] = []
        self.polls: list[dict[str, Any]] = []
        self.result_calls = 0
        self.artifacts: dict[str, bytes] = {}
        self.sockets: set[WebSocket] = set()
        self.not_understood: list[dict[str, Any]] = []
        self.malformed: list[str] = []
        self.changed = asyncio.Condition()
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def vkey(self) -> str:
        """The public key of the log."""
        return format_vkey(self.origin, bytes(self.log_key.verify_key))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # Running -----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        # With the protocol named, asyncio switches Nagle's delay off for the accepted connections.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        config = uvicorn.Config(
            self._app(), log_level="critical", lifespan="off", timeout_graceful_shutdown=0
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        async with asyncio.timeout(60):
            while not self._server.started:
                await asyncio.sleep(0.005)

    async def stop(self) -> None:
        if self._server is not None and self._task is not None:
            self._server.should_exit = self._server.force_exit = True
            await self.notify()
            await self._task
            self._server = self._task = None

    def _app(self) -> Starlette:
        jobs = [self._job_route(name) for name in ("result", "fail", "release", "events")]
        return Starlette(
            routes=[
                Route("/v1/health", self._health),
                Route("/v1/miners/challenge", self._challenge, methods=["POST"]),
                Route("/v1/miners/register", self._register, methods=["POST"]),
                Route("/v1/miners/poll", self._poll, methods=["POST"]),
                Route("/v1/miners/heartbeat", self._heartbeat_route, methods=["POST"]),
                Route("/v1/miners/{miner_id}/earnings", self._earnings_route),
                Route("/v1/artifacts", self._store, methods=["POST"]),
                Route("/v1/artifacts/{artifact_id}", self._send_artifact),
                WebSocketRoute("/v1/miners/session", self._websocket),
                *jobs,
            ]
        )

    # Interface for tests -----------------------------------------------------------------------------------------

    async def submit(
        self,
        mode: str,
        *,
        files: dict[str, Any] | None = None,
        timeout: float = 60,
        service: str = "scripted",
        model: str | None = None,
        checkpoints: Sequence[Mapping[str, Any]] = (),
        max_cost: str = "1000",
        nonce: str | None = None,
        audit: Mapping[str, Any] | None = None,
        **parameters: Any,
    ) -> str:
        job_id = f"job_{secrets.token_hex(8)}"
        spec = {
            "job_id": job_id, "service": service, "name": "scripted", "model": model,
            "parameters": {"mode": mode, **parameters}, "files": files or {}, "resources": {}, "timeout_seconds": timeout,
            **({} if audit is None else {"audit": dict(audit)}),
        }  # fmt: skip
        self.queue.append(
            {
                "job_id": job_id,
                "fence": 1,
                "service": service,
                "spec": spec,
                "checkpoints": list(checkpoints),
                "max_cost": max_cost,
                "nonce": nonce,
            }
        )
        await self.notify()
        return job_id

    async def cancel(self, job_id: str) -> None:
        self.cancelled.append((job_id, 1))
        self.open.discard((job_id, 1))
        await self.notify()

    async def command(self, **command: Any) -> None:
        """Queue a command with an id, which is repeated until it is executed, and request a heartbeat."""
        self.commands.append(command)
        self.heartbeat_requested = True
        for websocket in self.sockets:
            await websocket.send_text(json.dumps({"push": "heartbeat"}))
        await self.notify()

    async def until(self, condition: Callable[[], Any], limit: float = 120) -> Any:
        async with asyncio.timeout(limit), self.changed:
            await self.changed.wait_for(condition)
        return condition()

    async def notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    # Calls -------------------------------------------------------------------------------------------------------

    def _session_of(self, headers: Any) -> Answer | None:
        """Return the error for the caller's token, None if it is valid."""
        number = self.tokens.get(headers.get("authorization", "").removeprefix("Bearer "))
        if number is None:
            return refusal(401, "UNAUTHORIZED")
        if self.excluded:
            return refusal(403, "MINER_EXCLUDED")
        return None if number == self.session else refusal(409, "STALE_SESSION")

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok", "version": self.health_version, "log_key": self.vkey})

    async def _challenge(self, request: Request) -> Response:
        return JSONResponse(
            {
                "nonce": "n",
                "origin": self.origin,
                "expires_at": format_time(time.time() + 60),
                **({} if self.version is None else {"version": self.version}),
            }
        )

    async def _register(self, request: Request) -> Response:
        body = await request.json()
        self._check("register", body)
        public_key = b64decode(body["public_key"])
        payload = registration_payload(body["nonce"], self.origin, public_key)
        assert verify_detached(REGISTRATION_TYPE, payload, body["signature"], public_key)
        if self.excluded:
            self.refused_registrations += 1
            await self.notify()
            return _json(refusal(403, "MINER_EXCLUDED", "Excluded."))
        if self.version_problem is not None:
            self.refused_registrations += 1
            await self.notify()
            return _json(refusal(409, "VERSION_MISMATCH", self.version_problem))
        if self.enrolment not in (None, body["enrolment_token"]):
            return _json(refusal(403, "FORBIDDEN", "An enrolment token is needed."))
        first = self.public_key != public_key
        self.public_key = public_key
        self.session += 1
        token = f"token-{secrets.token_hex(8)}"
        self.tokens[token] = self.session
        self.registrations.append(body)
        held = {(item["job_id"], item["fence"]) for item in body["holding"]}
        valid = self.open & held
        self.open = set(valid)
        await self.notify()
        return JSONResponse({
            "miner_id": miner_id(public_key), "session": self.session, "session_token": token,
            "log_key": self.vkey, "origin": self.origin,
            "api_key": "aitbc_miner_key" if first else None,
            "settings": {"lease_seconds": 60, "heartbeat_seconds": self.heartbeat_seconds, "poll_seconds": 30},
            "keep": [{"job_id": job_id, "fence": fence} for job_id, fence in valid],
            **self.registered,
        })  # fmt: skip

    def _claim(self, slots: int) -> list[dict[str, Any]]:
        leases = []
        while self.queue and len(leases) < slots:
            leases.append(self._lease(self.queue.popleft()))
        return leases

    def _lease(self, job: dict[str, Any]) -> dict[str, Any]:
        now = time.time() + self.clock_ahead
        lease = {
            **job, "attempt": 1, "trace_id": secrets.token_hex(16), "spec_digest": sha256_hex(canonical_json(job["spec"])),
            "unit_price": "0.01", "assigned_at": format_time(now), "lease_expires_at": format_time(now + 60),
            "deadline": format_time(now + job["spec"]["timeout_seconds"]),
        }  # fmt: skip
        key = (job["job_id"], job["fence"])
        self.given[key] = lease
        self.open.add(key)
        self.most_open = max(self.most_open, len(self.open))
        return lease

    def _take_cancelled(self) -> list[dict[str, Any]]:
        found, self.cancelled = self.cancelled, []
        return [{"job_id": job_id, "fence": fence} for job_id, fence in found]

    async def _poll(self, request: Request) -> Response:
        if (wrong := self._session_of(request.headers)) is not None:
            return _json(wrong)
        body = await request.json()
        self._check("poll", body)
        self.polls.append(body)
        await self.notify()
        stopping = lambda: self._server is None or self._server.should_exit  # noqa: E731
        news = lambda: self.cancelled or self.heartbeat_requested or (body["slots"] and self.queue)  # noqa: E731
        waiting = lambda: stopping() or news()  # noqa: E731
        watcher = asyncio.create_task(_disconnected(request))
        try:
            waiter = asyncio.create_task(self.until(waiting, body["wait"]))
            await asyncio.wait([watcher, waiter], return_when=asyncio.FIRST_COMPLETED)
            waiter.cancel()
            if watcher.done() or stopping() or not waiting():
                return Response(status_code=204)
            requested, self.heartbeat_requested = self.heartbeat_requested, False
            answer = {"leases": self._claim(body["slots"]), "cancelled": self._take_cancelled()}
            return JSONResponse(answer | ({"heartbeat": True} if requested else {}))
        finally:
            watcher.cancel()

    async def _heartbeat_route(self, request: Request) -> Response:
        wrong = self._session_of(request.headers)
        return _json(wrong or await self._call("heartbeat", None, await request.json()))

    async def _earnings_route(self, request: Request) -> Response:
        known = request.headers.get("authorization") == "Bearer aitbc_miner_key"
        if self.earnings is None or not known:
            return _json(refusal(404, "NOT_FOUND"))
        return JSONResponse(self.earnings)

    def _job_route(self, name: str) -> Route:
        async def route(request: Request) -> Response:
            wrong = self._session_of(request.headers)
            return _json(wrong or await self._call(name, request.path_params["job_id"], await request.json()))

        return Route(f"/v1/miners/jobs/{{job_id}}/{name}", route, methods=["POST"])

    def _check(self, name: str, body: Any) -> None:
        """Record how a message of the miner differs from its declaration."""
        try:
            message = MESSAGES[name].model_validate(body)
        except ValidationError as error:
            self.malformed.append(f"{name}: {error}")
        else:
            if isinstance(message, messages.RunResult) and (problems := message.problems()):
                self.malformed.append(f"{name}: {problems}")

    async def _call(self, name: str, job_id: str | None, body: dict[str, Any]) -> Answer:
        self._check(name, body)
        answer = getattr(self, f"_on_{name}")(job_id, body)
        await self.notify()
        return answer

    def _on_not_understood(self, _job_id: None, body: dict[str, Any]) -> Answer:
        self.not_understood.append(body)
        return 204, {}

    def _on_heartbeat(self, _job_id: None, body: dict[str, Any]) -> Answer:
        self.heartbeats.append(body)
        executed = body.get("executed", [])
        self.executed += executed
        self.commands = [
            command
            for command in self.commands
            if not (isinstance(command, dict) and command.get("command_id") in executed)
        ]
        leases = []
        for item in body["leases"]:
            key = (item["job_id"], item["fence"])
            status = "renewed" if key in self.open else "cancelled" if key in self.cancelled else "lost"
            leases.append({"job_id": key[0], "fence": key[1], "status": status, "lease_expires_at": None})
        return 200, {"leases": leases, "commands": self.commands}

    def _on_result(self, job_id: str, body: dict[str, Any]) -> Answer:
        self.result_calls += 1
        if self.result_answers:
            return self.result_answers.popleft()
        key = (job_id, body["fence"])
        if job_id in self.results:
            same = self.results[job_id]["envelope"] == body["envelope"]
            return (
                (200, {"job_id": job_id, "status": "completed", "receipt_id": "r"})
                if same
                else refusal(409, "STALE_LEASE")
            )
        if key not in self.open:
            return refusal(409, "STALE_LEASE")
        statement = parse_statement(open_envelope(body["envelope"], self.public_key, PAYLOAD_TYPE))
        assert statement.spec_digest == self.given[key]["spec_digest"]
        assert statement.subject[0].sha256 == sha256_hex(canonical_json(body["results"]))
        assert all(item["artifact_id"] in self.artifacts for item in body["artifacts"])
        self.open.discard(key)
        self.results[job_id], self.statements[job_id] = body, statement
        return 200, {"job_id": job_id, "status": "completed", "receipt_id": "r"}

    def _on_fail(self, job_id: str, body: dict[str, Any]) -> Answer:
        self.open.discard((job_id, body["fence"]))
        self.failures[job_id] = body
        return 200, {"job_id": job_id, "status": "failed"}

    def _on_release(self, job_id: str, body: dict[str, Any]) -> Answer:
        self.open.discard((job_id, body["fence"]))
        self.releases[job_id] = body
        return 200, {"job_id": job_id, "status": "submitted"}

    def _on_events(self, job_id: str, body: dict[str, Any]) -> Answer:
        self.events.append((time.monotonic(), job_id, body["events"]))
        self.lines += [line["text"] for line in (body.get("log") or {"entries": []})["entries"]]
        return 204, None

    async def _store(self, request: Request) -> Response:
        if (wrong := self._session_of(request.headers)) is not None:
            return _json(wrong)
        content = await request.body()
        artifact_id = f"sha256:{sha256(content).hexdigest()}"
        self.artifacts[artifact_id] = content
        return JSONResponse({"artifact_id": artifact_id, "size": len(content), "media_type": "x"}, 201)

    async def _send_artifact(self, request: Request) -> Response:
        if (wrong := self._session_of(request.headers)) is not None:
            return _json(wrong)
        content = self.artifacts.get(request.path_params["artifact_id"])
        return Response(status_code=404) if content is None else Response(content)

    # The WebSocket -----------------------------------------------------------------------------------------------

    async def _websocket(self, websocket: WebSocket) -> None:
        if not self.websocket:
            await websocket.close()  # before accepting: an HTTP answer 403
            return
        await websocket.accept()
        wrong = self._session_of(websocket.headers)
        if wrong is not None:
            await websocket.close({401: 4401, 409: 4409}[wrong[0]])
            return
        self.sockets.add(websocket)
        state = {"slots": 0, "received": 0, "sent": 0, "batch_capacity": 0}
        pusher = asyncio.create_task(self._push(websocket, state))
        try:
            while True:
                message = json.loads(await websocket.receive_text())
                if message["call"] == "slots":
                    self._check("slots", message)
                    batch_capacity = sum(item["free"] for item in message["batch_capacity"])
                    state |= {
                        "slots": message["slots"],
                        "received": message["received"],
                        "batch_capacity": batch_capacity,
                    }
                    await self.notify()
                    continue
                wrong = self._session_of(websocket.headers)
                status, body = wrong or await self._call(
                    message["call"], message.get("job_id"), message["body"]
                )
                if not self.silent:
                    answer = {"id": message["id"], "status": status, "body": body}
                    await websocket.send_text(json.dumps(answer))
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            self.sockets.discard(websocket)
            pusher.cancel()

    async def _push(self, websocket: WebSocket, state: dict[str, int]) -> None:
        # All jobs here are of one batch, so all free batch capacity fits.
        capacity = lambda: state["slots"] + state["batch_capacity"] - (state["sent"] - state["received"])  # noqa: E731
        while True:
            await self.until(lambda: self.cancelled or (self.queue and capacity() > 0), 3600)
            for item in self._take_cancelled():
                await websocket.send_text(json.dumps({"push": "cancelled", **item}))
            for lease in self._claim(capacity()):
                state["sent"] += 1
                await websocket.send_text(json.dumps({"push": "lease", "lease": lease}))


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the test program handles signals


def _json(answer: Answer) -> Response:
    status, body = answer
    return Response(status_code=204) if status == 204 else JSONResponse(body, status)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
