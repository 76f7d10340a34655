"""Reads the file of a new batch before any of its lines runs."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from agent.coordinator.features.batches import store
from agent.coordinator.features.batches.lines import LineInvalid, lines_of, read_line
from agent.coordinator.features.batches.settings import BatchSettings
from agent.coordinator.features.batches.states import BatchStatus
from agent.coordinator.features.batches.store import ApiBatch
from agent.coordinator.features.client_apis.bodies import conversation_limit
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store.artifacts import ArtifactRecord
from agent.sections import section_of
from agent.settings.coordinator import CoordinatorSettings

MOST_ERRORS: Final = 100
"""Errors that a batch reports."""
_ENVELOPE: Final = 4096
"""Bytes of a line beside its body."""


def longest_line(settings: CoordinatorSettings) -> int:
    """Return how many bytes a line may have: those of the largest body that a path accepts, and what is around it."""
    return conversation_limit(settings) + _ENVELOPE


class _Examination:
    """What the lines of a file say, as far as they were read."""

    def __init__(self, endpoint: str, max_lines: int, max_values: int) -> None:
        self.lines = 0
        self.errors: list[dict[str, Any]] = []
        self._endpoint = endpoint
        self._max_lines = max_lines
        self._max_values = max_values
        self._lines_by_id: dict[str, int] = {}

    @property
    def is_over(self) -> bool:
        """Whether further lines change nothing."""
        return self.lines > self._max_lines or len(self.errors) >= MOST_ERRORS

    def read(self, number: int, text: bytes) -> None:
        """Examine the next line."""
        self.lines += 1
        if self.lines > self._max_lines:
            problem = f"A batch may have at most {self._max_lines} requests; divide the file."
            self.add(LineInvalid("too_many_lines", problem), None)
            return
        try:
            line = read_line(number, text, self._endpoint, self._max_values)
        except LineInvalid as error:
            self.add(error, number)
            return
        if (first := self._lines_by_id.setdefault(line.custom_id, number)) != number:
            problem = f"Line {first} has the same custom_id, {line.custom_id!r}."
            self.add(LineInvalid("duplicate_custom_id", problem, "custom_id"), number)

    def add(self, error: LineInvalid, line: int | None) -> None:
        """Note an error in a line, or in the whole file."""
        self.errors.append({"code": error.code, "message": error.message, "param": error.param, "line": line})


async def validate(context: Context, batch: ApiBatch, file: ArtifactRecord) -> ApiBatch:
    """Store how many lines a batch has, or that it has failed and why. Return its new state."""
    examination = await _examine(context, batch, file)
    return await context.database.write(_decide, batch, examination, context.clock())


async def _examine(context: Context, batch: ApiBatch, file: ArtifactRecord) -> _Examination:
    settings = context.settings
    max_lines = section_of(settings, BatchSettings).max_batch_lines
    examination = _Examination(batch.endpoint, max_lines, settings.max_request_values)
    try:
        async for number, text in lines_of(context, file, longest_line(settings)):
            examination.read(number, text)
            if examination.is_over:
                break
            # Decoding blocks the event loop; between two lines, others have their turn.
            await asyncio.sleep(0)
    except LineInvalid as error:
        examination.add(error, None)
    if not examination.lines and not examination.errors:
        examination.add(LineInvalid("empty_file", "The file has no requests."), None)
    return examination


def _decide(connection: Connection, batch: ApiBatch, examination: _Examination, now: float) -> ApiBatch:
    current = store.own(connection, batch)
    if examination.errors:
        store.release(connection, current)
        errors = json.dumps(examination.errors)
        return store.enter(connection, current, BatchStatus.FAILED, now, errors=errors)
    if current.status is BatchStatus.CANCELLING:
        return store.save(connection, current, total=examination.lines)
    return store.enter(connection, current, BatchStatus.IN_PROGRESS, now, total=examination.lines)
