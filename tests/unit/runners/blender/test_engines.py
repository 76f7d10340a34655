"""Which Blender runs, and what it finds on the machine: the module's Python, compiled kernels, EEVEE."""

from __future__ import annotations

import dataclasses
import sys

import pytest

from runners.api import Device, Retry
from runners.blender import kernels, process
from runners.blender.engine import chosen
from runners.blender.process import abilities, eevee_works, run_blender
from runners.sandbox.watch import Limits

CARD = Device("cuda", "a card", "GPU-00000000-0000-0000-0000-000000000000", 1, compute_capability="8.0")
LIMIT = 2.0
"""Seconds that are enough to start a program on a busy machine."""
LIMITS = Limits(memory=2**30, output=2**20, seconds=30, cpu_seconds=30)

STAND_IN = """#!/usr/bin/python3
import json, os, sys, time
job = json.load(open(sys.argv[-1]))
def send(**message): print("\\n" + job["mark"] + json.dumps(message), flush=True)
{code}
"""


@pytest.fixture
def stand_in(tools, tmp_path):
    """A program instead of Blender; return the tools with it."""

    def make(code):
        program = tmp_path / "blender"
        program.write_text(STAND_IN.format(code=code))
        program.chmod(0o755)
        return dataclasses.replace(tools, blender=str(program))

    return make


def test_the_module_comes_before_the_program_and_after_the_setting(tools, tmp_path, monkeypatch):
    tools = dataclasses.replace(tools, blender=None)
    assert chosen(tools) == "blender"
    (tmp_path / "bpy.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert chosen(tools) == sys.executable
    assert chosen(dataclasses.replace(tools, blender="/opt/blender/blender")) == "/opt/blender/blender"


def test_a_python_without_the_module_is_reported_with_a_remedy(tools, device):
    with pytest.raises(Retry) as caught:
        abilities(dataclasses.replace(tools, blender="/usr/bin/python3"), device)
    assert caught.value.code == "PROGRAM_MISSING"
    assert "-m uv pip install --python /usr/bin/python3 bpy." in str(caught.value)


def test_a_run_writes_compiled_kernels_only_to_its_own_copy(stand_in, device, tmp_path):
    tools = stand_in(
        "for name in ('CUDA_CACHE_PATH', 'OPTIX_CACHE_PATH', 'XDG_CACHE_HOME', '__GL_SHADER_DISK_CACHE_PATH'):\n"
        "    os.makedirs(os.environ[name], exist_ok=True)\n"
        "    open(os.environ[name] + '/kernel', 'a').write(job['task'])\n"
    )

    def run(task, directory):
        outcome = run_blender(tools, device, {"task": task}, LIMITS, kernels=directory, on_message=print)
        assert outcome.exit_code == 0, outcome.stderr
        return True

    def texts(directory):
        return {path.parent.name: path.read_text() for path in directory.rglob("kernel")}

    cache = kernels.location(dataclasses.replace(tools, cache_dir=tmp_path), CARD, (4, 5, 0), "OPTIX")
    outdated = cache.parent.with_name("driver-1-blender-4.2.0")
    outdated.mkdir(parents=True)
    kernels.fill(cache, lambda *_: False)
    assert not cache.exists(), "an unsuccessful probe leaves no cache"
    assert not outdated.exists()
    kernels.fill(cache, lambda made, _output: run("probe", made))
    probe = dict.fromkeys(("cuda", "optix", "xdg", "gl"), "probe")
    assert texts(cache) == probe
    kernels.fill(cache, lambda *_: pytest.fail("it was filled already"))
    copy = kernels.copied(cache, tmp_path / "copy")
    run("job", copy)
    assert texts(copy) == dict.fromkeys(probe, "probejob")
    assert texts(cache) == probe


def test_a_slow_probe_of_eevee_does_not_count(stand_in, monkeypatch):
    """A cold GPU compiles the shaders first. The probe is repeated later, and its answer is cached."""
    tools = stand_in("time.sleep(60)")
    assert not eevee_works(tools, CARD, LIMIT)
    stand_in("send(renderer='NVIDIA RTX A4000/PCIe/SSE2')")
    assert not eevee_works(tools, CARD, LIMIT), "it is not repeated at once"
    monkeypatch.setattr(process, "_repeat_at", {})
    assert eevee_works(tools, CARD, LIMIT)
    stand_in("sys.exit('it is not started again')")
    assert eevee_works(tools, CARD, LIMIT)


@pytest.mark.parametrize("code", ["send(renderer='llvmpipe (LLVM 19)')", "sys.exit('no display')"])
def test_eevee_needs_a_gpu(stand_in, code):
    assert not eevee_works(stand_in(code), CARD)
