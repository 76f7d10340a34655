"""The two drivers, blocking and asyncio, which perform the commands of flows. All decisions are made in the flows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import AsyncExitStack, ExitStack, aclosing, closing
from typing import Any, TypeVar

import httpx

from aitbc import errors
from aitbc._http import client_spans
from aitbc._http.flow import (
    FIRST_ERROR,
    Answer,
    BlockingWork,
    Command,
    Connect,
    Emit,
    Flow,
    Open,
    Receive,
    Request,
    Response,
    Sleep,
    Stream,
)
from aitbc._http.transfer import Source
from aitbc.errors import AITBCError, ConfigurationError, TransportError

T = TypeVar("T")


class Driver:
    """Runs flows on a blocking `httpx.Client`."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def run(self, flow: Flow[T]) -> T:
        """Perform every command of the flow. Returns its result, or raises its error."""
        answer: Answer = None
        try:
            while True:
                answer = self._perform(flow.send(answer))
        # A generator's `return` arrives here: it is the flow's result.
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            # A flow that is not at its end, such as after Ctrl-C, still runs its `finally`: it closes files and removes partial ones.
            flow.close()

    def _perform(self, command: Command) -> Answer:
        match command:
            case Sleep():
                time.sleep(command.seconds)
                return None
            case BlockingWork():
                command.function()
                return None
        try:
            return self._send(command)
        except (TransportError, httpx.HTTPError) as error:
            # An error is an answer too: the flow decides whether to try again, so that no driver has a policy of its own.
            return failure(error, command)

    def iterate(self, flow: Stream[T]) -> Generator[T, None, None]:
        """Perform the commands of the flow, and yield the items that it emits."""
        answer: Answer = None
        content: Generator[Answer, None, None] | None = None
        # The caller may stop iterating at any `yield`; the connection then closes with this block.
        with closing(flow), ExitStack() as opened:
            while True:
                try:
                    command = flow.send(answer)
                except StopIteration:
                    return
                match command:
                    case Emit(item):
                        yield item
                        answer = None
                    case Open() | Connect():
                        # A flow reads from one connection at a time: the next one replaces the one that broke.
                        opened.close()
                        content = opened.enter_context(closing(self._opened(command)))
                        answer = next(content)
                    case Receive():
                        answer = None if content is None else next(content, None)
                    case _:
                        answer = self._perform(command)

    def _opened(self, command: Open | Connect) -> Generator[Answer, None, None]:
        if not isinstance(command, Connect):
            return self._open(command.request)
        from aitbc._http.sockets import connected  # noqa: PLC0415 - few clients follow events

        return connected(self._http, command)

    def _open(self, request: Request) -> Generator[Answer, None, None]:
        """Yield the response, then its content piece by piece and an empty piece at the end. An error ends the iteration."""
        try:
            with self._http.stream(**_arguments(request, self._http)) as answer:
                if answer.status_code >= FIRST_ERROR:
                    # An error has a short body, which the flow needs whole for its message.
                    yield Response(answer.status_code, answer.headers, answer.read())
                    return
                yield Response(answer.status_code, answer.headers, b"")
                yield from answer.iter_bytes()
            # The empty piece says that the response ended as announced; without it, the connection broke.
            yield b""
        except httpx.HTTPError as error:
            yield failure(error, request)

    def _send(self, request: Request) -> Response:
        content = request.content if request.source is None else _reported(request.source)
        with closing(self._http.send(_built(self._http, request, content), stream=True)) as answer:
            if request.sink is None or answer.status_code >= FIRST_ERROR:
                return Response(answer.status_code, answer.headers, answer.read())
            # Only after the status is known: a refusal must not overwrite the part of the file that is on disk already.
            request.sink.begin(answer.status_code, answer.headers)
            # Raw, because a decoded body would have other bytes than those that the digest is about.
            for chunk in answer.iter_raw():
                request.sink.write(chunk)
            return Response(answer.status_code, answer.headers, b"")


class AsyncDriver:
    """Runs flows on an `httpx.AsyncClient`. File operations run in threads."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def run(self, flow: Flow[T]) -> T:
        """Perform every command of the flow. Returns its result, or raises its error."""
        answer: Answer = None
        try:
            while True:
                answer = await self._perform(flow.send(answer))
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            flow.close()

    async def _perform(self, command: Command) -> Answer:
        match command:
            case Sleep():
                await asyncio.sleep(command.seconds)
                return None
            case BlockingWork():
                await asyncio.to_thread(command.function)
                return None
        try:
            return await self._send(command)
        except (TransportError, httpx.HTTPError) as error:
            return failure(error, command)

    async def iterate(self, flow: Stream[T]) -> AsyncGenerator[T, None]:
        """Perform the commands of the flow, and yield the items that it emits."""
        answer: Answer = None
        content: AsyncGenerator[Answer, None] | None = None
        with closing(flow):
            async with AsyncExitStack() as opened:
                while True:
                    try:
                        command = flow.send(answer)
                    except StopIteration:
                        return
                    match command:
                        case Emit(item):
                            yield item
                            answer = None
                        case Open() | Connect():
                            await opened.aclose()
                            content = await opened.enter_async_context(aclosing(self._opened(command)))
                            answer = await anext(content)
                        case Receive():
                            answer = None if content is None else await anext(content, None)
                        case _:
                            answer = await self._perform(command)

    def _opened(self, command: Open | Connect) -> AsyncGenerator[Answer, None]:
        if isinstance(command, Connect):
            from aitbc._http.sockets import connected_async  # noqa: PLC0415 - as above

            return connected_async(self._http, command)
        return self._open(command.request)

    async def _open(self, request: Request) -> AsyncGenerator[Answer, None]:
        """Yield the response, then its content piece by piece and an empty piece at the end. An error ends the iteration."""
        try:
            async with self._http.stream(**_arguments(request, self._http)) as answer:
                if answer.status_code >= FIRST_ERROR:
                    yield Response(answer.status_code, answer.headers, await answer.aread())
                    return
                yield Response(answer.status_code, answer.headers, b"")
                async for piece in answer.aiter_bytes():
                    yield piece
            yield b""
        except httpx.HTTPError as error:
            yield failure(error, request)

    async def _send(self, request: Request) -> Response:
        content = request.content if request.source is None else _in_thread(request.source)
        built = _built(self._http, request, content)
        async with aclosing(await self._http.send(built, stream=True)) as answer:
            if request.sink is None or answer.status_code >= FIRST_ERROR:
                return Response(answer.status_code, answer.headers, await answer.aread())
            # Disks can be slow, and the event loop belongs to the caller's program.
            await asyncio.to_thread(request.sink.begin, answer.status_code, answer.headers)
            async for chunk in answer.aiter_raw():
                await asyncio.to_thread(request.sink.write, chunk)
            return Response(answer.status_code, answer.headers, b"")


def _reported(source: Source) -> Iterator[bytes]:
    for chunk in source.chunks():
        yield chunk
        # After the chunk was taken, so that the progress never runs ahead of the network.
        source.report()


async def _in_thread(source: Source) -> AsyncIterator[bytes]:
    chunks = source.chunks()
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk
        source.report()


def _arguments(request: Request, http: httpx.Client | httpx.AsyncClient) -> dict[str, Any]:
    # The store of files is another party, which has no part in the trace.
    headers = {**({} if request.is_elsewhere else client_spans.headers()), **request.headers}
    if request.source is not None and request.source.length is not None:
        # Without it, httpx would send chunks, which stores with signed URLs and some proxies refuse.
        headers["Content-Length"] = str(request.source.length)
    if request.sink is not None:
        # Digests and ranges apply to the bytes of the file itself.
        headers["Accept-Encoding"] = "identity"
    timeout = http.timeout.as_dict()
    # None stays None: no limit at all.
    timeout["read"] = timeout["read"] and timeout["read"] + request.extra_timeout
    if (limit := request.limit) is not None:
        timeout = {step: limit if usual is None else min(limit, usual) for step, usual in timeout.items()}
    return {
        "method": request.method,
        "url": request.path,
        "params": dict(request.params) or None,
        "headers": headers,
        "timeout": httpx.Timeout(**timeout),
    }


def _built(http: httpx.Client | httpx.AsyncClient, request: Request, content: Any) -> httpx.Request:
    built = http.build_request(**_arguments(request, http), content=content)
    if request.is_elsewhere:
        # The store is another party, and its signed URL is permission enough: the account's key must not reach it.
        built.headers.pop("Authorization", None)
    return built


def failure(error: TransportError | httpx.HTTPError, request: Request) -> AITBCError:
    """Convert an httpx error to one of this package."""
    if isinstance(error, TransportError):
        return error
    call = request.name
    if isinstance(error, httpx.UnsupportedProtocol):
        return ConfigurationError(f"The coordinator's URL is invalid: {error}")
    # Nothing was sent in these cases, so even a request that is not idempotent may be repeated.
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)):
        unreached = TransportError(
            f"{'The store of files' if request.is_elsewhere else 'The coordinator'} cannot be reached: {str(error) or 'timeout while connecting'}.",
            sent=False,
        )
        unreached.__cause__ = error  # it may be a refused certificate
        return unreached
    if isinstance(error, httpx.TimeoutException):
        return errors.TimeoutError(f"The coordinator did not respond to {call} in time.")
    return TransportError(f"The connection to the coordinator broke during {call}: {error}.")
