"""Text from outside is printed as it is: rich takes no brackets of it for markup, and no names between colons for emoji."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from agent.cli.commands.running import status
from aitbc.cli._terminal.output import SafeConsole

ROOT = Path(__file__).parents[4]
SOURCES = [path for folder in ("agent/cli", "sdk/python/aitbc/cli") for path in (ROOT / folder).rglob("*.py")]

MARKED = ("TextColumn", "RichHandler", "from_markup", "render_markup")
"""What takes brackets for markup, unless its arguments say otherwise."""

MINER = {
    "started_at": 0, "miner_id": "miner_1", "connection": "websocket", "session": 1, "silent_since": None, "refusal": "[old]", "malformed_leases": None, "paused": "[bold]by hand[/]",
    "earned_today": None, "slots": {"total": 1, "free": 1}, "outbox": 0, "gpus": [], "gpu_reason": "a [red] driver :bug:",
    "placement": {"nodes": [{"node": "[n]", "reason": "[node]"}], "waiting": [{"service": "s", "reason": "[wait]"}], "recent": []},
    "sandbox": None, "services": ["text_embedding"], "unavailable": {"llm_inference": ["Install 'aitbc-agent[llm]'."]},
    "engine_obstacles": {"text_embedding": ["[old]"]}, "paused_services": {"s": "[hung]"}, "unavailable_models": {"s": {"[m]": "[damaged]"}}, "children": [], "leases": [],
    "energy": {
        "today": {"kwh": 0.0, "idle_kwh": 0.0, "net": None}, "month": {}, "price": None, "currency": None, "problem": "[late]", "unprofitable": [],
    },
    "power_limits": {"problems": {"GPU-1": "[refused]"}}, "downloads": [], "idle": [{"reason": "[idle]", "share": 1.0}],
}  # fmt: skip


def test_the_status_shows_brackets_of_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    status._print({"url": "http://[::1]:8000", "pid": 1, "miner": MINER})
    shown = " ".join(capsys.readouterr().out.split())
    for text in (
        *(
            "http://[::1]:8000 (process 1)",
            "refused: [old]",
            "paused: [bold]by hand[/]",
            "no GPU: a [red] driver :bug:",
        ),
        *("node [n] is not used: [node]", "llm_inference is unavailable: Install 'aitbc-agent[llm]'."),
        *(
            "text_embedding: [old]",
            "s pauses: [hung]",
            "[m] is unavailable (s): [damaged]",
            "waiting for memory (s): [wait]",
        ),
        "last hour: [idle] 100%",
    ):
        assert text in shown


def test_the_status_of_an_agent_that_is_not_yet_updated_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """The agent of 0.2.0 goes on while the command is already newer."""
    newer = {"energy", "power_limits", "engine_obstacles", "selftest"}
    older = {name: value for name, value in MINER.items() if name not in newer}
    status._print({"url": "http://127.0.0.1:8000", "pid": 1, "miner": older})
    assert "slots: 1 of 1 free" in capsys.readouterr().out


def test_nothing_prints_with_markup() -> None:
    """`SafeConsole` is the only console, as a rule of ruff says, and columns of progress bars are plain too."""
    marked = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Call) and _name(node.func) in MARKED and not _is_plain(node)
    ]
    assert marked == []


def test_a_console_prints_what_it_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    SafeConsole().print("[bold]a[/] :bug: [/nothing]")
    assert capsys.readouterr().out == "[bold]a[/] :bug: [/nothing]\n"


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _is_plain(call: ast.Call) -> bool:
    markup = {keyword.arg: keyword.value for keyword in call.keywords}.get("markup")
    return isinstance(markup, ast.Constant) and markup.value is False
