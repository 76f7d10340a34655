"""`aitbc-agent bench` on this machine's own ffmpeg."""

from __future__ import annotations

import json
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent.configuring.reading import load_settings
from agent.miner.machine.default_prices import USUAL_RATES, usual_price
from runners.ffmpeg import runner as ffmpeg
from runners.registry import installed


@pytest.fixture
def bench(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command on an empty data directory, with a clip of five frames, measured once."""
    monkeypatch.setattr(ffmpeg, "BENCHMARK_SECONDS", 0.2)
    return lambda *words: run("bench", "--data-dir", tmp_path, "--seconds", "0", *words)


@pytest.mark.ship
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


@pytest.mark.system
def test_the_text_output_has_the_scores_and_the_settings(bench: Any) -> None:
    done = bench("--service", "video_transcoding")
    assert done.code == 0, done.err
    first, *_ = done.out.splitlines()
    assert first.startswith("video_transcoding on ")
    assert " fps, concurrency 1, " in first
    assert "To earn 0.25 credits in a busy hour" in done.out
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
        (("--per-hour", "much"), 2, "must be an amount"),
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


@pytest.mark.ship
def test_prices_are_applied_to_the_settings(bench: Any, tmp_path: Path) -> None:
    """Comments and other settings of the file stay. Without prices in it, the miner asks the same anyway."""
    (tmp_path / "agent.toml").write_text(
        '# mine\n[miner]\nname = "rig-1"\n\n[miner.prices]\nllm_inference = "0.5"\n'
    )
    done = bench("--service", "video_transcoding", "--apply", "--json")
    assert done.code == 0, done.err
    price = json.loads(done.out)["prices"]["video_transcoding"]
    written = (tmp_path / "agent.toml").read_text()
    assert written.startswith("# mine\n")
    settings = load_settings(flags={"data_dir": tmp_path}).miner
    assert settings.name == "rig-1"
    assert settings.prices == {"llm_inference": Decimal("0.5"), "video_transcoding": Decimal(price)}


def test_default_prices_follow_from_the_speed() -> None:
    """A token costs far less than a second of a whole machine, and a measured speed replaces the usual one."""
    hour = Decimal("0.25")
    assert usual_price(hour, "token") * 20 < usual_price(hour, "second")
    assert usual_price(hour, "an unknown unit") == usual_price(hour, "second")
    units = {runner.definition.unit for runner in installed().values()}
    assert units <= set(USUAL_RATES)
