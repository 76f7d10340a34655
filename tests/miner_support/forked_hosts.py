"""Starts the hosts of the executor as forks of a process that has imported them."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from miner_support import daemons, model_runner, timed_runners
from support.workers.fork_server import Fork, ForkServer

HOSTS = {command[1] for command in (daemons.HOST, model_runner.HOST, timed_runners.PROGRAM)}

_create_subprocess_exec = asyncio.create_subprocess_exec


def server() -> ForkServer:
    """Return the process that has imported the hosts, of which tests look for remaining children."""
    return ForkServer.of("miner_support.runner", "miner_support.model_runner", "miner_support.timed_runners")


class ForkedHost:
    """What the executor uses of an `asyncio.subprocess.Process`."""

    def __init__(self, fork: Fork, stdout: asyncio.StreamReader) -> None:
        self.pid = fork.pid
        self.stdout = stdout
        self.wait = fork.wait_async


async def start(program: str, *words: str, **options: Any) -> Any:
    """Replace `asyncio.create_subprocess_exec`, also for other programs."""
    if program != sys.executable or words[0] not in HOSTS:
        return await _create_subprocess_exec(program, *words, **options)
    assert (options["stdin"], options["stdout"]) == (asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE)
    stdout = asyncio.StreamReader()
    fork = server().start(
        words,
        options["env"],
        descriptors={number: number for number in options["pass_fds"]},
        pipes=(1,),
        stderr_to_stdout=options["stderr"] == asyncio.subprocess.STDOUT,
        new_session=options["start_new_session"],
    )
    try:
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stdout), fork.stdout
        )
    except BaseException:  # as a cancelled start of a process ends it
        fork.kill()
        raise
    return ForkedHost(fork, stdout)
