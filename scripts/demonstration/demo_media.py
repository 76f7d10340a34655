"""The demo's media jobs: a video to transcode and a sentence to transcribe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import demo_page as page
from aitbc import AITBCClient
from demo_page import Exhibit
from demo_work import FOLDER, Work, expect, kilobytes, program

SOURCE_SIZE = "640x360"
TARGET_SIZE = "320x180"
VIDEO_SECONDS = 3
DURATION_TOLERANCE_SECONDS = 0.1

SENTENCE = (
    "Please transcribe this short message and send the result back to the coordinator before noon on Friday."
)


class Transcoding(Work):
    """Scales down moving colours with a tone."""

    service = "video_transcoding"
    title = f"video_transcoding to {TARGET_SIZE}"
    name = "transcoded"
    source = FOLDER / "video.mp4"

    def prepare(self) -> tuple[str, str]:
        """See `Work.prepare`."""
        colours = "c0=0x0a6b52:c1=0x1c57b0:c2=0xe8c566:c3=0xad241c:nb_colors=4"
        picture = f"gradients=size={SOURCE_SIZE}:rate=25:duration={VIDEO_SECONDS}:speed=0.04:seed=3:{colours}"
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
        """Compare ffprobe's description of the video with the request."""
        path = self.file(self.results["file"])
        video, duration = probe(path)
        size = f"{video['width']}x{video['height']}"
        expect(video["codec_name"] == "h264", f"the video's codec is {video['codec_name']}, not h264.")
        expect(size == TARGET_SIZE, f"the video has {size}, not {TARGET_SIZE}.")
        _, expected = probe(self.source)
        expect(
            abs(duration - expected) <= DURATION_TOLERANCE_SECONDS,
            f"the video lasts {duration:.2f} s, not {expected:.2f} s.",
        )
        return "video", f"{video['codec_name']}, {size}, {duration:.2f} s, {kilobytes(path)}"

    def exhibit(self) -> Exhibit:
        """See `Work.exhibit`."""
        made = self.file(self.results["file"])
        return Exhibit(
            "A video, made smaller",
            page.text(f"{SOURCE_SIZE} to H.264 at {TARGET_SIZE}, with its sound."),
            page.side_by_side(
                page.video(self.source, f"Before: {SOURCE_SIZE}, {kilobytes(self.source)}"),
                page.video(made, f"After: {TARGET_SIZE}, {kilobytes(made)}"),
            ),
            f"$ aitbc transcode {self.source.name} {made.name} --codec h264 --resolution {TARGET_SIZE}",
        )


def probe(path: Path) -> tuple[dict[str, Any], float]:
    """Return ffprobe's description of a file's first video stream, and the file's duration in seconds."""
    answer = json.loads(
        program("ffprobe", "-v", "error", "-show_streams", "-show_format", "-of", "json", str(path))
    )
    streams = [stream for stream in answer["streams"] if stream["codec_type"] == "video"]
    expect(bool(streams), f"{path.name} contains no video.")
    return streams[0], float(answer["format"]["duration"])


class Transcription(Work):
    """Transcribes a spoken sentence."""

    service = "whisper_transcription"
    title = "whisper_transcription, tiny.en"
    name = "transcript"
    source = FOLDER / "speech.wav"

    def prepare(self) -> tuple[str, str]:
        """See `Work.prepare`. Speech recognition works best with 16 kHz and one channel."""
        spoken = FOLDER / "spoken.wav"
        program("espeak-ng", "-v", "en-us", "-s", "150", "-w", str(spoken), SENTENCE)
        program("sox", str(spoken), "-r", "16000", "-c", "1", str(self.source))
        spoken.unlink()
        return self.source.name, f"one spoken sentence, {kilobytes(self.source)}"

    def submit(self, client: AITBCClient) -> None:
        """See `Work.submit`."""
        self.job_id = client.services.transcribe(self.source, model="tiny.en", language="en").job_id

    def check(self) -> tuple[str, str]:
        """Compare the transcript with the spoken sentence."""
        text = " ".join(self.results["text"].split())
        expect(text == SENTENCE, f"the transcript is {text!r}, not {SENTENCE!r}.")
        return "transcript", f"“{text}” (word for word)"

    def exhibit(self) -> Exhibit:
        """See `Work.exhibit`."""
        return Exhibit(
            "A recording, written down",
            page.text("A synthetic voice reads a sentence. Listen, and compare:") + page.sound(self.source),
            page.quote(" ".join(self.results["text"].split())),
            f"$ aitbc transcribe {self.source.name} --model tiny.en --language en",
        )
