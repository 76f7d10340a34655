"""`aitbc-agent bench` on this machine's own ffmpeg."""

from __future__ import annotations

import json
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent.settings import load_settings
from runners.ffmpeg import runner as ffmpeg


@pytest.fixture
def bench(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command on an empty data directory, with a clip of one second, measured once."""
    monkeypatch.setattr(ffmpeg, "BENCHMARK_SECONDS", 1)
    return lambda *words: run("bench", "--data-dir", tmp_path, "--seconds", "0", *words)


def test_transcoding_is_measured_and_priced(bench: Any, tmp_path: Path) -> None:
    """The price earns what was asked for at the measured speed; the settings that it prints are valid."""
    done = bench("--service", "video_transcoding", "--per-hour", "3.6", "--json")
    assert done.code == 0, done.err
    assert "Measuring video_transcoding on" in done.err
    shown = json.loads(done.out)
    (score,) = shown["scores"]
    assert (score["metric"], score["model"], shown["skipped"], shown["batch"]) == ("fps", None, [], None)
    assert score["speed"] > 1
    price = Decimal(shown["prices"]["video_transcoding"])
    assert float(price) * score["units_per_second"] == pytest.approx(0.001, rel=1e-3)
    assert tomllib.loads(shown["toml"]) == {"miner": {"prices": {"video_transcoding": str(price)}}}
    (tmp_path / "agent.toml").write_text(shown["toml"])
    assert load_settings(flags={"data_dir": tmp_path}).miner.prices == {"video_transcoding": price}


def test_people_get_lines_and_what_to_paste(bench: Any) -> None:
    done = bench("--service", "video_transcoding")
    assert done.code == 0, done.err
    first, *_ = done.out.splitlines()
    assert first.startswith("video_transcoding on ")
    assert " fps, 1 at once, " in first
    assert "To earn 0.25 in a busy hour" in done.out
    assert "[miner.prices]\nvideo_transcoding = " in done.out


def test_nothing_measured_is_a_failure_with_its_reason(
    bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AITBC_RUNNERS__FFMPEG", "/nowhere/ffmpeg")
    done = bench("--service", "video_transcoding")
    assert done.code == 1
    assert done.out.startswith(
        "video_transcoding was not measured: /nowhere/ffmpeg was not found; install ffmpeg"
    )
    assert not (tmp_path / "miner" / "benchmark.json").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--per-hour", "much"), 2, "decimal string"),
        (("--per-hour", "0"), 2, "more than zero"),
        (("--service", "video"), 1, "No runner is installed for 'video'; installed are:"),
    ],
)
def test_a_misuse_says_what_fits(bench: Any, words: tuple[str, ...], code: int, said: str) -> None:
    done = bench(*words)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
