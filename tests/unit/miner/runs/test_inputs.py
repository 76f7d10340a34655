"""Fetching inputs over real TLS from a real server on this machine.

Only the network is simulated: a table of names replaces DNS, and each public address leads to a local server. The
checks see the same addresses as on the internet.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.miner.runs.inputs import FetchedFile, InputRefused, InputUnavailable, fetch
from agent.miner.settings import InputSettings
from agent.network import Network
from runners.api import Fail, Retry

CONTENT = bytes(range(256)) * 9000  # more than two of the buffers in which it is written
PUBLIC = "93.184.215.14"
AUTHORITY = trustme.CA()

Page = Callable[[asyncio.StreamWriter], Awaitable[None]]


def answer(status: str = "200 OK", body: bytes = b"", **headers: str) -> Page:
    async def write(writer: asyncio.StreamWriter) -> None:
        fields = {"Content-Length": str(len(body))} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body)

    return write


def redirect(location: str, status: str = "302 Found") -> Page:
    return answer(status, Location=location)


async def endless(writer: asyncio.StreamWriter) -> None:
    """A body without a length that never ends."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + bytes(2**16) + b"\r\n")
        await writer.drain()


async def drip(writer: asyncio.StreamWriter) -> None:
    """Sends single bytes without end."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.02)


async def silence(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def cut_off(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")


class Internet:
    """Names, addresses and one server behind all public addresses. `resolved` and `reached` record what a fetch did."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {"/file": answer(body=CONTENT)}
        self.names: dict[str, Iterable[Sequence[str]]] = {"files.example": iter([[PUBLIC]] * 99)}
        self.refusing: set[str] = set()
        self.resolved: list[str] = []
        self.reached: list[tuple[str, int]] = []
        self.requests: list[str] = []
        self.port = {True: 0, False: 0}

    async def resolve(self, host: str, _port: int) -> Sequence[str]:
        self.resolved.append(host)
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return next(iter(self.names[host]))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.requests.append(head)
            await self.pages[head.split()[1].partition("?")[0]](writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has closed the connection
        finally:
            writer.transport.abort() if writer.is_closing() else writer.close()


class Wires(httpcore.AsyncNetworkBackend):
    """Connects public addresses to the local server, and refuses all others."""

    def __init__(self, internet: Internet) -> None:
        self._internet = internet
        self._real = httpcore.AnyIOBackend()

    async def connect_tcp(self, host: str, port: int, *rest: Any) -> httpcore.AsyncNetworkStream:
        self._internet.reached.append((host, port))
        if host in self._internet.refusing:
            raise httpcore.ConnectError("refused")
        local = self._internet.port[port not in (80, 8080)]
        return await self._real.connect_tcp("127.0.0.1", local, *rest)


@asynccontextmanager
async def running(internet: Internet) -> AsyncIterator[Network]:
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    AUTHORITY.issue_cert("files.example", "other.example", PUBLIC).configure_cert(server_tls)
    client_tls = ssl.create_default_context()
    AUTHORITY.configure_trust(client_tls)
    secure = await asyncio.start_server(internet.serve, "127.0.0.1", 0, ssl=server_tls)
    plain = await asyncio.start_server(internet.serve, "127.0.0.1", 0)
    try:
        internet.port = {True: secure.sockets[0].getsockname()[1], False: plain.sockets[0].getsockname()[1]}
        yield Network(internet.resolve, Wires(internet), client_tls)
    finally:
        secure.close()
        plain.close()


def no_artifacts(artifact_id: str) -> Any:
    raise AssertionError(f"{artifact_id} was not to be fetched")


@pytest.fixture
def internet() -> Internet:
    return Internet()


def get(internet: Internet, target: Path, reference: str | Mapping[str, Any], **limits: Any) -> FetchedFile:
    async def run() -> FetchedFile:
        async with asyncio.timeout(60), running(internet) as network:
            chosen = InputSettings(**{"timeout_seconds": 10, **limits})
            return await fetch(reference, target, artifacts=no_artifacts, limits=chosen, network=network)

    return asyncio.run(run())


def refused(internet: Internet, directory: Path, reference: str, **limits: Any) -> InputRefused:
    """Return the refusal, after checking that no file is left."""
    with pytest.raises(InputRefused) as caught:
        get(internet, directory / "input", reference, **limits)
    assert list(directory.iterdir()) == []
    return caught.value


def unavailable(internet: Internet, directory: Path, reference: str, **limits: Any) -> InputUnavailable:
    """Return the error, after checking that no file is left."""
    with pytest.raises(InputUnavailable) as caught:
        get(internet, directory / "input", reference, **limits)
    assert list(directory.iterdir()) == []
    return caught.value


def test_a_file_is_fetched_completely_with_its_digest(internet: Internet, tmp_path: Path):
    found = get(internet, tmp_path / "input", "https://files.example/file?signature=secret#part")
    assert found == FetchedFile(tmp_path / "input", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
    assert (tmp_path / "input").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["input"]
    assert internet.reached == [(PUBLIC, 443)]
    assert internet.requests[0].startswith("GET /file?signature=secret HTTP/1.1\r\nHost: files.example\r\n")


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.text(), st.text(alphabet="ab01:/@[]%.#?\\_- ", max_size=12).map(lambda text: f"https://{text}")
    )
)
def test_malformed_addresses_are_refused_without_another_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
):
    class Wildcard(Internet):
        async def resolve(self, _host: str, _port: int) -> Sequence[str]:
            return [PUBLIC]

    internet = Wildcard()
    internet.pages = defaultdict(lambda: answer("404 Not Found"))
    with pytest.raises((InputRefused, InputUnavailable)):
        get(internet, tmp_path_factory.getbasetemp() / "input", text)


def test_inline_text_becomes_a_file(internet: Internet, tmp_path: Path):
    found = get(internet, tmp_path / "input", {"inline": "print('ä')\n"})
    assert (tmp_path / "input").read_text(encoding="utf-8") == "print('ä')\n"
    assert found.size == 12


def test_an_address_may_be_a_public_ip(internet: Internet, tmp_path: Path):
    assert get(internet, tmp_path / "input", f"https://{PUBLIC}/file").size == len(CONTENT)
    assert internet.resolved == []


@pytest.mark.parametrize(
    "reference",
    [
        "http://files.example/file",
        "file:///etc/passwd",
        "ftp://files.example/file",
        "gopher://files.example/file",
        "/etc/passwd",
        "https:///file",
        "https://user:secret@files.example/file",
        "https://files.example:22/file",
        "https://files.example:99999/file",
        "https://[::1/file",
        "https://.files.example/file",
        "https://files..example/file",
        "https://a%20b/file",
        "https://xn--a/file",
        "artifact:md5:abc",
        "",
    ],
)
def test_addresses_of_other_kinds_are_refused_without_a_connection(
    internet: Internet, tmp_path: Path, reference: str
):
    error = refused(internet, tmp_path, reference)
    assert isinstance(error, Fail)
    assert error.code == "INPUT_REFUSED"
    assert "secret" not in str(error)
    assert (internet.resolved, internet.reached) == ([], [])


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "10.1.2.3",
        "169.254.169.254",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "0.0.0.0",  # noqa: S104 - nothing is bound
    ],
)
def test_private_addresses_are_refused_without_a_connection(internet: Internet, tmp_path: Path, host: str):
    error = refused(internet, tmp_path, f"https://{host}/file")
    assert "is not on the public internet" in str(error)
    assert internet.reached == []


@pytest.mark.parametrize("answers", [["10.0.0.7"], [PUBLIC, "10.0.0.7"], ["::1", PUBLIC]])
def test_a_name_with_any_private_address_is_refused_without_saying_which(
    internet: Internet, tmp_path: Path, answers: list[str]
):
    internet.names["inside.example"] = [answers]
    error = refused(internet, tmp_path, "https://inside.example/file")
    assert "10.0.0.7" not in str(error)
    assert internet.reached == []


def test_a_name_is_resolved_only_once(internet: Internet, tmp_path: Path):
    """DNS rebinding: the second answer would be private, but there is no second query."""
    internet.names["files.example"] = iter([[PUBLIC], ["127.0.0.1"]])
    assert get(internet, tmp_path / "input", "https://files.example/file").size == len(CONTENT)
    assert internet.resolved == ["files.example"]
    assert internet.reached == [(PUBLIC, 443)]


def test_a_name_that_becomes_private_at_a_redirect_is_refused(internet: Internet, tmp_path: Path):
    internet.pages["/moved"] = redirect("/file")
    internet.names["files.example"] = iter([[PUBLIC], ["127.0.0.1"]])
    refused(internet, tmp_path, "https://files.example/moved")
    assert internet.reached == [(PUBLIC, 443)]


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"]
)
@pytest.mark.parametrize("location", ["/file", "https://other.example/file", "//other.example:8443/file"])
def test_redirects_are_followed(internet: Internet, tmp_path: Path, status: str, location: str):
    internet.pages["/moved"] = redirect(location, status)
    internet.names["other.example"] = [["1.1.1.1"]]
    assert get(internet, tmp_path / "input", "https://files.example/moved").size == len(CONTENT)


@pytest.mark.parametrize(
    "location",
    [
        "https://127.0.0.1/file",
        "https://[::1]:8443/file",
        "https://169.254.169.254/latest/meta-data",
        "https://inside.example/file",
        "http://files.example/file",
        "file:///etc/passwd",
        "https://user:word@files.example/file",
        "https://files.example:25/file",
    ],
)
def test_each_redirect_is_checked_like_the_first_address(internet: Internet, tmp_path: Path, location: str):
    internet.pages["/moved"] = redirect(location)
    internet.names["inside.example"] = [["192.168.0.1"]]
    refused(internet, tmp_path, "https://files.example/moved")
    assert internet.reached == [(PUBLIC, 443)]


def test_the_number_of_redirects_is_limited(internet: Internet, tmp_path: Path):
    internet.pages["/loop"] = redirect("/loop")
    error = refused(internet, tmp_path, "https://files.example/loop", max_redirects=3)
    assert "more than 3 times" in str(error)
    assert len(internet.reached) == 4


def test_http_is_fetched_if_the_owner_allows_it(internet: Internet, tmp_path: Path):
    assert get(internet, tmp_path / "input", "http://files.example:8080/file", allow_http=True).size == len(
        CONTENT
    )


def test_private_addresses_are_fetched_if_the_owner_allows_them(internet: Internet, tmp_path: Path):
    internet.names["files.example"] = [["10.0.0.7"]]
    assert get(internet, tmp_path / "input", "https://files.example/file", allow_private=True).size == len(
        CONTENT
    )


async def only_a_length(writer: asyncio.StreamWriter) -> None:
    """Announces 5000 bytes and sends none, so that only the header shows the size."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
    await silence(writer)


@pytest.mark.parametrize("page", [only_a_length, endless])
def test_a_file_that_is_too_large_is_refused(internet: Internet, tmp_path: Path, page: Page):
    internet.pages["/large"] = page
    error = refused(internet, tmp_path, "https://files.example/large", max_size=4999)
    assert error.code == "INPUT_TOO_LARGE"
    assert "4999 bytes" in str(error)


def test_a_file_of_exactly_the_maximum_size_is_accepted(internet: Internet, tmp_path: Path):
    internet.pages["/large"] = answer(body=bytes(5000))
    assert get(internet, tmp_path / "input", "https://files.example/large", max_size=5000).size == 5000


@pytest.mark.parametrize("page", [drip, silence])
def test_a_slow_server_is_abandoned_at_the_time_limit(internet: Internet, tmp_path: Path, page: Page):
    internet.pages["/slow"] = page
    error = unavailable(internet, tmp_path, "https://files.example/slow", timeout_seconds=0.4)
    assert isinstance(error, Retry)
    assert "within 0.4 s" in str(error)


@pytest.mark.parametrize(
    ("status", "code"), [("404 Not Found", 404), ("403 Forbidden", 403), ("410 Gone", 410)]
)
def test_a_missing_file_fails_the_job(internet: Internet, tmp_path: Path, status: str, code: int):
    internet.pages["/missing"] = answer(status)
    error = refused(internet, tmp_path, "https://files.example/missing")
    assert error.code == "INPUT_UNAVAILABLE"
    assert f"answered {code}" in str(error)


@pytest.mark.parametrize(
    "page", [answer("503 Busy"), answer("429 Slow Down"), cut_off], ids=["503", "429", "cut off"]
)
def test_a_temporary_error_is_retried(internet: Internet, tmp_path: Path, page: Page):
    internet.pages["/moody"] = page
    assert unavailable(internet, tmp_path, "https://files.example/moody").code == "INPUT_UNAVAILABLE"


def test_a_compressed_answer_is_refused(internet: Internet, tmp_path: Path):
    internet.pages["/packed"] = answer(body=b"...", Content_Encoding="gzip")
    assert "compressed" in str(refused(internet, tmp_path, "https://files.example/packed"))


def test_a_certificate_for_another_name_is_refused(internet: Internet, tmp_path: Path):
    internet.names["impostor.example"] = [[PUBLIC]]
    error = refused(internet, tmp_path, "https://impostor.example/file")
    assert "certificate of impostor.example is not valid" in str(error)
    assert internet.requests == []


def test_a_certificate_of_an_unknown_authority_is_refused(
    internet: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    stranger = trustme.CA()
    monkeypatch.setattr(AUTHORITY, "issue_cert", stranger.issue_cert)
    error = refused(internet, tmp_path, "https://files.example/file")
    assert "certificate of files.example is not valid" in str(error)


def test_a_name_that_does_not_exist_fails_the_job(internet: Internet, tmp_path: Path):
    error = refused(internet, tmp_path, "https://nowhere.example/file")
    assert error.code == "INPUT_UNAVAILABLE"
    assert "There is no host nowhere.example" in str(error)


def test_another_address_of_a_host_is_tried_when_one_refuses(internet: Internet, tmp_path: Path):
    internet.names["files.example"] = [["2606:4700::1", PUBLIC]]
    internet.refusing = {"2606:4700::1"}
    assert get(internet, tmp_path / "input", "https://files.example/file").size == len(CONTENT)
    internet.refusing = {"2606:4700::1", PUBLIC}
    (tmp_path / "input").unlink()
    unavailable(internet, tmp_path, "https://files.example/file")


def test_a_full_disk_is_a_machine_fault_and_leaves_no_partial_file(internet: Internet, tmp_path: Path):
    (tmp_path / "input").symlink_to("/dev/full")  # where writing fails as on a full disk
    error = unavailable(internet, tmp_path, "https://files.example/file")
    assert error.code == "DISK_FULL"
    assert "No space left on device" in str(error)


def test_a_missing_directory_is_a_machine_fault(internet: Internet, tmp_path: Path):
    with pytest.raises(InputUnavailable) as caught:
        get(internet, tmp_path / "missing" / "input", {"inline": "text"})
    assert caught.value.code == "DISK_FAULT"


# In other tests the coordinator is a real HTTP server; here httpx answers for it.


def get_artifact(
    target: Path, content: bytes, response: httpx.Response | Exception, **limits: Any
) -> FetchedFile:
    def handle(request: httpx.Request) -> httpx.Response:
        assert request.url.path == f"/v1/artifacts/sha256:{hashlib.sha256(content).hexdigest()}"
        if isinstance(response, Exception):
            raise response
        return response

    async def run() -> FetchedFile:
        async with httpx.AsyncClient(
            transport=httpx.MockTransport(handle), base_url="http://coordinator"
        ) as client:
            return await fetch(
                f"artifact:sha256:{hashlib.sha256(content).hexdigest()}",
                target,
                artifacts=lambda artifact_id: client.stream("GET", f"/v1/artifacts/{artifact_id}"),
                limits=InputSettings(**limits),
            )

    return asyncio.run(run())


def test_an_artifact_is_fetched_and_checked(tmp_path: Path):
    found = get_artifact(tmp_path / "input", CONTENT, httpx.Response(200, content=CONTENT))
    assert found == FetchedFile(tmp_path / "input", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200, content=b"something else"),
        httpx.Response(502),
        httpx.Response(401),
        httpx.ConnectError("no route"),
        httpx.ReadTimeout("slow"),
    ],
    ids=["damaged", "502", "old session", "unreachable", "slow"],
)
def test_a_corrupted_artifact_is_retried(tmp_path: Path, response: httpx.Response | Exception):
    with pytest.raises(InputUnavailable):
        get_artifact(tmp_path / "input", b"content", response)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_or_too_large_artifact_fails_the_job(tmp_path: Path):
    with pytest.raises(InputRefused) as missing:
        get_artifact(tmp_path / "input", b"content", httpx.Response(404))
    with pytest.raises(InputRefused) as large:
        get_artifact(tmp_path / "input", CONTENT, httpx.Response(200, content=CONTENT), max_size=1000)
    assert (missing.value.code, large.value.code) == ("INPUT_UNAVAILABLE", "INPUT_TOO_LARGE")
    assert list(tmp_path.iterdir()) == []
