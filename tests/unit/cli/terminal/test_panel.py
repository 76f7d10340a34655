"""The live panel's lines: their content and order at any size, and that they fit the terminal."""

from __future__ import annotations

import os
import sys
import termios
import time
from typing import Any, TextIO, cast

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from agent.cli.terminal import live
from agent.cli.terminal.live import LogPane
from agent.cli.terminal.log_lines import readable
from agent.cli.terminal.panel import PanelView, draw

NOW = 1_800_000_000.0
GIBIBYTE = 2**30
SIZES = [(80, 24), (200, 50)]


def gpu(index: int, **changes: Any) -> dict[str, Any]:
    return {
        "uuid": f"GPU-{index}", "index": index, "number": str(index), "name": "NVIDIA GeForce RTX 4090", "memory_total": 24 * GIBIBYTE,
        "memory_free": 12 * GIBIBYTE, "temperature": 61, "power": 250.0, "power_limit": 450.0, "utilization": 97,
        "paused": None,
    } | changes  # fmt: skip


def job(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "job_id": f"job_{number:026}", "service": "llm_inference", "model": "smollm2-135m-instruct", "stage": "running",
        "device": "GPU-0", "progress": 50.0, "seconds": 75.0,
    } | changes  # fmt: skip


def status(**changes: Any) -> dict[str, Any]:
    return {
        "miner_id": "miner_vi5bnc3uzdeounve6vhf4s3pzu", "connection": "websocket", "started_at": NOW - 3900,
        "silent_since": None, "refusal": None, "malformed_leases": None,
        "stopping": False, "drain_seconds_left": None, "paused": None, "pauses": {"miner": None},
        "earned_today": {"amount": "1.25", "jobs": 12}, "gpus": [gpu(0), gpu(1)], "gpu_reason": "No driver.",
        "leases": [], "finished": [], "downloads": [], "placement": {"waiting": []}, "services": ["llm_inference"],
        "now": {"no jobs for this machine": 2.0},
        "idle": [{"reason": "working", "share": 0.62}, {"reason": "no jobs for this machine", "share": 0.38}],
    } | changes  # fmt: skip


def test_a_refused_miner_and_a_silent_coordinator_are_shown_with_reason_and_time() -> None:
    """So are leases that the miner did not understand."""
    since = time.strftime("%H:%M:%S", time.localtime(NOW - 50))
    silent = lines(200, 50, status(connection="offline", silent_since=NOW - 50))
    assert silent[1].startswith(f"the coordinator has not answered since {since}")
    refused = lines(200, 50, status(connection="offline", refusal="Update the miner's agent."))
    assert refused[1].startswith("refused by the coordinator")
    assert refused[2] == "Refused: Update the miner's agent."
    update = {"line": "version 9.0.0 is on trial"}
    assert lines(200, 50, status(update=update))[2] == "Update: version 9.0.0 is on trial"
    advice = "The miner's version, 0.2.0, is older."
    assert lines(200, 50, status(version_advice=advice))[2] == advice
    leases = {"count": 2, "at": NOW - 50, "job_id": "job_1", "reason": "Lease: checkpoints"}
    assert lines(200, 50, status(malformed_leases=leases))[2] == (
        f"2 leases not understood, the last at {since} (Lease: checkpoints): update the agent (docs/how-to/operate.md#upgrade)"
    )


def lines(width: int, height: int, shown: dict[str, Any] | None, **view: Any) -> list[str]:
    drawn = draw(PanelView("http://127.0.0.1:8420", shown, **{"log": (), "now": NOW, **view}), width, height)
    assert len(drawn) <= height
    assert all(line.cell_len <= width and line.plain.isprintable() for line in drawn)
    return [line.plain.rstrip() for line in drawn]


def test_why_an_engine_does_not_use_a_card_is_shown_once_below_the_cards() -> None:
    """Several services may have the same engine."""
    reason = "The NVIDIA driver 570.86.15 is too old for vllm: update the driver to 580.65 or newer."
    shown = lines(200, 50, status(engine_obstacles={"llm_inference": [reason], "text_embedding": [reason]}))
    assert [number for number, line in enumerate(shown) if reason in line] == [
        next(number for number, line in enumerate(shown) if line.startswith(" GPU 1")) + 1
    ]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_sections_have_a_fixed_order(width: int, height: int) -> None:
    """The header, the state, GPUs, jobs, downloads, the last hour, finished jobs, the log and the keys, each complete."""
    shown = lines(
        width,
        height,
        status(
            gpus=[gpu(0), gpu(1, paused="by hand until 14:30")],
            leases=[
                job(1),
                job(2, stage="loading", device="GPU-1", model=None, service="whisper_transcription"),
            ],
            downloads=[{"model": "tiny", "done": GIBIBYTE, "total": 2 * GIBIBYTE}],
            finished=[job(3) | {"outcome": "OUT_OF_MEMORY", "ended_at": NOW, "seconds": 0.4}],
        ),
        log=[f"10:00:0{number} [info] something_happened" for number in range(9)],
    )
    assert shown[0].startswith("AITBC agent  http://127.0.0.1:8420 ")
    assert shown[0].endswith(" up 1 h 5 min")
    assert shown[1].startswith("connected")
    assert shown[1].endswith(" earned today 1.25 credits from 12 jobs")
    assert shown[2] == "Working on 2 jobs."
    titles = [line.split()[1] for line in shown if line.startswith("─ ")]
    assert titles == ["GPUs", "Jobs", "Downloads", "Last", "Finished", "Log"]
    assert shown[4].startswith(" GPU 0  RTX 4090 ")
    assert shown[4].split("░")[-1].split() == ["12.0/24.0", "GiB", "61", "°C", "250/450", "W", "97", "%"]
    assert shown[6] == "        paused by hand until 14:30"
    assert ("50 %" in shown[8], "1:15" in shown[8]) == (True, True)
    assert "GPU 1 loading model" in shown[9]
    assert (" tiny " in shown[11], "1.00 of 2.00 GiB" in shown[11]) == (True, True)
    assert shown[13] == " 62 % working  38 % no jobs for this machine"
    assert "out of memory" in shown[15]
    assert shown[15].rstrip().endswith("0.4 s" if width < 110 else f"0.4 s  {job(3)['job_id']}")
    assert shown[17 if height == 24 else 25].endswith("something_happened")
    assert (len(shown), shown[-1]) == (height, " q stop   p pause")


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "Ready: there are no jobs for this machine at the moment."),
        ({"now": {"no connection to the coordinator": 1.0}}, "Idle: no connection to the coordinator."),
        ({"paused": "by schedule until 18:00"}, "Paused by schedule until 18:00"),
        ({"paused": "by hand", "leases": [job(1)]}, "Paused by hand; 1 job still running"),
        ({"paused": "Several jobs failed on this machine. It pauses for 60 s."}, "Paused (Several jobs failed on this machine. It pauses for 60 s)"),
        ({"placement": {"waiting": [{"reason": "It needs 4 GiB."}]}}, "Waiting: It needs 4 GiB."),
        ({"services": []}, "Idle: this machine offers no service; see `aitbc-agent doctor`."),
        ({"stopping": True, "drain_seconds_left": 27.4, "leases": [job(1)]}, "Waiting up to 27 s for 1 job, then handing it back. Press again to stop now."),
        ({"stopping": True, "drain_seconds_left": 27.4, "leases": [job(1), job(2)]}, "Waiting up to 27 s for 2 jobs, then handing them back. Press again to stop now."),
        ({"stopping": True, "drain_seconds_left": 9.0}, "Stopping: sending the last results."),
    ],
)  # fmt: skip
def test_one_line_states_the_activity_or_the_reason_for_none(changes: dict[str, Any], state: str) -> None:
    assert lines(80, 24, status(**changes))[2] == state


def test_a_machine_without_gpus_and_a_starting_one_are_shown() -> None:
    assert " none: jobs run on the CPU" in lines(80, 24, status(gpus=[]))
    assert " No driver." in lines(200, 50, status(gpus=[]))
    assert lines(80, 24, None)[1].startswith("Starting:")


def test_a_link_is_shown_in_full() -> None:
    link = f"Dashboard: http://127.0.0.1:8420/dashboard/#login={'x' * 60}"
    shown = lines(80, 24, status(), announcements=(link,))
    assert shown[2] + shown[3] == link


@given(
    st.integers(1, 250),
    st.integers(1, 60),
    st.integers(0, 9),
    st.integers(0, 12),
    st.integers(0, 30),
    st.text(max_size=300) | st.just("\x1b[2J\x1b]0;title\x07\r\n"),
)
def test_the_lines_never_exceed_the_terminal(
    width: int, height: int, gpus: int, jobs: int, finished: int, words: str
) -> None:
    """With any names and sentences, wide characters and control sequences among them."""
    shown = status(
        gpus=[gpu(number, name=words or "card", paused=words or None) for number in range(gpus)],
        leases=[job(number, model=words or None) for number in range(jobs)],
        finished=[job(number) | {"outcome": "completed", "ended_at": NOW} for number in range(finished)],
        downloads=[{"model": words, "done": 5, "total": None}],
    )
    lines(width, height, shown, log=[words] * 50, announcements=(words,))


@pytest.mark.parametrize(
    ("plain", "terminal", "term", "expected"),
    [
        (False, True, "xterm-256color", True),
        (True, True, "xterm-256color", False),
        (False, False, "xterm-256color", False),
        (False, True, "dumb", False),
        (False, True, "", False),
    ],
)
def test_the_panel_is_shown_only_on_a_capable_terminal(
    monkeypatch: pytest.MonkeyPatch, plain: bool, terminal: bool, term: str, expected: bool
) -> None:
    monkeypatch.setenv("TERM", term)
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: terminal)
    assert live.can_show(plain=plain) is expected


def test_a_terminal_without_a_size_is_drawn_at_80_by_24() -> None:
    """A new pseudo-terminal reports no size, as serial consoles and `docker run -t` without a client do."""
    main, terminal = os.openpty()
    try:
        assert live.terminal_size(terminal) == (80, 24)
        termios.tcsetwinsize(terminal, (50, 200))
        assert live.terminal_size(terminal) == (200, 50)
    finally:
        os.close(main)
        os.close(terminal)


def test_a_long_log_line_is_shown_in_full() -> None:
    """It continues on the next lines of the terminal."""
    words = " ".join(f"word{number}" for number in range(40))
    shown = lines(80, 40, status(), log=["an earlier line", words])
    start = shown.index("an earlier line")
    assert " ".join(line for line in shown[start + 1 : -1] if line) == words


def test_the_reason_why_there_is_no_gpu_is_shown_in_full() -> None:
    """With what to do about it, over two lines if one is too short."""
    reason = "No NVIDIA driver was found. " + "If it has an NVIDIA GPU, install the driver. " * 3
    shown = lines(120, 40, status(gpus=[], gpu_reason=reason.strip()))
    start = shown.index(" none: jobs run on the CPU") + 1
    assert " ".join(line.strip() for line in shown[start : start + 2]) == reason.strip()
    assert all(line.startswith(" ") for line in shown[start : start + 2])


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        (
            {
                "timestamp": "12:00:01",
                "level": "info",
                "event": "model_fetched",
                "model": "tiny.en",
                "seconds": 4,
            },
            "12:00:01  tiny.en was downloaded in 4 s.",
        ),
        (
            {
                "timestamp": "12:00:01",
                "level": "info",
                "event": "job_moved",
                "job_id": "job_1",
                "url": None,
                "trace_id": "1",
                "pid": 2,
            },
            "12:00:01  Job moved (job_1)",
        ),
        (
            {
                "timestamp": "12:00:01",
                "level": "info",
                "event": "probed",
                "services": ["llm_inference", "ai_inference"],
            },
            "12:00:01  Probed (services: llm_inference, ai_inference)",
        ),
        (
            {"timestamp": "12:00:01", "level": "warning", "event": "rate_limited"},
            "\x1b[33m12:00:01  Rate limited\x1b[0m",
        ),
    ],
)
def test_log_entries_are_sentences(entry: dict[str, Any], line: str) -> None:
    assert readable(None, "", entry) == line


def test_the_panel_shows_no_sentence_twice_in_succession_and_nothing_for_developers() -> None:
    pane = LogPane()
    pane.shown = True
    logger = structlog.wrap_logger(
        structlog.WriteLoggerFactory(cast("TextIO", pane))(),
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S.%f"),
            readable,
        ],
    )
    for _ in range(3):
        logger.info("heartbeat_failed", error="no answer")
    logger.info("child_started", service="ffmpeg", device="cpu")
    logger.info("job_submitted", job_id="job_1", service="ffmpeg")
    logger.info("outbox_answered", job_id="job_1", kind="result", status=200, code=None, final=True)
    assert [line.partition("  ")[2] for line in pane.lines] == [
        "The coordinator does not answer at the moment.",
        "job_1 is done.",
    ]
