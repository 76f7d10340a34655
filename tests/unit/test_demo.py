"""The demo ends with sentences and with the results that it has, even if parts fail."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "scripts" / "demonstration"
MODULES = {path.stem for path in FOLDER.glob("*.py")}


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(FOLDER)
    import demo  # noqa: PLC0415 - found through the path above

    yield demo
    for name in MODULES & sys.modules.keys():
        del sys.modules[name]


def test_a_program_that_takes_too_long_is_a_failure_with_a_sentence(
    demo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import demo_agent  # noqa: PLC0415 - as above

    monkeypatch.setattr(demo_agent, "PATIENCE_SECONDS", 0.05)
    with pytest.raises(demo.DemoError, match=r"^sleep 60 did not end within 0\.05 s\.$"):
        demo_agent.finished("sleep", "60")
    with pytest.raises(demo.DemoError, match=r"^nothing could not be run: .*No such file"):
        demo_agent.finished("/nowhere/nothing")


def test_a_job_that_fails_does_not_end_the_others(
    demo: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither when it is prepared, submitted, awaited or collected, nor when its receipt is verified."""
    import demo_receipts  # noqa: PLC0415 - as above

    monkeypatch.setattr(demo_receipts, "LOG_KEY", tmp_path / "log_key.txt")
    demo_receipts.LOG_KEY.write_text("log+1+key\n")

    def work(step: str) -> Any:
        def do(name: str, value: Any = None) -> Any:
            if name == step:
                raise OSError(f"{name} [broken]")
            return value

        made = SimpleNamespace(
            title=f"fails in {step}", job_id=step, files={}, name=step, bundle=tmp_path / "missing.json"
        )
        made.prepare = lambda: do("prepare")
        made.submit = lambda _: do("submit")
        made.collect = lambda _: do("collect")
        made.check = lambda: do("check", ("name", "words"))
        return made

    def wait(job_id: str, _timeout: float, _show: Any) -> None:
        if job_id == "wait":
            raise TimeoutError("it is still running")

    steps = ("prepare", "submit", "wait", "collect", "check", "verify")
    subject = demo.Demo([work(step) for step in steps])
    client: Any = SimpleNamespace(jobs=SimpleNamespace(wait=wait))
    subject.prepare()
    subject.run_jobs(client)
    assert [left.title for left in subject.works] == ["fails in verify"]
    assert subject.verify() == []
    assert list(subject.failures) == [f"fails in {step}" for step in steps]
    assert subject.failures["fails in wait"] == "TimeoutError: it is still running"
    assert "fails in verify" not in subject.failures["fails in verify"]
    assert "OSError: prepare [broken]" in capsys.readouterr().out


def test_an_unexpected_error_ends_the_demo_with_a_sentence(
    demo: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: Any) -> None:
        raise RuntimeError("nobody expected this")

    monkeypatch.setattr(demo, "FOLDER", tmp_path / "demo")
    monkeypatch.setattr(demo, "AGENT_LOG", tmp_path / "none.log")
    monkeypatch.setattr(demo, "run", run)
    monkeypatch.setattr(sys, "argv", ["demo"])
    monkeypatch.setattr(demo.signal, "signal", lambda *_: None)
    assert demo.main() == 1
    assert "The demo failed: RuntimeError: nobody expected this" in capsys.readouterr().out
