"""Text from outside cannot control the terminal, whichever command prints it."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys

import pytest
from starlette.responses import JSONResponse

from aitbc.cli._controls import harmless

from ..support.stand_in import error  # noqa: TID252 - the tests are no package

pytestmark = pytest.mark.system

HOSTILE = "clean\x1b]0;title\x07\x1b[2J\x7f\x9b31m\u202eoverride\u2066\u2028end"
CONTROLS = frozenset("\x1b\x07\x7f\x9b\u202e\u2066\u2028")
COMPLETED = b'event: job_update\ndata: {"job_id": "job_1", "status": "completed"}\n\n'


@pytest.fixture
def shown(environment, workdir):
    """Return a function that runs `aitbc` and returns what it prints on a terminal."""

    def shown(*arguments: str) -> str:
        controller, terminal = pty.openpty()
        with subprocess.Popen(
            [sys.executable, "-m", "aitbc.cli", *arguments],
            env={**environment, "TERM": "xterm", "NO_COLOR": "1"}, cwd=workdir, stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal,
        ) as process:  # fmt: skip
            os.close(terminal)
            printed = b""
            try:
                while piece := os.read(controller, 65536):
                    printed += piece
            except OSError:
                pass  # raised when the other end of the terminal was closed
            process.wait(60)
        os.close(controller)
        return printed.decode().replace("\r\n", "\n")

    return shown


def test_ordinary_text_of_any_language_is_not_changed() -> None:
    text = "naïve\u00a0café, \u202fमानक \u200d नी\u200cم, 👩\u200d💻\ufe0f, שלום\tend\n"
    assert harmless(text) == text
    assert harmless("".join(CONTROLS)) == "\N{REPLACEMENT CHARACTER}" * len(CONTROLS)
    assert harmless("\udc80") == "\N{REPLACEMENT CHARACTER}"


@pytest.fixture
def hostile(coordinator):
    """A coordinator with a job all of whose texts are hostile."""
    coordinator.states[0] |= {"name": HOSTILE, "labels": {HOSTILE: HOSTILE}}
    coordinator.results = {"text": HOSTILE}
    entry = {"time": "2026-11-24T15:00:00Z", "attempt": 1, "source": HOSTILE, "text": HOSTILE}
    coordinator.answers["GET /v1/jobs/job_1/log"] = {
        "job_id": "job_1",
        "entries": [entry],
        "truncated": False,
    }
    return coordinator


@pytest.mark.parametrize("command", ["show", "results", "log"])
def test_jobs(shown, hostile, command) -> None:
    printed = shown("jobs", command, "job_1")
    assert "clean" in printed
    assert not CONTROLS & set(printed)


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (("show", "job_1"), ("name",)),
        (("results", "job_1"), ("results", "text")),
        (("log", "job_1"), ("entries", 0, "text")),
        (("log", "job_1", "--follow"), ("text",)),
        (("watch", "job_1"), ("data", "name")),
    ],
)
def test_json_is_complete_on_a_terminal(shown, hostile, arguments, where) -> None:
    hostile.streams.append([COMPLETED.replace(b"{", b'{"name": %s, ' % json.dumps(HOSTILE).encode())])
    printed = shown("jobs", *arguments, "--json")
    assert not CONTROLS & set(printed)
    value = json.loads(printed)
    for key in where:
        value = value[key]
    assert value == HOSTILE


def test_an_answer_that_is_streamed(shown, coordinator) -> None:
    coordinator.registry = {
        "/llm_inference": {"service_id": "llm_inference", "models": ["small"], "ready": ["small"]}
    }
    coordinator.results = {"text": HOSTILE, "finish_reason": "stop"}
    token = json.dumps({"job_id": "job_1", "kind": "token", "text": HOSTILE})
    coordinator.streams.append([f"event: job_event\ndata: {token}\n\n".encode(), COMPLETED])
    printed = shown("chat", "Hello")
    # The spinner of the standard error is rich's.
    assert "clean\ufffd]0;title\ufffd\ufffd[2J\ufffd\ufffd31m\ufffdoverride\ufffd\ufffdend" in printed


@pytest.mark.parametrize("arguments", [("jobs", "show", "job_1"), ("miners",), ("wallet", "balance")])
def test_errors_of_a_coordinator(shown, coordinator, arguments) -> None:
    coordinator.faults.append(error(400, "VALIDATION_ERROR", HOSTILE))
    printed = shown(*arguments)
    assert "clean" in printed
    assert not CONTROLS & set(printed)


def test_wrong_usage_that_names_a_coordinators_models(shown, coordinator) -> None:
    coordinator.faults.append(JSONResponse({"service_id": "llm_inference", "models": [HOSTILE]}))
    printed = shown("chat", "Hello")
    assert "No miner has a model for this yet" in printed
    own = re.sub(r"\x1b\[[0-9;]*m", "", printed)  # the library prints bold words
    assert not CONTROLS & set(own)


def test_a_pipe_gets_the_text_as_it_is(run, coordinator) -> None:
    coordinator.results = {"text": HOSTILE}
    printed = run("jobs", "results", "job_1", "--json").stdout
    assert json.loads(printed)["results"]["text"] == HOSTILE
    assert "\u202e" in printed
