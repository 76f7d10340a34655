"""Files whose description by ffprobe is long: the runner holds it in its own memory, outside the sandbox."""

from __future__ import annotations

import pytest

from runners.api import Fail
from runners.ffmpeg import process

LIMIT = 64 * 1024


@pytest.fixture
def with_chapters(make_media, tmp_path):
    """Make a short sound with so many chapters, whose titles have so many characters."""

    def make(count, title):
        chapters = (
            f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={n}\nEND={n + 1}\ntitle={'x' * title}\n" for n in range(count)
        )
        listed = tmp_path / f"{count}.txt"
        listed.write_text(";FFMETADATA1\n" + "".join(chapters))
        return make_media(
            f"{count}.mkv", "-f", "lavfi", "-i", "sine=duration=1", "-i", str(listed), "-map_chapters", "1"
        )

    return make


def test_attack_a_file_of_very_many_chapters_is_refused(
    tools, with_chapters, make_context, transcode, monkeypatch
):
    monkeypatch.setattr(process, "MAX_DESCRIPTION", LIMIT, raising=False)
    many = with_chapters(5000, 1)
    with pytest.raises(Fail, match="too many streams, chapters"):
        process.inspect(tools, many, make_context())
    with pytest.raises(Fail, match="too many streams, chapters"):
        transcode(many, output_format="mp3")


def test_only_the_used_entries_are_read(tools, with_chapters, make_context, monkeypatch):
    """Titles and tags of any length do not count."""
    monkeypatch.setattr(process, "MAX_DESCRIPTION", LIMIT, raising=False)
    read = []
    listed = process.probe_lines

    def spy(tools, file, context, options, on_line, **limits):
        def listen(line):
            read.append(line)
            on_line(line)

        listed(tools, file, context, options, listen, **limits)

    monkeypatch.setattr(process, "probe_lines", spy)
    media = process.inspect(tools, with_chapters(200, 2000), make_context())
    assert (media.chapters, media.audio.channels) == (200, 1)
    assert not any("xxx" in line for line in read)
