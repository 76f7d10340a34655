"""`aitbc speak`: a text from an argument, a file or stdin becomes a file."""

from __future__ import annotations

import pytest

MODEL = {"service_id": "speech_synthesis", "ready": ["joe"], "models": ["joe"]}


@pytest.fixture
def speaking(coordinator):
    coordinator.registry["/speech_synthesis"] = MODEL
    artifact_id = coordinator.store(b"sound")
    audio = {
        "artifact_id": artifact_id,
        "url": "/",
        "media_type": "audio/mpeg",
        "size": 5,
        "name": "speech.mp3",
    }
    coordinator.results = {"audio": audio, "duration": 1.0, "voice": "joe"}
    return coordinator


def test_a_text_becomes_a_file_of_the_format_of_its_name(quick, speaking, workdir) -> None:
    done = quick(
        "speak", "Good morning.", "--voice", "joe", "--speed", "1.5", "--language", "en-gb", "-o", "out.opus"
    )
    assert done.returncode == 0, done.stderr
    assert (workdir / "out.opus").read_bytes() == b"sound"
    assert speaking.bodies == [
        {"input": "Good morning.", "model": "joe", "voice": "joe", "speed": 1.5, "language": "en-gb", "output_format": "opus"}
    ]  # fmt: skip
    # The same command again fetches nothing that is there.
    assert (
        quick(
            "speak",
            "Good morning.",
            "--voice",
            "joe",
            "--speed",
            "1.5",
            "--language",
            "en-gb",
            "-o",
            "out.opus",
        ).returncode
        == 0
    )
    assert len(speaking.created) == 1


def test_texts_come_from_files_and_stdin(quick, speaking, workdir) -> None:
    (workdir / "chapter.txt").write_text("One.\n\nTwo.\n")
    assert quick("speak", "--input", "chapter.txt", "--model", "m").returncode == 0
    assert speaking.bodies[-1] == {"input": "One.\n\nTwo.\n", "model": "m"}
    assert (workdir / "one-two.mp3").is_file()
    assert quick("speak", "-", "--model", "m", stdin="Three.").returncode == 0
    assert (workdir / "three.mp3").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["speak", "Hi", "-o", "out.exe"], "no suffix of a known format"),
        (["speak", "Hi", "-i", "chapter.txt"], "not both"),
        (["speak", "-i", "missing.txt"], "cannot be read"),
        (["speak", " "], "There is no text"),
        (["speak", "x" * 100_001], "Split it"),
        (["speak", "Hi", "--speed", "9"], "less than or equal to 4"),
    ],
)
def test_mistakes_are_named_before_a_job_is_created(quick, speaking, arguments, message) -> None:
    refused = quick(*arguments)
    assert refused.returncode == 2
    assert message in " ".join(refused.stderr.replace("\u2502", " ").split())
    assert not speaking.created
