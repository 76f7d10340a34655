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
    """Run the command on an empty data directory, with a clip of one second, measured once."""
    monkeypatch.setattr(ffmpeg, "BENCHMARK_SECONDS", 1)
    return lambda *words: run("bench", "--data-dir", tmp_path, "--seconds", "0", *words)


def test_transcoding_is_measured_and_priced(bench: Any, tmp_path: Path) -> None:
    """The price yields the requested earnings at the measured speed, and the printed settings are valid."""
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


def test_the_text_output_has_the_scores_and_the_settings(bench: Any) -> None:
    done = bench("--service", "video_transcoding")
    assert done.code == 0, done.err
    first, *_ = done.out.splitlines()
    assert first.startswith("video_transcoding on ")
    assert " fps, concurrency 1, " in first
    assert "To earn 0.25 in a busy hour" in done.out
    assert "[miner.prices]\nvideo_transcoding = " in done.out


def test_a_run_without_measurements_fails_with_the_reason(
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
    ("words", "code", "message"),
    [
        (("--per-hour", "much"), 2, "decimal string"),
        (("--per-hour", "0"), 2, "more than zero"),
        (("--service", "video"), 1, "No runner is installed for 'video'; installed are:"),
    ],
)
def test_invalid_options_are_refused_with_the_allowed_values(
    bench: Any, words: tuple[str, ...], code: int, message: str
) -> None:
    done = bench(*words)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
