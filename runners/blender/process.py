"""Starts Blender in the sandbox and explains its failures.

A .blend file acts like a program: besides its scripts, which are disabled, it names files to read and write, and Blender
can run Python in more ways than --disable-autoexec prevents. So Blender never runs outside the sandbox.
"""

from __future__ import annotations

import gzip
import json
import re
import secrets
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runners.api import (
    PROBE_SECONDS,
    Device,
    Fail,
    FailureCode,
    Retry,
    RunnerError,
    TimedOut,
    Tools,
    cached_probe,
)
from runners.blender import kernels as kernel_cache
from runners.blender import script as blender_script
from runners.blender.engine import chosen, granted, granted_program, is_python
from runners.sandbox import Sandbox
from runners.sandbox.watch import Ended, Limits, Outcome

REPEAT_SECONDS = 600.0
"""Seconds until an undecided probe of EEVEE is repeated."""

OLDEST = (4, 2)
"""The first version of Blender with --offline-mode."""

PROBE_MEMORY = 8 * 2**30
PROBE_OUTPUT = 16 * 2**20

PREPARATION_SECONDS = 480.0
"""Time limit for compiling Blender's kernels. It is below the default of `miner.load_seconds`."""

PREPARATION_OUTPUT = 2 * 2**30

EEVEE_SECONDS = 60.0
"""Time limit for the probe of EEVEE, in seconds. It is shorter than for others, since what works without EEVEE waits for it."""

SCENE = "/input/scene.blend"
JOB = "/job.json"
OUTPUT = "/output"
CHECKPOINTS = "/checkpoints"

STATISTICS = "Fra:"
"""The beginning of Blender's statistics where it prints them, before version 5."""

SOFTWARE_RENDERERS = ("llvmpipe", "softpipe", "swrast", "software")
"""Parts of the names of OpenGL renderers on the processor, where EEVEE takes minutes for a small picture."""

_MAGIC = (b"BLENDER", b"\x28\xb5\x2f\xfd")
_GZIP = b"\x1f\x8b"

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BlenderAbilities:
    """The abilities of this machine's Blender. `backends` are the kinds of GPU devices that work for Cycles, best first.

    `hindrance` is the reason why Cycles cannot use a present GPU.
    """

    version: tuple[int, ...]
    denoiser: bool
    backends: tuple[str, ...]
    hindrance: str | None = None


def check_magic(file: Path) -> None:
    """Raise `Fail` unless a file begins like a .blend file, plain or compressed."""
    with file.open("rb") as opened:
        start = opened.read(7)
    if start[:2] == _GZIP:
        try:
            with gzip.open(file) as opened:
                start = opened.read(7)
        except (OSError, EOFError):
            start = b""
    if not start.startswith(_MAGIC):
        raise Fail("The input is not a .blend file; save the scene in Blender and send that file.")


def run_blender(
    tools: Tools,
    device: Device,
    job: Message,
    limits: Limits,
    *,
    backend: str | None = None,
    scene: Path | None = None,
    output: Path | None = None,
    checkpoints: Path | None = None,
    kernels: Path | None = None,
    on_message: Callable[[str], None],
    on_line: Callable[[str], None] = lambda _: None,
    on_log: Callable[[str], None] = lambda _: None,
    on_tick: Callable[[float], None] | None = None,
    on_cancel: Callable[[Callable[[], None]], None] | None = None,
) -> Outcome:
    """Run `blender_script` with a job, on the GPU with a Cycles `backend`, otherwise on the processor.

    It sees `scene` at `SCENE`, `output` (writable) at `OUTPUT`, and `checkpoints` at `CHECKPOINTS`; `kernels` is its cache of
    compiled kernels (writable). `on_message` gets the
    script's messages, in JSON; `on_log` gets what Blender itself prints, without its statistics. Raises `Cancelled`, and `Retry` if Blender or the sandbox is missing.
    """
    if tools.sandbox == "off":
        raise Retry(
            "Blender runs only in the sandbox; set runners.sandbox to 'auto'.",
            code=FailureCode.SANDBOX_UNAVAILABLE,
        )
    # The scene is loaded before the first message, and what it prints must not look like one.
    mark = secrets.token_hex(16)

    def listen(line: str) -> None:
        if line.startswith(mark):
            on_message(line[len(mark) :])
        else:
            on_line(line)

    def log(_stream: str, text: str) -> None:
        lines = [line for line in text.splitlines() if line and not line.startswith((mark, STATISTICS))]
        if lines:
            on_log("\n".join(lines))

    # Cycles assembles pictures larger than a tile on the disk: the sandbox's /tmp would be too small.
    environment: dict[str, str] = {}
    sandbox = Sandbox(tools, limits, device, environment)
    start = granted(sandbox, environment)
    paths = {}
    details: dict[str, Any] = {"mark": mark, "threads": max(1, device.threads), "packages": start.packages}
    if output is not None:
        paths[OUTPUT] = environment["TMPDIR"] = sandbox.write(output, OUTPUT)
    if checkpoints is not None:
        paths[CHECKPOINTS] = sandbox.read(checkpoints, CHECKPOINTS)
    if kernels is not None:
        environment |= kernel_cache.environment(sandbox.write(kernels, kernel_cache.INSIDE))
    if scene is not None:
        details["file"] = sandbox.read(scene, SCENE)
    with tempfile.TemporaryDirectory(prefix="aitbc-blender-") as directory:
        written = Path(directory, "job.json")
        written.write_text(json.dumps({**_relocated(job, paths), **details}), encoding="utf-8")
        script = sandbox.read(Path(blender_script.__file__), "/script.py")
        device_options = ("--", "--cycles-device", backend or "CPU")
        command = [*start.script, script, *device_options, sandbox.read(written, JOB)]
        return sandbox.run(command, on_line=listen, on_text=log, on_tick=on_tick, on_cancel=on_cancel)


def _relocated(value: Any, paths: Mapping[str, str]) -> Any:
    """Return a job with the paths at which Blender really sees `OUTPUT` and `CHECKPOINTS`."""
    if isinstance(value, Mapping):
        return {key: _relocated(item, paths) for key, item in value.items()}
    if isinstance(value, str):
        top, slash, below = value[1:].partition("/")
        return f"{paths.get(f'/{top}', f'/{top}')}{slash}{below}" if value.startswith("/") else value
    return value


def _version(tools: Tools, program: str) -> tuple[int, ...]:
    """Return a Blender program's version, with an option that every version has. Raises `Retry` if it does not run."""
    lines: list[str] = []
    sandbox = Sandbox(tools, _probe_limits(tools))
    outcome = sandbox.run([granted_program(sandbox, program), "--version"], on_line=lines.append)
    match = re.match(r"Blender (\d+)\.(\d+)(?:\.(\d+))?", lines[0] if lines else "")
    if match is None:
        raise Retry(
            f"{program!r} is not a Blender that runs in the sandbox: {last_line(outcome)}",
            code=FailureCode.PROGRAM_MISSING,
        )
    return tuple(int(number or 0) for number in match.groups())


@cached_probe
def abilities(tools: Tools, device: Device) -> BlenderAbilities:
    """Return the abilities of this machine's Blender on a device. Raises `Retry` if it does not run, `TimedOut`."""
    reported: dict[str, Any] = {}
    outcome = run_blender(
        tools,
        device,
        {"task": "describe"},
        _probe_limits(tools),
        on_message=lambda text: reported.update(json.loads(text)),
    )
    if "version" not in reported:
        if outcome.ended is Ended.DEADLINE:
            raise TimedOut(
                f"Blender did not end within {PROBE_SECONDS:g} s.", code=FailureCode.PROGRAM_MISSING
            )
        # An old Blender fails at the unknown option before it can report its version.
        name = chosen(tools)
        if not is_python(name) and (release := _version(tools, name)) < OLDEST:
            text = ".".join(map(str, release))
            raise Retry(
                f"Blender {text} is too old; version 4.2 or newer is needed.",
                code=FailureCode.PROGRAM_MISSING,
            )
        raise Retry(
            f"Blender does not run on this machine: {last_line(outcome)}", code=FailureCode.PROGRAM_MISSING
        )
    backends = tuple(reported["backends"]) if device.kind == "cuda" else ()
    hindrance = None
    if device.kind == "cuda" and not backends:
        hindrance = (
            "This build of Blender has no code for NVIDIA cards, so Cycles renders on the CPU; run "
            "aitbc-agent engines install bpy, or set runners.blender to the path of Blender's own build."
            if not reported["kernels"]
            else "Blender finds no usable card, so Cycles renders on the CPU; check NVIDIA's driver."
        )
    return BlenderAbilities(tuple(reported["version"]), reported["denoiser"], backends, hindrance)


class _UndecidedError(Exception):
    """A probe ended without an answer: it took too long, or could not be made."""


def eevee_works(tools: Tools, device: Device, seconds: float = EEVEE_SECONDS) -> bool | None:
    """Return whether EEVEE renders on this machine's GPU within `seconds`, by rendering one tiny picture.

    None if that took too long, since a cold GPU first compiles the shaders: the probe is repeated after `REPEAT_SECONDS`.
    """
    probe, now = (tools, device, seconds), time.monotonic()
    if device.kind != "cuda":
        return False
    if now < _repeat_at.get(probe, now):
        return None
    try:
        return _eevee_renders(tools, device, seconds)
    except _UndecidedError:
        _repeat_at[probe] = time.monotonic() + REPEAT_SECONDS
        return None


_repeat_at: dict[tuple[Tools, Device, float], float] = {}


@cached_probe
def _eevee_renders(tools: Tools, device: Device, seconds: float) -> bool:
    reported: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="aitbc-blender-") as directory:
        try:
            outcome = run_blender(
                tools, device, {"task": "try_eevee", "target": f"{OUTPUT}/probe.png"}, _probe_limits(tools, seconds),
                output=Path(directory), on_message=lambda text: reported.update(json.loads(text)),
            )  # fmt: skip
        except RunnerError as error:
            raise _UndecidedError from error
    renderer = str(reported.get("renderer", "")).lower()
    # A crash is an answer, a time limit is none.
    if not renderer and outcome.ended is not Ended.EXITED:
        raise _UndecidedError
    return bool(renderer) and not any(name in renderer for name in SOFTWARE_RENDERERS)


def prepare_kernels(tools: Tools, device: Device, backend: str) -> None:
    """Compile Blender's kernels for this card, if that has not been done yet, for the runs that follow."""
    able = abilities(tools, device)

    def probe(kernels: Path, output: Path) -> bool:
        messages: list[str] = []
        job = {"task": "warm", "target": f"{OUTPUT}/picture.png", "denoiser": able.denoiser}
        limits = _probe_limits(tools, PREPARATION_SECONDS, output=PREPARATION_OUTPUT)
        run_blender(
            tools,
            device,
            job,
            limits,
            backend=backend,
            output=output,
            kernels=kernels,
            on_message=messages.append,
        )
        return any("saved" in json.loads(message) for message in messages)

    kernel_cache.fill(kernel_cache.location(tools, device, able.version, backend), probe)


def save_default_scene(tools: Tools, target: Path) -> None:
    """Save Blender's default scene to a file. Raises `Retry` if that fails."""
    job = {"task": "save", "target": f"{OUTPUT}/{target.name}"}
    outcome = run_blender(
        tools,
        Device("cpu", "any"),
        job,
        _probe_limits(tools),
        output=target.parent,
        on_message=lambda _: None,
    )
    if not target.is_file():
        raise Retry(
            f"Blender could not save its default scene: {last_line(outcome)}", code=FailureCode.MACHINE_FAULT
        )


def _probe_limits(tools: Tools, seconds: float = PROBE_SECONDS, output: int = PROBE_OUTPUT) -> Limits:
    memory = min(PROBE_MEMORY, tools.max_memory)
    return Limits(memory=memory, output=output, seconds=seconds, cpu_seconds=seconds * 16)


def explain_refusal(message: str, fault: str, code: FailureCode | None, *, gpu: bool) -> Fail | Retry:
    """Return the error for a refusal of the script. `fault` is "input", "machine" or "engine"."""
    message = message[:2000]
    if fault == "input":
        return Fail(message, code=code)
    if fault == "machine":
        return Retry(message, code=code)
    # Cycles repeats the same error for each device.
    reason = " ".join(dict.fromkeys(message.replace("Error: ", "").split("\n"))).strip()[:500]
    # Drivers word it differently: "out of memory", "out of GPU memory", "out of device memory".
    if gpu and "out of" in reason.lower() and "memory" in reason.lower():
        return Retry(
            f"The scene does not fit into the GPU's memory: {reason}", code=FailureCode.OUT_OF_MEMORY
        )
    for sign, error in _ENGINE_FAULTS.items():
        if sign in reason.lower():
            return error(reason)
    if gpu:
        return Retry(f"Rendering on the GPU failed at {reason}", code=FailureCode.GPU_FAILED)
    return Fail(f"Blender could not render {reason}", code=FailureCode.RENDER_FAILED)


def _memory_fault(reason: str) -> Retry:
    return Retry(
        f"Not enough memory for this scene; raise runners.max_memory. {reason}",
        code=FailureCode.OUT_OF_MEMORY,
    )


def _too_slow(_: str) -> Fail:
    return Fail(
        "The job took longer than its timeout_seconds; raise timeout_seconds or render less.",
        code=FailureCode.TIMEOUT,
    )


_ENGINE_FAULTS: Mapping[str, Callable[[str], Fail | Retry]] = {
    "no camera": lambda _: Fail("The scene has no camera; add one, or name one of its cameras in camera."),
    "out of memory": _memory_fault,
    "out of gpu memory": _memory_fault,
    "cannot save": lambda reason: Retry(
        f"A picture could not be written: {reason}", code=FailureCode.DISK_FULL
    ),
}
"""The error for a part of the engine's message, in lower case."""

_LIMITS: Mapping[Ended, Callable[[str], Fail | Retry]] = {
    Ended.MEMORY: _memory_fault,
    Ended.OUTPUT: lambda _: Fail(
        "The frames are larger than this miner allows; render fewer or smaller frames.",
        code=FailureCode.OUTPUT_TOO_LARGE,
    ),
    Ended.DEADLINE: _too_slow,
    Ended.CPU: _too_slow,
    Ended.PROCESSES: lambda _: Fail(
        "The scene made Blender start more processes than allowed.", code=FailureCode.LIMIT_EXCEEDED
    ),
}


def explain_end(outcome: Outcome, complaint: str | None, *, opened: bool, gpu: bool) -> Fail | Retry:
    """Return the error for a Blender that ended without a result.

    `complaint` is its last printed error; `opened` states whether it had read the scene by then.
    """
    reason = (complaint or last_line(outcome)).replace(SCENE, "input")[:300]
    if outcome.ended in _LIMITS:
        return _LIMITS[outcome.ended]("")
    # The kernel kills with signal 9 when memory runs out, and nothing else does.
    if "bad_alloc" in outcome.stderr or outcome.exit_code == 128 + signal.SIGKILL:
        return _memory_fault(reason)
    if outcome.exit_code == blender_script.FAULT:
        return Retry(f"Setting up the scene failed: {reason}", code=FailureCode.RUNNER_CRASHED)
    if opened:
        message = f"Blender ended with status {outcome.exit_code} on this scene: {reason}"
        return (
            Retry(message, code=FailureCode.GPU_FAILED)
            if gpu
            else Fail(message, code=FailureCode.RENDER_FAILED)
        )
    if "newer version" in reason:
        return Retry(
            f"This machine's Blender is too old for the file: {reason}", code=FailureCode.ENGINE_OUTDATED
        )
    return Fail(f"Blender could not open the file: {reason}")


def last_line(outcome: Outcome) -> str:
    """Return the last line that Blender wrote to standard error."""
    lines = [line.strip() for line in outcome.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"it ended with status {outcome.exit_code} without a reason"
