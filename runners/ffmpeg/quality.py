"""How much of the input a window of pictures preserves, compared with the auditor's own encoding of the same window.

Both are compared with the input's pictures, scaled and converted as the request says, because two good encodings of difficult pictures
differ from each other by more than a bad one of easy pictures differs from them.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from runners.api import Context, Device, Tools
from runners.ffmpeg.plan import Plan
from runners.ffmpeg.process import INPUT, input_options, input_words, job_sandbox, run_ffmpeg

INVISIBLE_PSNR: Final = 45.0
"""Decibels from which a picture looks like its original, so that more do not count."""

MAX_STATISTICS: Final = 2**20
"""Characters of a filter's lines about a window."""

BLUR: Final = 0.7
"""Standard deviation, in pixels, of the blur with which pictures are compared to see whether they have fine detail."""

_COMPARED: Final = ("ssim", "psnr", "blurred")
_STATISTICS: Final = tuple(f"{side}_{name}" for side in ("own", "their") for name in _COMPARED)
_SSIM: Final = re.compile(r"All:([\d.]+|nan)")


@dataclass(frozen=True, slots=True)
class PictureWindow:
    """A window of pictures: `count` of them from number `first` of a file on, which begins at `seconds` of it.

    The own encoding begins `lead` pictures earlier, so that its first picture of the window is not the first that it encodes.
    """

    first: int
    count: int
    seconds: float
    lead: int


@dataclass(frozen=True, slots=True)
class Scores:
    """The structural similarity (mean) and the PSNR in decibels (of each picture) of a window to the input's pictures.

    `blurred` is the mean PSNR to its own blurred pictures, at most `INVISIBLE_PSNR` each: those with fine detail lose it.
    """

    ssim: float
    psnr: tuple[float, ...]
    blurred: float = INVISIBLE_PSNR

    @property
    def worst(self) -> float:
        """The least PSNR, at most `INVISIBLE_PSNR`."""
        return min((*self.psnr, INVISIBLE_PSNR))


def measure(
    tools: Tools,
    device: Device,
    plan: Plan,
    window: PictureWindow,
    files: tuple[Path, Path, Path],
    context: Context,
    name: str,
) -> tuple[Scores, Scores]:
    """Return the scores of the own and of the audited window. `files` are the input, the own encoding of the window, and the audited file.

    `plan` is that of the own encoding, `name` that of a directory for this measurement. Raises `Fail` or `Retry` as `run_ffmpeg` does.
    """
    scratch = context.work / name
    scratch.mkdir()
    sandbox = job_sandbox(tools, device, context)
    source, own_file, audited = files
    inside = [sandbox.read(source, INPUT), sandbox.read(own_file, "/own"), sandbox.read(audited, "/audited")]
    directory = sandbox.write(scratch, "/scores")
    run_ffmpeg(sandbox, _arguments(plan, window, inside), context, directory=directory)
    statistics = [_statistics(scratch / name) for name in _STATISTICS]
    return _scores(*statistics[: len(_COMPARED)]), _scores(*statistics[len(_COMPARED) :])


def packet_digest(tools: Tools, device: Device, file: Path, context: Context) -> str:
    """Return the digest of all packets of a file's first pictures."""
    sandbox = job_sandbox(tools, device, context)
    path = sandbox.read(file, INPUT)
    hashed = ["-map", "0:v:0", "-c", "copy", "-f", "streamhash", "-hash", "sha256", "-"]
    # Only the last: an input that took over ffmpeg may print without end.
    digests: deque[str] = deque(maxlen=1)

    def on_line(line: str) -> None:
        if ",SHA256=" in line:
            digests.append(line.partition("=")[2])

    run_ffmpeg(sandbox, [*input_words(), "-i", path, *hashed], context, on_line=on_line)
    return digests.pop() if digests else ""


def _statistics(path: Path) -> str:
    """Return the lines of a filter. An input that took over ffmpeg may have replaced the file."""
    if path.is_symlink() or not path.is_file():
        return ""
    with path.open(encoding="ascii", errors="replace") as file:
        return file.read(MAX_STATISTICS)


def _arguments(plan: Plan, window: PictureWindow, files: Sequence[str]) -> list[str]:
    """Return ffmpeg's command line: three inputs, and outputs that write one line for each picture."""
    import ffmpeg  # noqa: PLC0415 - the coordinator imports this module without the engine

    source, own_file, audited = files
    options = input_options() | {"threads": str(plan.threads)}
    seconds = max(0.0, window.seconds)
    seek = {"ss": f"{seconds:.6f}"} if seconds else {}
    reference = plan.reference(source)
    streams = [
        _numbered(reference, plan.pixels, window.lead, window.count),
        _numbered(ffmpeg.input(own_file, **options)["v:0"], plan.pixels, window.lead, window.count),
        _numbered(ffmpeg.input(audited, **options, **seek)["v:0"], plan.pixels, 0, window.count),
    ]
    # A stream of a filter graph can be used only once, so it is copied for each comparison.
    references = streams[0].filter_multi_output("split", 4)
    outputs = []
    for side, pictures in enumerate(streams[1:]):
        copies = pictures.filter_multi_output("split", 4)
        blurred_copies = [
            references[2 * side],
            references[2 * side + 1],
            copies[3].filter("gblur", sigma=BLUR),
        ]
        for number, kind in enumerate(("ssim", "psnr", "psnr")):
            name = _STATISTICS[side * len(_COMPARED) + number]
            compared = ffmpeg.filter(
                [copies[number], blurred_copies[number]], kind, stats_file=name, shortest=1
            )
            outputs.append(ffmpeg.output(compared, "-", f="null"))
    arguments: list[str] = ffmpeg.get_args(ffmpeg.merge_outputs(*outputs))
    return arguments


def _numbered(stream: Any, pixels: str, first: int, count: int) -> Any:
    """Return `count` pictures from number `first` on, paired by their number: two encodings round times differently."""
    cut = stream.filter("trim", start_frame=first, end_frame=first + count)
    return cut.filter("settb", "1/25").filter("setpts", "N").filter("format", pixels)


def _scores(ssim: str, psnr: str, blurred: str) -> Scores:
    similarities = [0.0 if text == "nan" else float(text) for text in _SSIM.findall(ssim)]
    blurred_ratios = [min(INVISIBLE_PSNR, ratio) for ratio in _ratios(blurred)]
    return Scores(_mean(similarities), tuple(_ratios(psnr)), _mean(blurred_ratios))


def _ratios(psnr: str) -> list[float]:
    ratios = []
    for line in psnr.splitlines():
        values = dict(word.partition(":")[::2] for word in line.split())
        # Of the brightness, where eyes see most. Pictures in RGB have none.
        text = values.get("psnr_y", values.get("psnr_avg", "0"))
        ratios.append(INVISIBLE_PSNR if text == "inf" else float(text))
    return ratios


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))
