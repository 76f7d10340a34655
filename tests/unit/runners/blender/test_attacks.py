"""Scenes that attack the machine, and a Blender that a scene has taken over."""

from __future__ import annotations

import dataclasses
import json

import pytest

from runners.api import Fail
from runners.blender import BlenderRunner
from runners.blender.engine import granted, granted_program
from runners.blender.rendering import Rendering
from runners.blender.request import RenderRequest
from runners.sandbox import Sandbox
from runners.sandbox.watch import Limits
from support.inputs.blender_scenes import URL, blender

pytestmark = pytest.mark.system


@pytest.mark.ship
def test_attack_python_in_a_scene_does_not_run(attack, tools, device, make_context, tmp_path):
    """In plain Blender the scene's text, driver and style read a file, write one and call a listener; in the runner none does.

    The style runs even where Blender was started with --disable-autoexec.
    """
    arguments = ("-o", tmp_path / "plain_####", "-f", "1", "--", "--cycles-device", "CPU")
    blender("-y", attack.file, *arguments)
    traces = attack.traces()
    assert set(traces) == {"text", "driver", "style", "node"}
    assert traces["text"] == attack.secret
    assert attack.calls() >= 3
    blender("--disable-autoexec", attack.file, *arguments)
    assert set(attack.traces()) == {"style", "node"}
    attack.calls()

    context = make_context({"blend_file_url": attack.file})
    result = BlenderRunner(tools, device).run(RenderRequest(blend_file_url=URL, frame=1), context)
    assert attack.traces() == {}
    assert attack.calls() == 0
    assert [path.name for path in context.output.iterdir()] == ["frame_0001.png"]
    assert list((context.work / "frames").iterdir()) == [], "nothing ran inside the sandbox either"
    assert len(result.results["frames"]) == 1
    warnings = " ".join(result.results["warnings"])
    assert "private.png" in warnings
    assert "is not run" in warnings
    assert str(attack.file.parent) not in warnings
    log = [line for source, line in context.lines if source == "blender"]
    assert any("private.png" in line for line in log)
    assert not any(line.startswith("Fra:") or '"saved"' in line for line in log)


def test_attack_python_that_runs_inside_the_sandbox_reaches_nothing(attack, tools, tmp_path):
    """The second line of defence: with scripts enabled, the attack runs in the sandbox without effect outside."""
    limits = Limits(memory=4 * 2**30, output=2**30, seconds=30, cpu_seconds=60)
    sandbox = Sandbox(tools, limits)
    output = tmp_path / "inside"
    output.mkdir()
    sandbox.write(output, "/output")
    program = granted_program(sandbox, "blender")
    scene = sandbox.read(attack.file, "/scene.blend")
    sandbox.run([program, "-b", "--factory-startup", "-y", scene, "-o", "/output/frame_####", "-f", "1"])
    assert {"text", "driver", "style"} <= {path.name for path in output.iterdir()}, "the attack did run"
    assert attack.traces() == {}
    assert attack.calls() == 0


SCENE = {"frames": [1, 2], "width": 8, "height": 8, "samples": 1, "layers": 1, "fps": 24, "warnings": []}


@pytest.mark.parametrize(
    ("message", "planted"),
    [
        ({"saved": "../../../secret"}, None),
        ({"saved": 3}, "file"),
        ({"saved": 1}, "link"),
        ({"saved": 1}, "folder"),
        ({"saved": 1}, None),
        ({"reused": 1}, "file"),
        ({"scene": {**SCENE, "frames": [7]}}, None),
        ({"scene": {**SCENE, "width": -8}}, None),
        ([], None),
    ],
)
def test_attack_a_compromised_blender_cannot_deliver_other_files(make_context, tmp_path, message, planted):
    """Only a regular file that it wrote is delivered, and only under the name of a requested frame."""
    (tmp_path / "secret").write_text("the miner's key")
    context = make_context()
    rendering = Rendering(RenderRequest(blend_file_url=URL, frames="1-2"), context, 10**6)
    rendering.scratch.mkdir()
    path = rendering.scratch / "1"
    if planted == "link":
        path.symlink_to(tmp_path / "secret")
    elif planted == "folder":
        path.mkdir()
    elif planted == "file":
        for name in ("1", "3"):
            (rendering.scratch / name).write_text("frame")
    if "scene" not in message:
        rendering.on_message(json.dumps({"scene": SCENE}))
    with pytest.raises(Fail) as caught:
        rendering.on_message(json.dumps(message))
    assert caught.value.code == "RENDER_FAILED"
    assert context.handed_over == []
    assert (tmp_path / "secret").read_text() == "the miner's key"


def test_only_blender_itself_is_visible_of_an_installation_in_a_home(tools, tmp_path):
    """Blender's own archive puts the program beside its folders, and an owner may unpack it anywhere."""
    home = tmp_path / "home"
    for name in ("4.5/scripts", "lib", "photos", "2024.08"):
        (home / name).mkdir(parents=True)
    (home / "blender").write_text("#!/bin/sh\nls -A ${0%/*}")
    (home / "blender").chmod(0o755)
    (home / "key").write_text("private")
    unpacked = dataclasses.replace(tools, blender=str(home / "blender"))
    lines = []
    sandbox = Sandbox(unpacked, Limits(memory=2**30, output=2**20, seconds=10, cpu_seconds=10))
    sandbox.run([granted(sandbox, {}).script[0]], on_line=lines.append)
    assert sorted(lines) == ["4.5", "blender", "lib"]
