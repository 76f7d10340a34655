"""The client's calls without I/O: generators that yield commands (requests, pauses) and receive the answers.

Each call of the client is written once, as such a generator. The drivers in `aitbc._http.drivers` perform the commands, one
blocking and one on asyncio. The retry policy of the whole package is here, in `Retries`.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar
from urllib.parse import quote

from aitbc import errors
from aitbc._http.transfer import ResponseSink, Source
from aitbc.answers.fields import MalformedAnswerError
from aitbc.answers.record import Record
from aitbc.canonical import parse_json
from aitbc.errors import API_ERRORS, AITBCError, APIError, FormatError, TransportError
from aitbc.statement import money

if TYPE_CHECKING:  # flows get it from their client, and only some of them use it
    from aitbc._http.sealing import SealingState

T = TypeVar("T")
RecordT = TypeVar("RecordT", bound=Record)

FIRST_ERROR = 300
_BACKOFF = 0.25
"""Seconds before the first retry, doubled for each further one."""
_LONGEST_BACKOFF = 10.0
"""Seconds."""
_LONGEST_RETRY_AFTER = 60.0
"""Seconds. If a coordinator requests a longer wait, its error is raised instead."""
_REFUSED = frozenset({429, 503})
"""Statuses that guarantee that the request had no effect."""
_UNKNOWN = frozenset({404, 405, 422})
"""Statuses of a call or a field that a coordinator does not know."""
_VERSION = "x-aitbc-version"
"""The header with the coordinator's version; coordinators of version 0.2 send none."""
_MINOR = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})(?![0-9])")
_GATEWAY = frozenset({502, 504})


@dataclass(slots=True)
class DirectTransfers:
    """What is known of transfers past the coordinator, to and from its store of files.

    `uploads` is whether the coordinator offers them (None: not asked yet), and `max_whole` the maximum size in bytes of a file in one
    request. `downloads` is whether to try them.
    """

    uploads: bool | None = None
    max_whole: int = 0
    downloads: bool = True


@dataclass(frozen=True, slots=True)
class Session:
    """The client's settings that flows use. `retries` limits how often one request is repeated."""

    retries: int
    sealing: SealingState
    direct: DirectTransfers = field(default_factory=DirectTransfers)


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. `repeatable` means that it is idempotent.

    The body is either `content` or streamed from `source`. The body of a successful response is written to `sink`, if there is one.
    `extra_timeout` is added to the usual timeout, in seconds, because the coordinator delays the response; `limit` caps the sum.
    `is_elsewhere` means that `path` is a signed URL of the store of files, which must not get the key, and must not be shown.
    """

    method: str
    path: str
    params: Mapping[str, str | list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    source: Source | None = None
    sink: ResponseSink | None = None
    repeatable: bool = True
    extra_timeout: float = 0.0
    limit: float | None = None
    is_elsewhere: bool = False

    @property
    def name(self) -> str:
        """The request, for error messages."""
        return f"{self.method} {'a file in the store' if self.is_elsewhere else self.path}"


@dataclass(frozen=True, slots=True)
class Response:
    """The response to a request. `content` is empty when the body went to a sink. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, slots=True)
class Sleep:
    """Pause for some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class BlockingWork:
    """Call a function that blocks on files. The asyncio driver calls it in a thread."""

    function: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Open:
    """Perform a request whose successful response is read piece by piece. Closes the connection opened before."""

    request: Request


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a WebSocket and send its first message. Each piece is then a message. Closes the connection opened before.

    The answer has the status 101, or is the response of a server that refused the upgrade.
    """

    request: Request
    first: bytes


@dataclass(frozen=True, slots=True)
class Receive:
    """Read the next piece from the open connection."""


@dataclass(frozen=True, slots=True)
class Emit(Generic[T]):
    """Hand an item to the caller, who may request the next one at any later time, or never."""

    item: T


Command: TypeAlias = Request | Sleep | BlockingWork
Answer: TypeAlias = Response | AITBCError | bytes | None
"""To a request: the response (without content if it was opened), or an error. To `Receive`: a piece, empty at the end, or an
error. To any other command: None."""
Flow: TypeAlias = Generator[Command, Answer, T]
Stream: TypeAlias = Generator[Command | Open | Connect | Receive | Emit[T], Answer, None]
"""A flow that hands items over as they arrive."""


class Deadline:
    """When a call gives up: after some seconds, or never for None. `message` is that of its error."""

    def __init__(self, seconds: float | None, message: str) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds
        self._message = message

    @property
    def remaining(self) -> float | None:
        """The seconds that are left, None for no limit."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def check(self, delay: float = 0.0) -> None:
        """Raise `TimeoutError` if the deadline has passed, or will have after `delay` seconds."""
        if self._end is not None and time.monotonic() + delay >= self._end:
            raise errors.TimeoutError(self._message)


def send(request: Request) -> Flow[Response | AITBCError]:
    """Perform one request once. Returns a transport error instead of raising it."""
    return responded((yield request))


def responded(answer: Answer) -> Response | AITBCError:
    """Return the answer to a request. Raises `TypeError` if a driver answered with a value of another command."""
    # A mistake in a driver must not look like a mistake of the coordinator.
    if answer is None or isinstance(answer, bytes):
        raise TypeError(f"A driver answered a request with {type(answer).__name__}.")
    return answer


def call(session: Session, request: Request) -> Flow[Response]:
    """Perform one request, with retries.

    Raises `APIError` for an error response, `TransportError` or `TimeoutError` if there is no response.
    """
    retries = Retries(session)
    while True:
        answer = yield from send(request)
        delay = retries.delay(request, answer)
        if delay is None:
            return checked(answer)
        yield Sleep(delay)


def fetch(session: Session, request: Request, model: type[RecordT]) -> Flow[RecordT]:
    """Perform `call` and parse the response as `model`. Raises `TransportError` if it cannot be parsed."""
    # Outside of `try`: an error of the coordinator is not a malformed answer.
    response = yield from call(session, request)
    try:
        return model.read(parse_json(response.content))
    except (FormatError, MalformedAnswerError) as error:
        raise not_a_coordinators(request, error) from error


def query(session: Session, path: str, model: type[RecordT], /, **params: Any) -> Flow[RecordT]:
    """Fetch an answer. `params` are the query, without those that are None."""
    texts = {
        name: value if isinstance(value, list) else str(value) for name, value in present(params).items()
    }
    return fetch(session, Request("GET", path, params=texts), model)


def present(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def segment(text: str) -> str:
    """Return a text, such as an id, as a segment of a path."""
    return quote(text, safe="")


def not_a_coordinators(request: Request, error: Exception) -> TransportError:
    """Return the error for a successful response that no coordinator sends."""
    return TransportError(
        f"The response to {request.name} does not have the form of a coordinator's: {error}"
    )


def post_json(path: str, body: Any, **options: Any) -> Request:
    """Return a request that posts a JSON value. It is repeatable if it has an `Idempotency-Key`, or if `repeatable` is passed."""
    # With a key, the coordinator answers a repetition with its first answer, so retries are safe.
    headers = {"Content-Type": "application/json", **options.pop("headers", {})}
    repeatable = options.pop("repeatable", "Idempotency-Key" in headers)
    return Request("POST", path, headers=headers, content=json_body(body), repeatable=repeatable, **options)


def json_body(value: Any) -> bytes:
    """Encode a value as JSON. It may hold decimals and mappings of any kind."""
    return json.dumps(value, default=_plain, allow_nan=False, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    # Money is sent as text, because a float would change its last digits.
    if isinstance(value, Decimal):
        return money(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be encoded as JSON.")


class Retries:
    """The retry policy for one call: whether and when a request is sent again.

    A request is repeated after a transport error or a gateway's error if it is idempotent or was never sent, and after a refusal
    (429, 503) in any case. `transient` are further statuses that are worth a retry.
    """

    def __init__(self, session: Session, *, transient: Collection[int] = ()) -> None:
        self._limit = session.retries
        self._transient = transient
        self._count = 0

    def restart(self) -> None:
        """Count from zero again, because the call made progress."""
        self._count = 0

    def delay(self, request: Request, answer: Response | AITBCError) -> float | None:
        """Return the seconds to wait before the request is sent again, or None if it must not be."""
        # A pipe cannot be read a second time, so its upload has one attempt.
        if self._count >= self._limit or (request.source is not None and not request.source.repeatable):
            return None
        seconds = self._seconds(request, answer)
        self._count += seconds is not None
        return seconds

    def _seconds(self, request: Request, answer: Response | AITBCError) -> float | None:
        if isinstance(answer, AITBCError):
            # A request that never reached the coordinator had no effect there.
            unsent = isinstance(answer, TransportError) and not answer.sent
            return self._backoff() if request.repeatable or unsent else None
        if answer.status in _REFUSED:
            # The coordinator knows best when it is ready again, so its wish goes before our own pauses.
            requested = _retry_after(answer.headers)
            if requested is None:
                return self._backoff()
            # A program that silently sleeps for an hour helps nobody; its caller can decide better.
            return requested if requested <= _LONGEST_RETRY_AFTER else None
        # A gateway does not say whether the coordinator received the request, hence the second condition.
        retried = answer.status in self._transient or (answer.status in _GATEWAY and request.repeatable)
        return self._backoff() if retried else None

    def _backoff(self) -> float:
        """Return a pause that doubles with each retry up to a limit, with jitter so that clients do not retry in step."""
        return min(_LONGEST_BACKOFF, _BACKOFF * (1 << self._count)) * (0.5 + secrets.randbelow(1000) / 1000)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() else None


def checked(answer: Response | AITBCError) -> Response:
    """Return a successful response; raise any other as its error."""
    if isinstance(answer, AITBCError):
        raise answer
    if answer.status >= FIRST_ERROR:
        raise api_error(answer)
    return answer


def _of_older_coordinator(response: Response) -> str:
    """Return a sentence if a coordinator may refuse a call only because it is older than this library, else nothing."""
    stated, own = response.headers.get(_VERSION, ""), version("aitbc")
    theirs, ours = _MINOR.match(stated), _MINOR.match(own)
    if response.status not in _UNKNOWN or theirs is None or ours is None:
        return ""
    if (int(theirs[1]), int(theirs[2])) >= (int(ours[1]), int(ours[2])):
        return ""
    return f" The coordinator's version, {stated}, is older than this library's, {own}: it may not know this call or field yet."


def api_error(response: Response) -> APIError:
    """Return the error that a response describes. A response in another shape gets the code `HTTP_<status>`."""
    try:
        body = parse_json(response.content)
    except FormatError:
        body = None
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("code"), str):
        # Proxies and load balancers answer in forms of their own.
        text = f"The server responded with HTTP status {response.status}, but not in the form of a coordinator's error."
        return APIError(response.status, f"HTTP_{response.status}", text)
    details, request_id = error.get("details"), error.get("request_id")
    # A newer coordinator may have codes that this version does not know; the base class carries those.
    return API_ERRORS.get(error["code"], APIError)(
        response.status,
        error["code"],
        f"{error.get('message', '')}{_of_older_coordinator(response)}",
        details if isinstance(details, dict) else None,
        request_id if isinstance(request_id, str) else None,
    )
