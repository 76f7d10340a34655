"""A run's files on their way to a node and back, in parts, since the nodes share no disk."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import IO, Any, Final

from aitbc_ray.connection import NodeLost, call
from runners.api import FailureCode, Retry
from runners.host.protocol import Done, FileReference, ProtocolError, Run, file_references

PART: Final = 4 * 2**20
"""Bytes of a file in one call, and in the memory of each side."""
_REMOVE_SECONDS: Final = 30.0


class RemoteFiles:
    """The files of one run in the directories of `message` on this machine, and on a node, where `actor` reads and writes them."""

    def __init__(self, actor: Any, message: Run) -> None:
        self._actor = actor
        self._message = message
        self._lock = asyncio.Lock()

    async def send(self) -> Run:
        """Send all inputs. Return the message with the node's paths. Raises `Retry`, `OSError`."""
        message = self._message
        directory: Path = await call(self._actor.prepare.remote(message.run_id))
        files = await self._sent(message.files, directory / "inputs")
        checkpoints = await self._sent(message.checkpoints, directory / "checkpoints")
        return message.model_copy(
            update={
                "files": files,
                "checkpoints": checkpoints,
                "output": directory / "output",
                "work": directory / "work",
            }
        )

    async def fetch_results(self, results: Done) -> None:
        """Fetch the output files that results name. Raises `Retry`, `OSError`."""
        try:
            for reference in {
                reference.path: reference for reference in file_references(results.results)
            }.values():
                await self.fetch(reference)
        except ProtocolError as error:
            raise Retry(
                f"The runner named an invalid output: {error}", code=FailureCode.RUNNER_CRASHED
            ) from error

    async def fetch(self, reference: FileReference) -> None:
        """Fetch one output file. Raises `Retry`, `ProtocolError`, `OSError`."""
        target = reference.below(self._message.output)
        async with self._lock:
            await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.part")
            offset = 0
            with await asyncio.to_thread(partial.open, "wb") as file:
                while part := await call(
                    self._actor.read.remote(self._message.run_id, reference, offset, PART)
                ):
                    await asyncio.to_thread(file.write, part)
                    offset += len(part)
            # A checkpoint is read as soon as it is there, so it must be whole.
            await asyncio.to_thread(partial.replace, target)

    async def remove(self) -> None:
        """Remove the run's directories on the node, unless the node is lost."""
        try:
            await call(self._actor.remove.remote(self._message.run_id), _REMOVE_SECONDS)
        except NodeLost:
            return

    async def _sent(self, files: Any, directory: Path) -> dict[str, Path]:
        targets = {}
        for number, (name, path) in enumerate(files.items()):
            targets[name] = directory / str(number)
            with await asyncio.to_thread(path.open, "rb") as file:
                await self._send_file(file, targets[name])
        return targets

    async def _send_file(self, file: IO[bytes], target: Path) -> None:
        first = True
        # An empty file has one empty part, or it would not exist there.
        while (part := await asyncio.to_thread(file.read, PART)) or first:
            await call(self._actor.write.remote(target, part))
            first = False
