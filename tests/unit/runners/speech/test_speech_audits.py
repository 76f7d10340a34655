"""Speech of one miner, compared by another."""

from __future__ import annotations

import json
import shutil
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runners.api import Audited, Calibration, Comparison, Condition
from runners.audits import HonestRange
from runners.speech import SpeechRunner
from runners.speech.audit import COMPARER
from runners.speech.likeness import RATE, distances
from runners.speech.request import SynthesisRequest

pytestmark = pytest.mark.system

REQUEST = {
    "model": "piper-en-us-joe",
    "input": "The harbour is quiet tonight, and no ship has left the port. " * 2 + "At nine o'clock the watchman goes home.",
    "output_format": "wav",
}  # fmt: skip


def tone(*hertz: float) -> Any:
    time = np.arange(RATE) / RATE
    return np.concatenate([np.sin(2 * np.pi * pitch * time) for pitch in hertz]).astype(np.float32)


def test_distances_grow_with_the_difference() -> None:
    own = tone(300, 900)
    assert distances(own, own) == {"pace": 0, "spectrum": 0}
    assert distances(own, own / 3)["spectrum"] == pytest.approx(0, abs=0.1)
    stretched = distances(own, np.repeat(own, 1))
    assert stretched["pace"] == 0
    longer = distances(own, np.concatenate([own, own[-RATE // 2 :]]))
    assert longer["pace"] == pytest.approx(0.223, abs=0.001)
    assert longer["spectrum"] < 1
    assert distances(own, tone(900, 300))["spectrum"] > 5
    assert distances(own, np.zeros_like(own))["spectrum"] > 5
    assert distances(own, own[:0])["spectrum"] > 1000


@dataclass
class Work:
    """What a miner has handed in, and how it is audited."""

    runner: SpeechRunner
    results: dict[str, Any]
    file: Path
    make_context: Callable[..., Any]

    def audited(
        self, file: Path | None = None, request: dict[str, Any] | None = None, **changed: Any
    ) -> Comparison:
        condition = Condition("piper-tts", "as stored", "cpu")
        ranges = {name: HonestRange(0, limit, 10, limit) for name, limit in COMPARER.least_limits.items()}
        made = Calibration("speech_synthesis", condition, condition, ranges)
        named = file or self.file
        work = Audited(
            self.results | changed,
            {"predicate": {"model": None, "device": {"kind": "cpu", "name": "test processor", "uuid": None}}},
            {"engine": "piper-tts", "precision": "as stored"},
            choice="7",
            files={f"speech{named.suffix}": named},
            calibrations=(made,),
        )
        audit = self.runner.audit(
            SynthesisRequest.model_validate(request or REQUEST), work, self.make_context()
        )
        return audit.comparison


@pytest.fixture
def work(runner: SpeechRunner, make_context: Callable[..., Any], tmp_path: Path) -> Work:
    results = dict(runner.run(SynthesisRequest.model_validate(REQUEST), make_context()).results)
    file = results.pop("audio")
    stored = Path(shutil.copy(file.path, tmp_path / "speech.wav"))
    audio = {
        "artifact_id": "sha256:x",
        "url": "/",
        "media_type": "audio/wav",
        "size": 1,
        "name": "speech.wav",
    }
    return Work(runner, json.loads(json.dumps({**results, "audio": audio})), stored, make_context)


def rewritten(work: Work, change: Callable[[Any], Any], name: str) -> Path:
    """Return a copy of the file with other samples."""
    target = work.file.with_name(name) / "speech.wav"
    target.parent.mkdir()
    with wave.open(str(work.file)) as source, wave.open(str(target), "wb") as copy:
        copy.setparams(source.getparams())
        samples = np.frombuffer(source.readframes(source.getnframes()), dtype="<i2")
        copy.writeframes(change(samples).astype("<i2").tobytes())
    return target


@pytest.mark.ship
def test_honest_work_passes_and_everything_else_fails(work: Work) -> None:
    honest = work.audited()
    assert honest.verdict == "pass", honest
    assert set(honest.distances) == {"pace", "spectrum"}
    assert 0 < honest.distances["spectrum"] < COMPARER.least_limits["spectrum"]
    silent = work.audited(rewritten(work, lambda samples: samples * 0, "silent"))
    assert (silent.verdict, silent.distances["spectrum"] > 10) == ("fail", True)
    noise = np.random.default_rng(7)
    assert (
        work.audited(
            rewritten(work, lambda samples: noise.integers(-9000, 9000, len(samples)), "noise")
        ).verdict
        == "fail"
    )
    # The right voice with other words.
    backwards = work.audited(rewritten(work, lambda samples: samples[::-1], "backwards"))
    assert backwards.verdict == "fail", backwards

    # A voice that is a third lower, as a cheaper one could be.
    def lower(samples: Any) -> Any:
        return np.interp(np.arange(len(samples)) / 1.33, np.arange(len(samples)), samples)

    assert work.audited(rewritten(work, lower, "lower")).verdict == "fail"


def test_statements_that_contradict_the_request_fail(work: Work, tmp_path: Path) -> None:
    segments = work.results["segments"]
    for changed, where in (
        ({"voice": "amy"}, "the voice"),
        ({"segments": segments[:1]}, "the passages"),
        ({"segments": [{**segments[0], "start": 5.0}, *segments[1:]]}, "the times"),
        ({"segments": [{**segments[0], "end": float("nan")}, *segments[1:]]}, "the times"),
        ({"segments": [*segments[:-1], {**segments[-1], "end": 1e9}]}, "the times"),
        ({"duration": "long"}, "the results"),
    ):
        comparison = work.audited(**changed)
        assert (comparison.verdict, comparison.where) == ("fail", where), changed
    broken = tmp_path / "broken" / "speech.wav"
    broken.parent.mkdir()
    broken.write_bytes(b"RIFF no sound")
    assert work.audited(broken).where == "the file"
    assert work.audited(tmp_path / "speech.mp3").where == "the file"
