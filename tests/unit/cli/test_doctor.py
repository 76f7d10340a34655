"""The output of the doctor's diagnostics."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.cli.commands.machine import doctor
from agent.diagnostics import Diagnostic, ok
from agent.miner.doctor.diagnostics import found


def offered(service: str, hint: str = "") -> Diagnostic:
    return replace(ok(service, f"{service} is offered. {hint}"), service=service)


def missing(service: str, reasons: str) -> Diagnostic:
    return replace(found("service_unavailable", service=service, reasons=reasons), service=service)


def printed(
    capsys: pytest.CaptureFixture[str], *diagnostics: Diagnostic, everything: bool = False
) -> list[str]:
    doctor._print(list(diagnostics), everything=everything)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_the_verdict_comes_first_then_problems_and_a_line_for_each_service(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Brackets contain the names of extras, and are not markup. What passed is counted only."""
    monkeypatch.setenv("COLUMNS", "120")
    install = "/x/python -m uv pip install 'aitbc-agent[whisper]'"
    assert printed(
        capsys,
        ok("python", "Python 3."),
        found("sandbox_off"),
        offered("ffmpeg"),
        offered("llm", "The engine vllm is not installed. Install it: aitbc-agent engines install vllm."),
        missing(
            "whisper", f"These packages are missing: torch. Install them: {install}. Or do something else."
        ),
        missing("blender", "The kernel is too old."),
    ) == [
        "This machine can work, with 2 of 4 services: 1 warning.",
        "",
        "warning  The sandbox is switched off: programs that read untrusted files can access this user's files. (sandbox_off)",
        "         → Set runners.sandbox to auto, unless the whole agent is isolated.",
        "",
        "Services",
        "ffmpeg   ready",
        "llm      ready        can do more: aitbc-agent engines install vllm",
        f"whisper  not offered  {install}",
        "blender  not offered  The kernel is too old.",
        "",
        "1 other check passed. `aitbc-agent doctor --all` shows them.",
    ]


def test_all_checks_are_shown_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, ok("python", "Python 3."), offered("ffmpeg"), everything=True)
    assert lines == [
        "This machine can work, with 1 of 1 services: no problems found.",
        "",
        "ok  Python 3.",
        "ok  ffmpeg is offered.",
    ]


@pytest.mark.parametrize(
    ("faults", "warnings", "words"),
    [
        (0, 0, "This machine can work: no problems found."),
        (0, 2, "This machine can work: 2 warnings."),
        (1, 0, "This machine cannot work: 1 problem."),
        (2, 1, "This machine cannot work: 2 problems and 1 warning."),
    ],
)
def test_the_verdict_counts_the_diagnostics(faults: int, warnings: int, words: str) -> None:
    diagnostics: list[Any] = [found("no_service")] * faults + [found("sandbox_off")] * warnings
    assert doctor._verdict(diagnostics) == words
