"""Starts a runner's child process like the miner, for `gpu_check.py`: with blocking calls and from a mere checkout.

    python scripts/gpu/gpu_check_child.py --service ID --fd N

is the child's program. It finds the runners in the checkout, since no installed package declares them.
"""

from __future__ import annotations

import importlib
import itertools
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

ROOT: Final = Path(__file__).resolve().parents[2]
for directory in (ROOT, ROOT / "sdk" / "python"):
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))

from runners.api import Device, Model, Runner, Tools  # noqa: E402 - the path is set above
from runners.host.protocol import (  # noqa: E402 - the path is set above
    TO_PARENT,
    Configure,
    Done,
    Error,
    Exit,
    Load,
    Loaded,
    Message,
    Run,
    Unload,
    encode,
)

SERVICES: Final = {
    "ai_inference": "runners.python_model:PythonModelRunner",
    "blender_rendering": "runners.blender:BlenderRunner",
    "image_generation": "runners.stable_diffusion:StableDiffusionRunner",
    "llm_inference": "runners.llm:LLMRunner",
    "video_transcoding": "runners.ffmpeg:FFmpegRunner",
    "whisper_transcription": "runners.whisper:WhisperRunner",
}

ANSWER_SECONDS: Final = 1200.0
"""Time limit for a child's response. Engines compile kernels for many minutes on their first use; a check has a limit of its own."""
END_SECONDS: Final = 20.0


class ChildError(Exception):
    """The runner returned an error, with this kind and code."""

    def __init__(self, error: Error) -> None:
        super().__init__(f"{error.code}: {error.message}")
        self.kind = error.kind
        self.code = error.code


def find(service_id: str) -> type[Runner[Any]]:
    """Return a runner of this checkout. Raises `ImportError` if it is missing."""
    module, _, name = SERVICES[service_id].partition(":")
    runner: type[Runner[Any]] = getattr(importlib.import_module(module), name)
    return runner


class Child:
    """A child process for one service on one device, as a context manager. Its output goes to a log in `directory`."""

    def __init__(self, service: str, device: Device, tools: Tools, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count()
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(ANSWER_SECONDS)
        command = [sys.executable, "-P", __file__, "--service", service, "--fd", str(theirs.fileno())]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": device.uuid or ""}
        with theirs, (directory / f"{service}.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )  # fmt: skip
        self._send(Configure(tools=tools, device=device))
        self._answer("ready")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def load(self, model: Model | None, vram: int | None = None) -> Loaded:
        """Load a model within a budget of GPU memory. Raises `ChildError`."""
        self._send(Load(model=model, vram=vram))
        loaded: Loaded = self._answer("loaded")
        return loaded

    def run(self, parameters: Mapping[str, Any], files: Mapping[str, Path] | None = None) -> Done:
        """Run one job. Raises `ChildError`."""
        return self.run_together([parameters], files)[0]

    def run_together(
        self, requests: Sequence[Mapping[str, Any]], files: Mapping[str, Path] | None = None
    ) -> list[Done]:
        """Run several jobs concurrently, if the runner supports it. Raises `ChildError` for the first that fails."""
        for parameters in requests:
            number = next(self._numbers)
            output, work = (
                self._directory / f"{self._process.pid}-{number}-{name}" for name in ("output", "work")
            )
            output.mkdir()
            work.mkdir()
            self._send(
                Run(
                    run_id=str(number), parameters=dict(parameters), files=dict(files or {}), output=output, work=work,
                    timeout_seconds=ANSWER_SECONDS,
                )
            )  # fmt: skip
        return [self._answer("done") for _ in requests]

    def unload(self) -> None:
        """Have the runner release what `load` allocated."""
        self._send(Unload())
        self._answer("unloaded")

    def close(self) -> None:
        """Let the process end, or kill it."""
        try:
            self._send(Exit())
            self._process.wait(END_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait(END_SECONDS)
        finally:
            self._socket.close()

    def _send(self, message: Message) -> None:
        self._socket.sendall(encode(message))

    def _answer(self, kind: str) -> Any:
        while True:
            length: int = struct.unpack(">I", self._exactly(4))[0]
            message = TO_PARENT.validate_json(self._exactly(length))
            if isinstance(message, Error):
                raise ChildError(message)
            if message.type == kind:
                return message

    def _exactly(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            part = self._socket.recv(count - len(received))
            if not part:
                raise RuntimeError(f"the child ended: {self._last_words()}")
            received += part
        return received

    def _last_words(self) -> str:
        logs = sorted(self._directory.glob("*.log"), key=lambda path: path.stat().st_mtime)
        return logs[-1].read_text(errors="replace")[-500:].strip() if logs else "it printed nothing"


if __name__ == "__main__":
    from runners.host import process as host

    host.find = find  # type: ignore[attr-defined]  # the runners are not installed, so the child finds them here
    host.main()
