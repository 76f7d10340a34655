"""What the client does, without doing it: generators that yield requests and pauses and receive the answers.

Each call of the client is written once, as such a generator; the drivers in `_drivers` perform what it yields, one of
them blocking, the other on asyncio.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Generic, TypeAlias, TypeVar

from pydantic import ValidationError

from aitbc._http.transfer import Sink, Source
from aitbc.canonical import parse_json
from aitbc.errors import API_ERRORS, AITBCError, APIError, FormatError, TransportError
from aitbc.models import Record
from aitbc.statement import money

T = TypeVar("T")
RecordT = TypeVar("RecordT", bound=Record)

FIRST_ERROR = 300
_BACKOFF = 0.25
"""Seconds before the first repetition; doubled for each further one."""
_LONGEST_BACKOFF = 10.0
_LONGEST_RETRY_AFTER = 60.0
"""Seconds. A coordinator that asks for more patience than this gets its error shown instead."""
_REFUSED = frozenset({429, 503})
"""Statuses that promise that nothing was done."""
_GATEWAY = frozenset({502, 504})


@dataclass(frozen=True, slots=True)
class Session:
    """What every flow knows of its client. `retries` bounds the repetitions of one request."""

    retries: int


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. `repeatable` says that sending it twice does no more than sending it once.

    A body is either `content` or streamed from `source`; the body of a successful answer goes to `sink` where there is
    one. `patience` is seconds added to the usual time limit because the coordinator holds the answer, `limit` seconds
    that the limit may not exceed all the same.
    """

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    source: Source | None = None
    sink: Sink | None = None
    repeatable: bool = True
    patience: float = 0.0
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a request; `content` is empty when it went to a sink. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, slots=True)
class Sleep:
    """Pause for some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """Call a function that blocks on files; a driver on asyncio does so in a thread."""

    function: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Open:
    """Perform a request whose successful answer is read piece by piece. It takes the place of the one opened before."""

    request: Request


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a WebSocket and send its first message; every piece is a message then. It takes the place of what is open.

    The answer has the status 101, or is that of a server that refused.
    """

    request: Request
    first: bytes


@dataclass(frozen=True, slots=True)
class Receive:
    """Read the next piece of what is open."""


@dataclass(frozen=True, slots=True)
class Emit(Generic[T]):
    """Hand an item to the caller, who may take any time to ask for the next one, or never do."""

    item: T


Command: TypeAlias = Request | Sleep | Work
Answer: TypeAlias = Response | AITBCError | bytes | None
"""A response (without content when it was opened), or the error in its place; a piece of an open answer, empty at its
end, or the error in its place; None for the other commands."""
Flow: TypeAlias = Generator[Command, Answer, T]
Stream: TypeAlias = Generator[Command | Open | Connect | Receive | Emit[T], Answer, None]
"""A flow that hands over items as they come."""


def send(request: Request) -> Flow[Response | AITBCError]:
    """Perform one request once; an error of the transport is the answer, not raised."""
    return responded((yield request))


def responded(answer: Answer) -> Response | AITBCError:
    """The answer to a request. Raises `TypeError` for that to another command: a driver is at fault."""
    if answer is None or isinstance(answer, bytes):
        raise TypeError(f"A driver answered a request with {type(answer).__name__}.")
    return answer


def call(session: Session, request: Request) -> Flow[Response]:
    """Perform one request with repetitions.

    Raises `APIError` for an error answer, `TransportError` or `TimeoutError` when there is none.
    """
    attempt = 0
    while True:
        answer = yield from send(request)
        delay = retry_delay(request, answer, attempt)
        if delay is None or attempt >= session.retries:
            return checked(answer)
        yield Sleep(delay)
        attempt += 1


def fetch(session: Session, request: Request, model: type[RecordT]) -> Flow[RecordT]:
    """As `call`, and read the answer as `model`. Raises `TransportError` when it is none: something else answered."""
    response = yield from call(session, request)
    try:
        return model.model_validate(parse_json(response.content))
    except (FormatError, ValidationError) as error:
        what = f"{request.method} {request.path}"
        raise TransportError(f"The answer to {what} is not a coordinator's: {error}") from error


def post_json(path: str, body: Any, **more: Any) -> Request:
    """A request that posts a JSON value. It is repeatable when it carries an `Idempotency-Key`, or `more` says so."""
    headers = {"Content-Type": "application/json", **more.pop("headers", {})}
    repeatable = more.pop("repeatable", "Idempotency-Key" in headers)
    return Request("POST", path, headers=headers, content=json_body(body), repeatable=repeatable, **more)


def json_body(value: Any) -> bytes:
    """JSON bytes of a value that may hold mappings of any kind and decimals."""
    return json.dumps(value, default=_plain, allow_nan=False, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return money(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON.")


def retry_delay(request: Request, answer: Response | AITBCError, attempt: int) -> float | None:
    """Seconds to wait before the request is sent again, None when it must not be."""
    if request.source is not None and not request.source.repeatable:
        return None
    backoff = backoff_delay(attempt)
    if isinstance(answer, TransportError):
        return backoff if request.repeatable or not answer.sent else None
    if isinstance(answer, AITBCError):
        return backoff if request.repeatable else None
    if answer.status in _REFUSED:
        wanted = _retry_after(answer.headers)
        if wanted is None:
            return backoff
        return wanted if wanted <= _LONGEST_RETRY_AFTER else None
    return backoff if answer.status in _GATEWAY and request.repeatable else None


def backoff_delay(attempt: int) -> float:
    """Seconds before the next attempt: doubled each time up to a limit, and never the same for two clients."""
    return min(_LONGEST_BACKOFF, _BACKOFF * (1 << attempt)) * (0.5 + secrets.randbelow(1000) / 1000)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() else None


def checked(answer: Response | AITBCError) -> Response:
    """The answer, or its error raised."""
    if isinstance(answer, AITBCError):
        raise answer
    if answer.status >= FIRST_ERROR:
        raise api_error(answer)
    return answer


def api_error(response: Response) -> APIError:
    """The error of an answer, of the class for its code. An answer in another shape becomes code `HTTP_<status>`."""
    try:
        body = parse_json(response.content)
    except FormatError:
        body = None
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("code"), str):
        text = f"The server answered with HTTP status {response.status} and not in a coordinator's form."
        return APIError(response.status, f"HTTP_{response.status}", text)
    details, request_id = error.get("details"), error.get("request_id")
    return API_ERRORS.get(error["code"], APIError)(
        response.status,
        error["code"],
        str(error.get("message", "")),
        details if isinstance(details, dict) else None,
        request_id if isinstance(request_id, str) else None,
    )
