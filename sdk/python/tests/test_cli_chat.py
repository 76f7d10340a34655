"""`aitbc chat`: a single question, a question from stdin, and a conversation on a real terminal."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import select
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress

import pytest

from .support.stand_in import HOLD, error

LIMIT = 120
COMPLETED = b'event: job_update\ndata: {"job_id": "%s", "status": "completed"}\n\n'
SERVICE = {
    "service_id": "llm_inference",
    "models": ["small", "large"],
    "durations": [{"model": "small", "seconds": 1.0}],
}


def token(text: str) -> bytes:
    data = json.dumps({"job_id": "job_1", "kind": "token", "text": text})
    return f"event: job_event\ndata: {data}\n\n".encode()


def answer(*pieces: str) -> list[bytes]:
    return [*map(token, pieces), COMPLETED % b"job_1"]


@pytest.fixture
def speaking(coordinator):
    """A coordinator whose model answers "Hello."."""
    coordinator.registry = {"/llm_inference": SERVICE}
    coordinator.results = {"text": "Hello.", "finish_reason": "stop"}
    coordinator.streams.append(answer("Hel", "lo."))
    return coordinator


def test_one_question(quick, speaking) -> None:
    """The answer is on stdout, the options are in the body, and the default model is one that has run here."""
    outcome = quick("chat", "Say hello.", "--system", "Be brief.", "--max-tokens", "9", "--max-cost", "0.1")
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "Hello.\n", "")
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello."}]
    assert speaking.bodies == [
        {"messages": messages, "model": "small", "max_tokens": 9, "pricing": {"max_cost": "0.1"}}
    ]


@pytest.mark.parametrize("arguments", [("chat", "-m", "large"), ("chat", "-", "-m", "large")])
def test_a_question_from_stdin(quick, speaking, arguments) -> None:
    """--json prints the job with its results."""
    outcome = quick(*arguments, "--json", stdin="Say hello.\n")
    assert json.loads(outcome.stdout)["results"]["text"] == "Hello."
    assert speaking.bodies[0]["messages"] == [{"role": "user", "content": "Say hello."}]
    assert speaking.bodies[0]["model"] == "large"


@pytest.mark.parametrize(
    ("ready", "measured", "chosen"),
    [(["large"], [], "large"), (["large"], ["small"], "large"), (["large", "small"], ["small"], "small")],
)
def test_the_default_model_is_one_that_a_miner_has_now(quick, speaking, ready, measured, chosen) -> None:
    """Among several, it is one that has run here before."""
    durations = [{"model": model, "seconds": 1.0} for model in measured]
    speaking.registry = {"/llm_inference": {**SERVICE, "ready": ready, "durations": durations}}
    assert quick("chat", "Say hello.").returncode == 0
    assert speaking.bodies[0]["model"] == chosen


def test_a_model_is_required_if_no_miner_has_one(quick, speaking) -> None:
    """The error lists the available models."""
    speaking.registry = {"/llm_inference": {**SERVICE, "durations": []}}
    outcome = quick("chat", "Say hello.")
    assert outcome.returncode == 2
    assert "small, large" in outcome.stderr


class Terminal:
    """The command as the foreground process of its own terminal, so that a typed Ctrl-C interrupts it."""

    def __init__(self, environment, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        self._unread = ""
        self.process = subprocess.Popen(
            ["setsid", "--ctty", sys.executable, "-m", "aitbc.cli", *arguments],
            env={**environment, "TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=theirs,
        )  # fmt: skip
        os.close(theirs)

    def read_until(self, text: str) -> str:
        """Return the output up to a text, from where the last call stopped."""
        deadline = time.monotonic() + LIMIT
        while text not in self._unread:
            ready, _, _ = select.select([self._ours], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"{text!r} did not appear: {self._unread!r}"
            self._unread += os.read(self._ours, 4096).decode(errors="replace")
        read, found, self._unread = self._unread.partition(text)
        return read + found

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def interrupt_until_it_ends(self) -> int:
        """Type Ctrl-C until the command exits, and return its status as a shell shows it.

        One typed just as the prompt appears takes effect only with the next; on a busy machine the next may come while Python ends, and kills it.
        """
        for _ in range(LIMIT):
            self.type("\x03")
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
                break
        code = self.end()
        return 128 - code if code < 0 else code

    def end(self) -> int:
        code = self.process.wait(LIMIT)
        os.close(self._ours)
        return code


@pytest.fixture
def terminal(environment):
    """Open terminals, and stop the commands that a failed test leaves running."""
    opened = []

    def open_terminal(*arguments: str) -> Terminal:
        opened.append(Terminal(environment, *arguments))
        return opened[-1]

    yield open_terminal
    for one in opened:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def test_a_conversation(terminal, speaking) -> None:
    """Each question is sent with all earlier turns; /model changes the model; Ctrl-D leaves."""
    speaking.streams.append(answer("Hel", "lo."))
    screen = terminal("chat")
    assert "small" in screen.read_until("> ")
    screen.type("Say hello.\n")
    screen.read_until("Hello.\r\n")
    screen.read_until("> ")
    screen.type("/model\n")
    assert "* small" in screen.read_until("> ")
    screen.type("/model large\n")
    assert "Model: large." in screen.read_until("> ")
    screen.type("/nonsense\n")
    assert "Unknown command /nonsense" in screen.read_until("> ")
    screen.type("Again.\n")
    screen.read_until("Hello.\r\n")
    screen.read_until("> ")
    screen.type("/clear\n")
    screen.read_until("> ")
    screen.type("\x04")
    assert screen.end() == 0
    turns = ["Say hello.", "Hello.", "Again."]
    assert [message["content"] for message in speaking.bodies[1]["messages"]] == turns
    assert [body["model"] for body in speaking.bodies] == ["small", "large"]


def test_ctrl_c_stops_the_answer_and_at_the_prompt_leaves(terminal, speaking) -> None:
    """The job is cancelled, and the conversation continues with the partial answer."""
    speaking.streams = deque([[token("Once upon"), HOLD], answer("Hello.")])
    screen = terminal("chat")
    screen.read_until("> ")
    screen.type("Tell a story.\n")
    screen.read_until("Once upon")
    screen.type("\x03")
    screen.read_until("Stopped. Job job_1 was cancelled.")
    assert speaking.cancelled.is_set()
    screen.read_until("> ")
    speaking.ends.clear()
    screen.type("Say hello.\n")
    screen.read_until("Hello.\r\n")
    screen.read_until("> ")
    assert [message["content"] for message in speaking.bodies[1]["messages"]] == [
        "Tell a story.", "Once upon", "Say hello.",
    ]  # fmt: skip
    assert screen.interrupt_until_it_ends() == 130


def test_an_error_does_not_end_a_conversation(terminal, speaking) -> None:
    """It is printed, and the question can be repeated."""
    screen = terminal("chat", "-m", "small")
    screen.read_until("> ")
    speaking.faults.append(error(422, "VALIDATION_ERROR", "That is too long."))
    screen.type("Say hello.\n")
    screen.read_until("That is too long")
    screen.read_until("> ")
    screen.type("Say hello.\n")
    screen.read_until("Hello.\r\n")
    screen.read_until("> ")
    screen.type("/exit\n")
    assert screen.end() == 0
    assert [len(body["messages"]) for body in speaking.bodies] == [1]


def test_ctrl_c_during_a_single_question_cancels_its_job(terminal, speaking) -> None:
    """The partial answer stays, and the command exits with 130."""
    speaking.streams = deque([[token("Once upon"), HOLD]])
    screen = terminal("chat", "Tell a story.")
    screen.read_until("Once upon")
    screen.type("\x03")
    screen.read_until("Interrupted. Job job_1 was cancelled.")
    assert screen.end() == 130


@pytest.mark.parametrize("arguments", [("chat", "Say hello."), ("chat", "Say hello.", "--json")])
def test_a_wait_is_explained_in_a_pipe(quick, speaking, monkeypatch, arguments) -> None:
    """Once for each reason, and on stderr, so that the answer stays alone on stdout."""
    monkeypatch.setattr("aitbc.cli._terminal.conversation.FIRST_REPORT_SECONDS", 0.01)
    monkeypatch.setattr("aitbc.cli._terminal.conversation.REPORT_SECONDS", 0.01)
    speaking.states[0] = {"status": "submitted"}
    reason = {"code": "A", "message": "It is paused.", "who": "owner", "action": "Wait.", "details": {}}
    speaking.answers["GET /v1/jobs/job_1/explain"] = {
        "job_id": "job_1", "status": "submitted", "can_run": "later", "summary": "No miner is free.", "reasons": [reason],
        "miners": [],
    }  # fmt: skip
    events = speaking._events

    async def after_the_explanation(request):
        deadline = time.monotonic() + 60
        explained = "GET /v1/jobs/job_1/explain"
        while speaking.paths().count(explained) < 3 and time.monotonic() < deadline:  # noqa: ASYNC110 - requests are counted
            await asyncio.sleep(0.01)
        return await events(request)

    speaking._events = after_the_explanation
    outcome = quick(*arguments)
    assert outcome.stderr == "waiting: No miner is free. Wait.\n"
    assert "Hello." in outcome.stdout
