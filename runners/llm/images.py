"""Prepares the images of a conversation for an engine.

The client's files are decoded only in the sandbox, whose limits make their time and memory the client's, one request at a time. They are
scaled down to what models see, so that an engine never holds more.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from runners.activity import sandbox_activity
from runners.api import Context, Fail, FailureCode, Retry, Tools
from runners.extras import install_command
from runners.llm import image_reader
from runners.sandbox import Sandbox, granted_python, unavailable
from runners.sandbox.watch import Ended, Limits, Outcome

MAX_BYTES = 20 * 2**20
"""Bytes of an image file."""

MAX_PIXELS = 50_000_000
"""Pixels of one image. Those of all images of a request are bounded by the setting `runners.max_picture_pixels`."""

SEEN_PIXELS = 2048 * 2048
"""Pixels of an image as an engine gets it. Models see at most about 4,096 patches of 32 x 32 pixels."""

MEMORY = 2**30
CPU_SECONDS = 120.0
OUTPUT = 512 * 2**20
"""Limits of reading the images of one request. One of 50 megapixels takes about 0.5 GiB and up to 7 s of a processor."""

WAIT_SECONDS = 1.0

MEDIA_TYPES = {".png": "image/png", ".jpeg": "image/jpeg"}

Images = Mapping[str, str]
"""Images as data URLs, by the paths of their fields: "messages.0.content.1.image_url"."""

_one_request = threading.Lock()
"""Held while the images of a request are read, because each may take `MEMORY`."""


def read_images(context: Context, tools: Tools) -> Images:
    """Return the images of a request, which are its only files. Raises `Fail` for files that are not images or too large, and `Retry`."""
    if not context.files:
        return {}
    for field, path in context.files.items():
        if path.stat().st_size > MAX_BYTES:
            raise Fail(f"{field}: an image may have at most {MAX_BYTES // 2**20} MiB; send a smaller one.")
    pillow = importlib.util.find_spec("PIL")
    if pillow is None or pillow.origin is None:
        raise Retry(
            f"Pillow is missing; install it: {install_command('pillow')}.", code=FailureCode.ENGINE_MISSING
        )
    while not _one_request.acquire(timeout=WAIT_SECONDS):
        context.check()
        context.progress(None)
    try:
        return _read(context, tools, Path(pillow.origin).parent)
    finally:
        _one_request.release()


def _read(context: Context, tools: Tools, pillow: Path) -> Images:
    directory = context.work / "images"
    directory.mkdir()
    # A machine without a sandbox still has its limits.
    tools = tools if unavailable(tools) is None else replace(tools, sandbox="off")
    limits = Limits(memory=MEMORY, output=OUTPUT, seconds=context.timeout_seconds, cpu_seconds=CPU_SECONDS)
    environment: dict[str, str] = {}
    sandbox = Sandbox(tools, limits, environment=environment)
    command = [granted_python(sandbox, environment), "-I", "-S", "-B"]
    command.append(sandbox.read(Path(image_reader.__file__), "/image_reader.py"))
    output = sandbox.write(directory, "/output")
    command.append(sandbox.read(_job(context, tools, sandbox, pillow, output), "/job.json"))
    messages: list[Mapping[str, Any]] = []

    def listen(line: str) -> None:
        with suppress(ValueError):
            messages.append(dict(json.loads(line)))
        context.progress(None)

    outcome = sandbox.run(
        command,
        directory=output,
        on_line=listen,
        on_tick=sandbox_activity(context),
        on_cancel=context.on_cancel,
    )
    _judge(outcome, messages)
    # Only the name: the program may have been taken over, and name any file.
    names = [Path(str(message.get("written"))).name for message in messages[1:]]
    if len(names) != len(context.files):
        raise _unreadable()
    return {field: _data_url(directory / name) for field, name in zip(context.files, names, strict=True)}


def _job(context: Context, tools: Tools, sandbox: Sandbox, pillow: Path, output: str) -> Path:
    """Write the program's instructions; return their path."""
    packages = Path(sandbox.read(pillow, f"/packages/{pillow.name}")).parent
    libraries = pillow.with_name("pillow.libs")  # those of Pillow's wheel
    if libraries.is_dir():
        sandbox.read(libraries, f"/packages/{libraries.name}")
    job = {
        "packages": str(packages),
        "pictures": [
            (field, sandbox.read(path, f"/pictures/{number}"))
            for number, (field, path) in enumerate(context.files.items())
        ],
        "output": output,
        "max_pixels": MAX_PIXELS,
        "max_total": tools.max_picture_pixels,
        "seen": SEEN_PIXELS,
    }
    path = context.work / "images.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    return path


def _judge(outcome: Outcome, messages: Sequence[Mapping[str, Any]]) -> None:
    """Raise the error of a program that did not write all images. Before its first message, it has read none of the client's files."""
    if outcome.ended is Ended.DEADLINE:
        raise Fail("Reading the images took longer than the job's timeout_seconds.", code=FailureCode.TIMEOUT)
    if outcome.ended is not Ended.EXITED:
        raise Fail(
            f"Reading the images takes more than this miner allows ({outcome.ended}); send smaller ones.",
            code=FailureCode.LIMIT_EXCEEDED,
        )
    if not messages:
        raise Retry("Pillow does not work in the sandbox; install it again.", code=FailureCode.ENGINE_MISSING)
    if "refused" in messages[-1]:
        raise Fail(str(messages[-1]["refused"]))
    if outcome.exit_code != 0:
        raise _unreadable()


def _unreadable() -> Fail:
    return Fail("An image could not be read; send it as PNG or JPEG.")


def _data_url(path: Path) -> str:
    """Return an image that the sandboxed program has written, which may be another program by now."""
    try:
        media_type = MEDIA_TYPES[path.suffix]
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            data = file.read(MAX_BYTES)
    except (OSError, KeyError):
        raise _unreadable() from None
    # The data is in memory now, and a request may have sixteen of them.
    path.unlink()
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
