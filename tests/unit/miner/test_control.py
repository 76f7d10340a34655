"""The control socket, with real sockets."""

from __future__ import annotations

import asyncio
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from agent.miner.control import CallRefused, ControlServer, ControlUnavailable, ask

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.mark.parametrize("depth", [1, 30], ids=["short path", "path over the kernel limit"])
async def test_a_call_is_answered(tmp_path: Path, depth: int) -> None:
    data_dir = tmp_path.joinpath(*["directory"] * depth)
    (data_dir / "miner").mkdir(parents=True)
    server = ControlServer(data_dir / "miner", {"double": lambda request: {"number": 2 * request["number"]}})
    await server.start()
    try:
        assert await ask(data_dir, "double", number=21) == {"number": 42}
        with pytest.raises(CallRefused, match="double"):
            await ask(data_dir, "unknown")
        assert stat.S_IMODE((data_dir / "miner/control.sock").stat().st_mode) == 0o600
    finally:
        await server.close()
    with pytest.raises(ControlUnavailable, match="No agent answers"):
        await ask(data_dir, "double", number=1)


async def test_the_socket_of_an_earlier_daemon_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "miner").mkdir()
    for _ in range(2):
        server = ControlServer(tmp_path / "miner", {"ping": lambda _: {}})
        await server.start()
        assert await ask(tmp_path, "ping") == {}
        assert server._server is not None
        server._server.close()  # without removing the socket, as after a kill
        await server._server.wait_closed()


async def test_malformed_requests_do_not_disturb_the_server(tmp_path: Path) -> None:
    (tmp_path / "miner").mkdir()
    server = ControlServer(tmp_path / "miner", {"ping": lambda _: {}})
    await server.start()
    for malformed in (b"\xff\xff\n", b"[]\n", b"x" * 2**21 + b"\n", b""):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "miner/control.sock"))
        with suppress(ConnectionError):  # a line over the limit is not read to its end
            writer.write(malformed)
            writer.write_eof()
            assert b"ping" in await reader.read() or len(malformed) > 2**20
        writer.close()
    assert await ask(tmp_path, "ping") == {}
    await server.close()
