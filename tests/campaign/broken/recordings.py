"""Broken and unusual recordings of sound and moving pictures, made from a few good ones."""

from __future__ import annotations

import functools
import struct
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from campaign.broken.request import Chance
from campaign.broken.values import broken_boxes, damaged

_PICTURES = "-f lavfi -i testsrc2=size={size}:rate={rate}:duration={seconds}"
_SOUND = "-f lavfi -i sine=duration={seconds}"
SOUNDS = {
    "wav": "-c:a pcm_s16le", "mp3": "-c:a libmp3lame", "ogg": "-c:a libopus", "flac": "-c:a flac", "m4a": "-c:a aac", "aiff": "", "au": "", "mka": "-c:a libvorbis",
}  # fmt: skip
VIDEOS = {
    "mp4": "-c:v libx264 -preset ultrafast -pix_fmt yuv420p", "mov": "-c:v mjpeg", "webm": "-c:v libvpx -deadline realtime", "mkv": "-c:v ffv1", "gif": "",
    "avi": "-c:v mpeg4", "ts": "-c:v mpeg2video", "y4m": "-pix_fmt yuv444p", "flv": "-c:v flv1", "nut": "-c:v rawvideo -pix_fmt gray16le",
}  # fmt: skip
SILENT = ("gif", "y4m")


def _ffmpeg(arguments: str, suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"made.{suffix}"
        command = ["ffmpeg", "-v", "error", "-nostdin", "-y", *arguments.split(), path]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        return path.read_bytes()


@functools.cache
def sound(form: str, seconds: float = 0.5) -> bytes:
    """Return a tone."""
    return _ffmpeg(f"{_SOUND.format(seconds=seconds)} {SOUNDS[form]}", form)


@functools.cache
def video(form: str, size: str = "48x32", seconds: float = 0.4, *, silent: bool = False) -> bytes:
    """Return a moving picture, with a tone unless it is silent."""
    silent = silent or form in SILENT
    inputs = _PICTURES.format(size=size, rate=10, seconds=seconds) + (
        "" if silent else f" {_SOUND.format(seconds=seconds)}"
    )
    return _ffmpeg(f"{inputs} {VIDEOS[form]} {'-an' if silent else ''}", form)


@functools.cache
def silence(seconds: int) -> bytes:
    """Return a long silence, which is a small file."""
    return _ffmpeg(
        f"-f lavfi -i anullsrc=r=8000:cl=mono:d={seconds}:n=32768 -compression_level 0 -frame_size 32768",
        "flac",
    )


def wav(
    rate: int, channels: int, bits: int, data: bytes, *, form: int = 1, declared: int | None = None
) -> bytes:
    """Return a WAV with any header."""
    length = len(data) if declared is None else declared
    header = struct.pack(
        "<HHIIHH",
        form,
        channels,
        rate,
        (rate * channels * bits // 8) & 0xFFFFFFFF,
        (channels * bits // 8) & 0xFFFF,
        bits,
    )
    return (
        b"RIFF"
        + struct.pack("<I", (length + 36) & 0xFFFFFFFF)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + header
        + b"data"
        + struct.pack("<I", length & 0xFFFFFFFF)
        + data
    )


def _no_sound(chance: Chance) -> bytes:
    return chance.choice(
        (
            b"",
            b"RIFF",
            wav(16000, 1, 16, b""),
            b"ID3\x04\0\0\0\0\x7f\x7f",
            b"fLaC" + bytes(38),
            b"OggS" + bytes(60),
            b"1\n00:00:00,000 --> 00:00:01,000\nHi\n",
        )
    )


def _few_samples(chance: Chance) -> bytes:
    return wav(chance.choice((8000, 16000, 48000)), 1, 16, bytes(2 * chance.choice((1, 2, 10, 159))))


def _wrong_header(chance: Chance) -> bytes:
    data = chance.randbytes(chance.choice((64, 4000)))
    return wav(
        chance.choice((0, 1, 50, 16000, 768_000, 2**31, 2**32 - 1)), chance.choice((0, 1, 2, 9, 255, 65535)), chance.choice((0, 1, 8, 16, 24, 32, 64, 65535)),
        data, form=chance.choice((0, 1, 3, 6, 0x11, 0x55, 0xFFFE)), declared=chance.choice((None, 0, 2**31, 2**32 - 1, 8 * 3600 * 32000)),
    )  # fmt: skip


def _extreme_samples(chance: Chance) -> bytes:
    value = chance.choice((float("nan"), float("inf"), -float("inf"), 1e38, 1e-45))
    return wav(16000, 1, 32, struct.pack("<f", value) * 8000, form=3)


def _noise(chance: Chance) -> bytes:
    return wav(16000, chance.choice((1, 2, 6)), 16, chance.randbytes(40_000))


def _long_silence(chance: Chance) -> bytes:
    return silence(chance.choice((45, 45, 45, 600, 3600)))


def _damaged_sound(chance: Chance) -> bytes:
    return damaged(chance, sound(chance.choice(list(SOUNDS))))


def _video_as_sound(chance: Chance) -> bytes:
    return video(chance.choice(list(VIDEOS)), silent=chance.random() < 0.7)


SOUND_KINDS: dict[str, Callable[[Chance], bytes]] = {
    "no sound": _no_sound,
    "few samples": _few_samples,
    "wrong header": _wrong_header,
    "extreme samples": _extreme_samples,
    "noise": _noise,
    "long silence": _long_silence,
    "damaged sound": _damaged_sound,
    "video as sound": _video_as_sound,
}


def _damaged_video(chance: Chance) -> bytes:
    return damaged(chance, video(chance.choice(list(VIDEOS))))


def _wrong_boxes(chance: Chance) -> bytes:
    return broken_boxes(chance, video("mp4"))


def _odd_size(chance: Chance) -> bytes:
    form = chance.choice(("mov", "mkv", "gif", "avi"))
    return video(form, chance.choice(("2x2", "3x5", "17x2", "2x300", "2000x2", "15x15")), 0.2, silent=True)


def _few_frames(chance: Chance) -> bytes:
    return video(chance.choice(("mp4", "mkv", "gif", "ts")), seconds=0.1)


def _no_frames(chance: Chance) -> bytes:
    data = video("mp4", silent=True)
    return chance.choice(
        (
            data[: data.find(b"mdat")],
            b"\x1aE\xdf\xa3" + bytes(40),
            video("y4m")[:60],
            video("flv")[:13],
            b"GIF89a" + bytes(7) + b";",
        )
    )


def _misleading(chance: Chance) -> bytes:
    """Return a video whose header quotes a message of ffmpeg's about the machine."""
    longer = video("mkv").replace(b"\xdf\xa3\xa3", b"\xdf\xa3\xb2", 1)
    return longer.replace(b"\x88matroska", b"\x97No space left on device", 1)


def _playlist(chance: Chance) -> bytes:
    return chance.choice(
        (
            b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", b"ffconcat version 1.0\nfile /etc/passwd\n", b"v=0\nm=video 5004 RTP/AVP 96\nc=IN IP4 127.0.0.1\n",
            b"<?xml version='1.0'?><MPD><Period><BaseURL>file:///etc/passwd</BaseURL></Period></MPD>", b"[Script Info]\nTitle: x\n[Events]\n", b"WEBVTT\n\n00:00.000 --> 99:00:00.000\nx\n",
            b"#!AMR\n", b"FORM\0\0\0\0AIFF", b"\x00\x00\x01\xba" + bytes(300),
        )
    )  # fmt: skip


def _sound_as_video(chance: Chance) -> bytes:
    return chance.choice((sound("wav"), sound("mp3"), silence(3600)))


VIDEO_KINDS: dict[str, Callable[[Chance], bytes]] = {
    "damaged video": _damaged_video,
    "wrong boxes": _wrong_boxes,
    "odd size": _odd_size,
    "few frames": _few_frames,
    "no frames": _no_frames,
    "playlist": _playlist,
    "misleading header": _misleading,
    "sound as video": _sound_as_video,
    "good video, strange options": lambda chance: video(chance.choice(list(VIDEOS))),
}
