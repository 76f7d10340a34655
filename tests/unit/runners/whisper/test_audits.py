"""Transcripts of one miner, compared by another."""

from __future__ import annotations

import json

import pytest

from runners.api import Audited, Calibration, Condition, Tools
from runners.audits import HonestRange
from runners.whisper import WhisperRunner
from runners.whisper.comparison import (
    MARGIN,
    SpokenWord,
    Stretch,
    chosen_window,
    compared,
    distance,
    timed_words,
    within,
)
from runners.whisper.request import TranscribeRequest

pytestmark = pytest.mark.ship


def spoken(text, start=0.0):
    return [SpokenWord(word, start + number) for number, word in enumerate(text.split())]


@pytest.mark.parametrize(
    ("claimed", "own", "errors", "where"),
    [
        ("the cat sat on the mat today", "the cat sat on the mat today", 0, ""),
        ("the cat sat at the mat today", "the cat sat on the mat today", 1 / 7, "at 3.0 s: 'at' instead of 'on'"),
        ("the cat sat on mat today", "the cat sat on the mat today", 1 / 7, "at 4.0 s: nothing instead of 'the'"),
        ("the big cat sat on the mat today", "the cat sat on the mat today", 1 / 7, "at 1.0 s: 'big' instead of nothing"),
        ("", "the cat sat", 1, "at 0.0 s: nothing instead of 'the'"),
        ("a b c d e f g h i j", "x", 1, "at 0.0 s: 'a' instead of 'x'"),
    ],
)  # fmt: skip
def test_words_differ_by_the_fewest_changes(claimed, own, errors, where):
    found = distance(spoken(claimed), spoken(own), Stretch(0, 0, open_start=False, open_end=False))
    assert found.errors == pytest.approx(errors, abs=1e-6)
    assert found.first_wrong.startswith(where[:20])


def test_words_beyond_a_window_do_not_count():
    claimed = spoken("one two three four five six seven eight nine ten eleven twelve")
    own = spoken("hree four five six seven eight nin", start=2)
    assert distance(claimed, own, Stretch(0, 0, open_start=True, open_end=True)).errors == 0
    assert distance(claimed, own, Stretch(0, 0, open_start=True, open_end=False)).errors > 0.5
    shifted = [SpokenWord(word.text, word.seconds + 2) for word in claimed]
    assert distance(shifted, own, Stretch(0, 0, open_start=True, open_end=True)).seconds == 2


def test_a_window_of_a_long_sound_is_random():
    assert chosen_window("a", 59.0) == (0, 59)
    windows = {chosen_window(choice, 600.0) for choice in "abc"}
    assert len(windows) == 3
    assert all(start >= 0 and end <= 600 and end - start == pytest.approx(60) for start, end in windows)
    segments = [{"start": 0, "end": 10, "text": "One, two."}, {"start": 30, "end": 40, "text": "three"}]
    stretch = Stretch(32.0, 60.0, open_start=True, open_end=True)
    assert [word.text for word in within(timed_words(segments), stretch, MARGIN)] == ["three"]


def test_doubtful_spans_are_left_out():
    """Their words differ at will, and those beside them are compared as at a window's borders."""
    window = Stretch(0.0, 60.0, open_start=False, open_end=True)
    assert window.without([]) == [window]
    assert window.without([(0.0, 70.0)]) == []
    left = window.without([(15.0, 30.0), (30.0, 40.0)])
    assert left == [
        Stretch(0.0, 15.0, open_start=False, open_end=True),
        Stretch(40.0, 60.0, open_start=True, open_end=True),
    ]
    own = spoken(" ".join(f"word{number}" for number in range(60)))
    claimed = [word if not 15 <= word.seconds <= 40 else SpokenWord("other", word.seconds) for word in own]
    found = compared(claimed, own, left)
    assert (found.errors, found.words > 25) == (0, True)
    assert compared(claimed, own, [window]).errors > 0.3
    wrong = [SpokenWord("no", word.seconds) if word.seconds == 5 else word for word in claimed]
    assert compared(wrong, own, left).first_wrong == "at 5.0 s: 'no' instead of 'word5'"


@pytest.fixture(scope="module")
def whisper(models, device):
    runner = WhisperRunner(Tools(models_dir=models), device)
    yield runner
    runner.close()


def test_a_wrong_word_is_found_by_another_run(whisper, speech, make_context):
    request = TranscribeRequest(audio_url="artifact:x", model="tiny.en")
    done = whisper.run(request, make_context({"audio_url": speech}))
    honest = json.loads(json.dumps(dict(done.results)))
    predicate = {"model": None, "device": {"kind": "cpu", "name": "test processor", "uuid": None}}
    condition = Condition(done.evidence["engine"], done.evidence["precision"], "cpu")
    ranges = {"words": HonestRange(0, 0, 10, 0.05), "seconds": HonestRange(0, 0, 10, 1.0)}
    made = Calibration("whisper_transcription", condition, condition, ranges)

    def audit(answer=None, calibrations=(made,), **changed):
        audited = Audited(
            honest | changed,
            {"predicate": predicate},
            done.evidence,
            "",
            "7",
            answer,
            calibrations=calibrations,
        )
        return whisper.audit(request, audited, make_context({"audio_url": speech}))

    found = audit()
    assert (found.comparison.verdict, float(found.units)) == ("pass", honest["duration"])
    changed = [segment | {"text": segment["text"].replace("the", "no")} for segment in honest["segments"]]
    text = " ".join(segment["text"] for segment in changed)
    wrong = audit(segments=changed, text=text).comparison
    assert (wrong.verdict, "'no' instead of 'the'" in wrong.where) == ("fail", True)
    late = [
        segment | {"start": segment["start"] + 9, "end": segment["end"] + 9} for segment in honest["segments"]
    ]
    assert "seconds" in audit(segments=late).comparison.reason
    assert audit(text="Something else").comparison.where == "the text"
    assert audit(duration=honest["duration"] - 1).comparison.where == "the duration"
    assert audit(calibrations=()).comparison.verdict == "unproven"
    known = audit(answer=honest)
    assert (known.comparison.verdict, float(known.units)) == ("pass", honest["duration"])
    assert audit(answer=honest, segments=changed, text=text).comparison.verdict == "fail"
