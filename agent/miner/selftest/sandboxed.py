"""Runs the programs of the self-test inside the sandbox in which jobs use the same device."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from agent.deadline import in_thread
from runners.api import Cancelled, Device, RunnerError, Tools
from runners.sandbox import Sandbox, granted_python
from runners.sandbox.watch import Ended, Limits

CARD_PROGRAM: Final = Path(__file__).with_name("card_program.py")
PROCESSOR_PROGRAM: Final = Path(__file__).with_name("processor_program.py")
_OUTPUT: Final = 2**20
_PROCESSES: Final = 32
_STDERR: Final = 300


@dataclass(slots=True)
class Results:
    """What a program has reported: results by step, and why it ended early.

    `failure` is a message for people, None if all steps were performed. `call` and `code` are the driver's function that failed and its
    error, if it was one.
    """

    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    failure: str | None = None
    call: str | None = None
    code: int | None = None

    def add(self, line: str) -> None:
        """Add what a program has printed."""
        values = json.loads(line)
        step = values.pop("step")
        if step != "error":
            self.steps[step] = values
            return
        self.code, self.call = values["code"], values["call"] or None
        self.failure = f"{values['call']} failed: {values['words']}" if values["call"] else values["words"]


async def perform(
    tools: Tools,
    device: Device,
    program: Path,
    options: Mapping[str, Any],
    seconds: float,
    *,
    memory: int | None = None,
) -> Results:
    """Run a program for at most so many seconds. It ends with the calling task."""
    cancels: list[Callable[[], None]] = []
    threads = device.threads + _PROCESSES
    limits = Limits(
        memory=memory or tools.max_memory,
        output=_OUTPUT,
        seconds=seconds,
        cpu_seconds=seconds * threads,
        processes=threads,
    )
    sandbox = Sandbox(tools, limits, device)
    run = in_thread(lambda: _run(sandbox, program, options, cancels.append), name=f"selftest-{program.stem}")
    try:
        return await asyncio.shield(run)
    except asyncio.CancelledError:
        for cancel in cancels:
            cancel()
        raise


def _run(
    sandbox: Sandbox,
    program: Path,
    options: Mapping[str, Any],
    on_cancel: Callable[[Callable[[], None]], None],
) -> Results:
    results = Results()
    environment: dict[str, str] = {}
    try:
        python = granted_python(sandbox, environment)
        sandbox.environment = environment
        script = sandbox.read(program, f"/{program.name}")
        command = [python, "-I", script, json.dumps(options)]
        outcome = sandbox.run(command, on_line=results.add, on_cancel=on_cancel)
    except Cancelled:
        results.failure = "It was cancelled."
        return results
    except RunnerError as error:
        results.failure = str(error)
        return results
    if outcome.ended is Ended.DEADLINE:
        results.failure = f"It did not end within {sandbox.limits.seconds:.0f} s."
    elif outcome.ended is not Ended.EXITED:
        results.failure = (
            f"It exceeded a limit of the sandbox ({outcome.ended}{outcome.reason and ': '}{outcome.reason})."
        )
    elif outcome.exit_code != 0 and results.failure is None:
        results.failure = (
            f"The program died with exit status {outcome.exit_code}. {outcome.stderr.strip()[-_STDERR:]}"
        )
    return results
