"""The jobs of the demo that are to be watched and heard: a video is transcoded, a sentence transcribed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aitbc import AITBCClient
from demo_work import FOLDER, Work, expect, kilobytes, program

SOURCE_SIZE = "640x360"
TARGET_SIZE = "320x180"
VIDEO_SECONDS = 3
DURATION_TOLERANCE_SECONDS = 0.1

SENTENCE = (
    "Please transcribe this short message and send the result back to the coordinator before noon on Friday."
)


class Transcoding(Work):
    """A moving test picture with a tone, made smaller."""

    service = "video_transcoding"
    title = f"video_transcoding to {TARGET_SIZE}"
    name = "transcoded"
    source = FOLDER / "video.mp4"

    def prepare(self) -> tuple[str, str]:
        """See `Work.prepare`."""
        picture = f"testsrc2=size={SOURCE_SIZE}:rate=25:duration={VIDEO_SECONDS}"
        tone = f"sine=frequency=440:duration={VIDEO_SECONDS}"
        inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", tone]
        program("ffmpeg", "-v", "error", *inputs, "-pix_fmt", "yuv420p", str(self.source))
        return self.source.name, f"{SOURCE_SIZE}, {VIDEO_SECONDS} s, {kilobytes(self.source)}"

    def submit(self, client: AITBCClient) -> None:
        """See `Work.submit`."""
        self.job_id = client.services.transcode(
            self.source, output_format="mp4", codec="h264", resolution=TARGET_SIZE
        ).job_id

    def check(self) -> tuple[str, str]:
        """Compare what ffprobe says of the video with what was asked for."""
        path = self.file(self.results["file"])
        video, duration = probe(path)
        size = f"{video['width']}x{video['height']}"
        expect(video["codec_name"] == "h264", f"the video's codec is {video['codec_name']}, not h264.")
        expect(size == TARGET_SIZE, f"the video has {size}, not {TARGET_SIZE}.")
        _, wanted = probe(self.source)
        expect(
            abs(duration - wanted) <= DURATION_TOLERANCE_SECONDS,
            f"the video lasts {duration:.2f} s, not {wanted:.2f} s.",
        )
        return "video", f"{video['codec_name']}, {size}, {duration:.2f} s, {kilobytes(path)}"


def probe(path: Path) -> tuple[dict[str, Any], float]:
    """The first video stream of a file as ffprobe describes it, and the file's duration in seconds."""
    answer = json.loads(
        program("ffprobe", "-v", "error", "-show_streams", "-show_format", "-of", "json", str(path))
    )
    streams = [stream for stream in answer["streams"] if stream["codec_type"] == "video"]
    expect(bool(streams), f"{path.name} has no video in it.")
    return streams[0], float(answer["format"]["duration"])


class Transcription(Work):
    """A spoken sentence, written down."""

    service = "whisper_transcription"
    title = "whisper_transcription, tiny.en"
    name = "transcript"
    source = FOLDER / "speech.wav"

    def prepare(self) -> tuple[str, str]:
        """See `Work.prepare`. Speech recognition likes 16 kHz and one channel."""
        spoken = FOLDER / "spoken.wav"
        program("espeak-ng", "-v", "en-us", "-s", "150", "-w", str(spoken), SENTENCE)
        program("sox", str(spoken), "-r", "16000", "-c", "1", str(self.source))
        spoken.unlink()
        return self.source.name, f"one spoken sentence, {kilobytes(self.source)}"

    def submit(self, client: AITBCClient) -> None:
        """See `Work.submit`."""
        self.job_id = client.services.transcribe(self.source, model="tiny.en", language="en").job_id

    def check(self) -> tuple[str, str]:
        """Compare the transcript with what was said."""
        text = " ".join(self.results["text"].split())
        expect(text == SENTENCE, f"the transcript is {text!r}, but what was said is {SENTENCE!r}.")
        return "transcript", f"“{text}” (word for word)"
