"""The control socket, with real sockets."""

from __future__ import annotations

import asyncio
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from agent.miner.control import ControlServer, ControlUnavailable, Refused, ask

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.mark.parametrize("depth", [1, 30], ids=["short path", "path longer than the kernel takes"])
async def test_asks_and_answers(tmp_path: Path, depth: int) -> None:
    data_dir = tmp_path.joinpath(*["directory"] * depth)
    (data_dir / "miner").mkdir(parents=True)
    server = ControlServer(data_dir / "miner", {"double": lambda request: {"number": 2 * request["number"]}})
    await server.start()
    try:
        assert await ask(data_dir, "double", number=21) == {"number": 42}
        with pytest.raises(Refused, match="double"):
            await ask(data_dir, "unknown")
        assert stat.S_IMODE((data_dir / "miner/control.sock").stat().st_mode) == 0o600
    finally:
        await server.close()
    with pytest.raises(ControlUnavailable, match="No agent answers"):
        await ask(data_dir, "double", number=1)


async def test_socket_of_a_former_life_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "miner").mkdir()
    for _ in range(2):
        server = ControlServer(tmp_path / "miner", {"ping": lambda _: {}})
        await server.start()
        assert await ask(tmp_path, "ping") == {}
        assert server._server is not None
        server._server.close()  # without removing the socket, as a kill would
        await server._server.wait_closed()


async def test_nonsense_does_not_disturb(tmp_path: Path) -> None:
    (tmp_path / "miner").mkdir()
    server = ControlServer(tmp_path / "miner", {"ping": lambda _: {}})
    await server.start()
    for nonsense in (b"\xff\xff\n", b"[]\n", b"x" * 2**21 + b"\n", b""):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "miner/control.sock"))
        with suppress(ConnectionError):  # a line that is far too long is not even read
            writer.write(nonsense)
            writer.write_eof()
            assert b"ping" in await reader.read() or len(nonsense) > 2**20
        writer.close()
    assert await ask(tmp_path, "ping") == {}
    await server.close()
