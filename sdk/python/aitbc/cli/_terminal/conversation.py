"""A conversation with a language model: its turns, and answers that can be interrupted."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import Any
from uuid import uuid4

from aitbc._calls.text import TextStream
from aitbc._client import AITBCClient
from aitbc.answers.jobs import JobResults
from aitbc.cli._arguments.option_names import with_options_named
from aitbc.cli._controls import harmless
from aitbc.cli._terminal.output import SafeConsole, print_status
from aitbc.errors import AITBCError, JobAlreadyCompleted

FIRST_REPORT_SECONDS, REPORT_SECONDS = 4.0, 10.0
"""How long an answer may take to begin before the reason is shown, and how often it is looked up again."""
_JOB_OPTIONS = frozenset(
    {
        "name",
        "labels",
        "pricing",
        "priority",
        "timeout_seconds",
        "miner_id",
        "offer_id",
        "webhook_url",
        "wait",
    }
)


class Stopped(Exception):
    """Ctrl-C interrupted an answer. `text` is the part that was received; the message states what happened to its job."""

    def __init__(self, message: str, text: str) -> None:
        super().__init__(message)
        self.text = text


class Conversation:
    """Questions and answers. `model` can change between them; `options` are further fields of each request.

    With `seal`, each question is sealed to that miner.
    """

    def __init__(
        self,
        client: AITBCClient,
        model: str,
        system: str | None,
        options: Mapping[str, Any],
        seal: str | None = None,
    ) -> None:
        self.client = client
        self.model = model
        self._system_turns = [] if system is None else [{"role": "system", "content": system}]
        self._options = options
        self._seal = seal
        self._turns: list[dict[str, str]] = []

    def clear(self) -> None:
        """Drop all turns."""
        self._turns.clear()

    def ask(self, question: str, show: Callable[[str], None] | None) -> JobResults:
        """Return the answer to a question, and show its pieces as they arrive.

        A question without any answer does not become a turn; the received part of an interrupted answer does. Raises `Stopped`, and
        the errors of every call.
        """
        turn = {"role": "user", "content": question}
        with self._stream(turn) as stream:
            text = ""
            try:
                with _waiting(self.client, stream.job.job_id) as stop_waiting:
                    for piece in stream:
                        stop_waiting()
                        text += piece
                        if show is not None:
                            show(piece)
            except KeyboardInterrupt:
                # The model must see what the user has seen, also of an answer that was stopped.
                self._add(turn, text)
                raise Stopped(self._cancel(stream.job.job_id), text) from None
        if stream.results is None:
            raise TypeError("A stream has ended without results.")
        self._add(turn, text)
        return stream.results

    def _add(self, turn: dict[str, str], text: str) -> None:
        if text:
            self._turns += [turn, {"role": "assistant", "content": text}]

    def _stream(self, turn: dict[str, str]) -> TextStream:
        """Start the answer to a question. If Ctrl-C interrupts the request, its job is found by its idempotency key and cancelled."""
        body: dict[str, Any] = {
            "messages": [*self._system_turns, *self._turns, turn],
            "model": self.model,
            **self._options,
        }
        # A new one for each question, since the same question twice is two jobs.
        key = str(uuid4())
        if self._seal is not None:
            return self._sealed(body, key, self._seal)
        try:
            return self.client.services.stream(idempotency_key=key, **body)
        except KeyboardInterrupt:
            try:
                # The same key returns the job that the interrupted request may have created, or creates one that is cancelled at once.
                job_id = self.client.services.infer(idempotency_key=key, **body).job_id
            except AITBCError as error:
                raise Stopped(f"The job may exist and run; it could not be looked up: {error}", "") from None
            raise Stopped(self._cancel(job_id), "") from None

    def _sealed(self, body: dict[str, Any], key: str, miner_id: str) -> TextStream:
        options = {name: body.pop(name) for name in _JOB_OPTIONS & body.keys()}
        request = self.client.jobs.seal(
            {**options, "type": "llm_inference", "parameters": body}, miner_id=miner_id
        )
        try:
            return self.client.services.text_of(self.client.jobs.create(request, idempotency_key=key))
        except KeyboardInterrupt:
            job_id = self.client.jobs.create(request, idempotency_key=key).job_id
            raise Stopped(self._cancel(job_id), "") from None

    def _cancel(self, job_id: str) -> str:
        try:
            self.client.jobs.cancel(job_id)
        except JobAlreadyCompleted:
            return f"Job {job_id} had already ended."
        except AITBCError as error:
            return f"Job {job_id} could not be cancelled: {error}"
        return f"Job {job_id} was cancelled."


@contextmanager
def _waiting(client: AITBCClient, job_id: str) -> Iterator[Callable[[], None]]:
    """Report why the answer has not begun, until the yielded function is called: in a spinner on a terminal, otherwise in lines."""
    stopped = threading.Event()
    with SafeConsole(stderr=True).status("") if sys.stderr.isatty() else nullcontext() as status:

        def show(line: str) -> None:
            print_status(line) if status is None else status.update(harmless(line))

        def stop() -> None:
            stopped.set()
            if status is not None:
                status.stop()

        threading.Thread(
            target=_report_wait, args=(client, job_id, show, stopped), name="waiting", daemon=True
        ).start()
        try:
            yield stop
        finally:
            stop()


def _report_wait(
    client: AITBCClient, job_id: str, show: Callable[[str], None], stopped: threading.Event
) -> None:
    """Show each new reason for the wait. A quick answer needs none."""
    shown_line, pause = "", FIRST_REPORT_SECONDS
    while not stopped.wait(pause):
        pause = REPORT_SECONDS
        # What is wrong with the job itself is the error of its stream.
        with suppress(AITBCError):
            line = _reason_of_wait(client, job_id)
            if line != shown_line and not stopped.is_set():
                show(line)
                shown_line = line


def _reason_of_wait(client: AITBCClient, job_id: str) -> str:
    if client.jobs.get(job_id).status != "submitted":
        return "running: the answer has not begun yet; a model that is loaded first takes a while"
    explanation = client.jobs.explain(job_id)
    action = f" {explanation.reasons[0].action}" if explanation.reasons else ""
    return with_options_named(f"waiting: {explanation.summary}{action}")
