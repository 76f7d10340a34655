"""A coordinator needs no engine, and is there soon."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from support.agents import Agent, running

pytestmark = pytest.mark.acceptance

ENGINES = (
    "torch", "diffusers", "transformers", "whisper", "faster_whisper", "ctranslate2", "PIL", "numpy", "accelerate",
    "safetensors", "peft", "gguf", "tokenizers", "xgrammar", "tiktoken", "numba", "ffmpeg", "bpy",
)  # fmt: skip
SERVICES = [
    "ai_inference",
    "blender_rendering",
    "image_generation",
    "llm_inference",
    "video_transcoding",
    "whisper_transcription",
]
START_SECONDS = 4.0
"""About 1 s on a quiet machine; processors that others share take up to three times as long."""
ATTEMPTS = 3

BLOCKER = f"""
import sys


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ENGINES!r}:
            raise ImportError(f"{{name}} is not installed here")


sys.meta_path.insert(0, Blocker())
"""


def queued_seconds(pid: int) -> float:
    """How long the process's main thread could have run, but others had the processors; 0 where Linux does not count it."""
    statistics = Path(f"/proc/{pid}/schedstat")
    return int(statistics.read_text().split()[1]) / 1e9 if statistics.exists() else 0.0


def test_a_coordinator_without_any_engine_answers_soon_after_its_start(tmp_path: Path) -> None:
    """From the start of the process to the registry's answer, less the time that it stood in the queue for a processor."""
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for engine in ("torch", "numpy"):
        blocked = subprocess.run(
            [sys.executable, "-c", f"import {engine}"],
            env=environment,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert f"{engine} is not installed here".encode() in blocked.stderr
    taken = []
    for attempt in range(ATTEMPTS):
        agent = Agent(
            tmp_path / f"data-{attempt}", "coordinator", "--port", "0", PYTHONPATH=environment["PYTHONPATH"]
        )
        began = time.monotonic()
        with running(agent):
            services = httpx.get(f"{agent.url}/v1/registry/services", timeout=20).json()["services"]
            assert agent.process is not None
            taken.append(time.monotonic() - began - queued_seconds(agent.process.pid))
        assert [service["service_id"] for service in services] == SERVICES
        if taken[-1] < START_SECONDS:
            return
    raise AssertionError(f"it took {taken} seconds")
