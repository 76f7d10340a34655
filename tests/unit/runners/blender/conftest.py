"""Real scenes, made once by Blender itself, and renderings of them in the real sandbox."""

from __future__ import annotations

import json
import os
import shutil
import socket
from pathlib import Path

import pytest
from PIL import Image

from runners.api import Device, Fail, Retry, Tools
from runners.blender import BlenderRunner
from runners.blender.request import RenderRequest
from support.inputs.blender_scenes import ATTACK, MAKE_ATTACK, MAKE_SCENES, SMALL, URL, blender


@pytest.fixture(scope="session")
def device() -> Device:
    """The probe's own device, so that one start of Blender serves the probe and the runs."""
    return Device("cpu", "any")


@pytest.fixture(scope="session")
def tools(tmp_path_factory) -> Tools:
    """The same for all tests: the probe of Blender, which starts it, is cached by tools and device.

    AITBC_TEST_BLENDER names another Blender than the installed one, such as a Python with the module bpy.
    """
    directory = tmp_path_factory.mktemp("tools")
    blender = os.environ.get("AITBC_TEST_BLENDER")
    return Tools(models_dir=directory / "models", cache_dir=directory / "cache", blender=blender)


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """A folder with `scene.blend`, whose cube moves from frame 1 to 10, and the same scene compressed."""
    directory = tmp_path_factory.mktemp("scenes")
    script = directory / "make.py"
    script.write_text(MAKE_SCENES)
    blender("--python-exit-code", 1, "-P", script, "--", directory)
    return directory


@pytest.fixture
def render(tools, device, make_context, scenes):
    """Render with small settings unless others are given; return the result and the context."""

    def run(file="scene.blend", timeout=60.0, checkpoints=None, small=SMALL, **fields):
        context = make_context({"blend_file_url": scenes / file}, timeout)
        for name, content in (checkpoints or {}).items():
            context.checkpoints[name] = context.resumed_from / name
            context.checkpoints[name].write_bytes(content)
        request = RenderRequest.model_validate({"blend_file_url": URL, **small, **fields})
        return BlenderRunner(tools, device).run(request, context), context

    return run


@pytest.fixture
def refused(render):
    """Render what cannot be rendered; return the error."""

    def run(*arguments, **fields):
        with pytest.raises((Fail, Retry)) as caught:
            render(*arguments, **fields)
        return caught.value

    return run


@pytest.fixture(scope="session")
def first_frame(tools, device, scenes, make_context):
    """The picture of frame 1 with small settings."""
    context = make_context({"blend_file_url": scenes / "scene.blend"})
    result = BlenderRunner(tools, device).run(RenderRequest(blend_file_url=URL, frame=1, **SMALL), context)
    (frame,) = result.results["frames"]
    return frame.path


class Attack:
    """A scene that attacks in every known way, the directory where it would leave traces, and a listener that it calls."""

    def __init__(self, directory: Path, server: socket.socket) -> None:
        self.file = directory / "attack.blend"
        self.secret = "the miner's key"  # noqa: S105 - planted
        self._traces = directory / "traces"
        self._server = server
        (directory / "secret.txt").write_text(self.secret)
        Image.new("RGB", (8, 8), "red").save(directory / "private.png")
        self._traces.mkdir()
        values = {
            "secret": str(directory / "secret.txt"), "directory": str(self._traces), "port": server.getsockname()[1],
        }  # fmt: skip
        job = {
            "text": ATTACK.format(name="text", **values) + "def register(): pass\n",
            "driver": ATTACK.format(name="driver", **values),
            "style": ATTACK.format(name="style", **values),
            "node": str(self._traces / "node"),
            "image": str(directory / "private.png"),
            "target": str(self.file),
        }
        script = directory / "make_attack.py"
        script.write_text(MAKE_ATTACK)
        blender("--python-exit-code", 1, "-P", script, "--", json.dumps(job))
        self.traces()
        self.calls()

    def traces(self) -> dict[str, str]:
        """Remove what the attack wrote; return the texts by name, for a directory an empty one."""
        found = {path.name: path.read_text() if path.is_file() else "" for path in self._traces.iterdir()}
        shutil.rmtree(self._traces)
        self._traces.mkdir()
        return found

    def calls(self) -> int:
        """Count the connections to the listener since the last call of this method."""
        count = 0
        while True:
            try:
                self._server.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1


@pytest.fixture(scope="session")
def attack(tmp_path_factory):
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        server.setblocking(False)
        yield Attack(tmp_path_factory.mktemp("attack"), server)
