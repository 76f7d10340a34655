"""Compares a transcoded file with the input: exact figures, and a random window of pictures and sound with the auditor's own encoding.

The window costs the same for a long video as for a short one. Every file is read in the sandbox only.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from runners.api import (
    Audited,
    Comparer,
    Comparison,
    Condition,
    Context,
    Device,
    Fail,
    Result,
    Tools,
    judge,
)
from runners.audits import failed
from runners.ffmpeg import sound
from runners.ffmpeg.encoders import HARDWARE
from runners.ffmpeg.exact import DifferenceError, check_claims, check_duration, check_streams
from runners.ffmpeg.packets import Packets, read_packets, selected_times
from runners.ffmpeg.plan import Plan
from runners.ffmpeg.process import INPUT, Media, inspect, job_sandbox, run_ffmpeg
from runners.ffmpeg.quality import PictureWindow, Scores, measure, packet_digest
from runners.ffmpeg.request import TranscodeRequest, TranscodeResult
from runners.own_run import OwnRun

COMPARER: Final = Comparer(
    "Another machine converts a random 5 seconds again, and compares detail, sound and length.",
    "window",
    least_limits={"ssim": 0.6, "psnr": 2.5, "detail": 3.0, "bitrate": 0.3, "loudness": 1.0, "sound": 0.1},
)

WINDOW_SECONDS: Final = 5.0
LEAD_SECONDS: Final = 1.0
"""The auditor's own encoding begins this long before the window, and ends half of it later."""

COUNT_TOLERANCE: Final = 2
"""Pictures by which a file may differ from the expected number: at its two ends."""

SHIFTS: Final = (1, -1, 2, -2)
"""Pictures by which an honest window may be displaced, since the times of two files are rounded differently."""

SUSPICIOUS: Final = {"ssim": 0.3, "psnr": 1.0}
"""Distances above which displaced windows are tried too."""

LEAST_DISSIMILARITY: Final = 0.002
"""Added to what both encodings lose of the input, so that a tiny loss is not a multiple of a tinier one."""

POOR_SSIM: Final = 0.98
"""Only pictures that lose more than this must use the requested bitrate; simple ones need less. Encoders reach it after some seconds only, so
the auditor's own encoding of a shorter video has the requested bitrate, and that of a longer one what the window has spent."""

SOUND_ONLY: Final = "sound"
"""The precision of a condition without pictures."""

COPY: Final = "copy"


@dataclass(frozen=True, slots=True)
class _Found:
    """The audited file: its streams, the packets of its pictures, and the times of the source's pictures that belong to them."""

    file: Path
    claimed: TranscodeResult
    media: Media
    pictures: Packets
    source_times: Sequence[float]


@dataclass(frozen=True, slots=True)
class _Part:
    """A random part of the output: its first second, its length, and its pictures, None for sound only.

    The auditor's own encoding begins `lead` seconds earlier.
    """

    first: float
    seconds: float
    window: PictureWindow | None
    lead: float


@dataclass(frozen=True, slots=True)
class TranscodeAudit:
    """One audit. `plan_of` returns the plan of a request for the same source, `run` performs a request."""

    tools: Tools
    device: Device
    request: TranscodeRequest
    audited: Audited
    context: Context
    plan_of: Callable[[TranscodeRequest], Plan]
    run: Callable[[TranscodeRequest, Context], Result]

    def compare(self) -> tuple[Comparison, Decimal]:
        """Return the comparison and the units of the auditor's own encoding. Raises `Fail` or `Retry` as a run does."""
        try:
            plan = self.plan_of(self.request)
            audited_file = self._found(plan)
            check_duration(self.request, plan, audited_file.media, audited_file.pictures)
            return (
                self._copied(plan, audited_file)
                if self.request.codec == COPY
                else self._encoded(plan, audited_file)
            )
        except DifferenceError as difference:
            return failed(difference.where, str(difference)), Decimal(0)

    def _encoded(self, plan: Plan, audited_file: _Found) -> tuple[Comparison, Decimal]:
        """Compare a window with the auditor's own encoding of it."""
        part = self._chosen(audited_file)
        request = self._own_request(plan, audited_file, part)
        result = self.run(request, OwnRun(self.context))
        mine: Path = result.results["file"].path
        check_streams(inspect(self.tools, mine, self.context), audited_file.media, plan)
        distances: dict[str, float] = {}
        location = f"second {part.first:.2f}"
        if part.window is not None:
            distances, location = self._seen(request, audited_file, part.window, mine)
        if audited_file.media.sounds:
            distances |= self._sound(mine, audited_file.file, part)
        encoder = audited_file.claimed.encoder if self.request.has_video else SOUND_ONLY
        # The card of an audited miner says nothing about pictures that its processor encoded.
        device = self.audited.device if encoder in HARDWARE.values() else "cpu"
        own_condition = Condition("ffmpeg", result.results.get("encoder") or SOUND_ONLY, "cpu")
        calibration = self.audited.calibration(Condition("ffmpeg", encoder or "", device), own_condition)
        return judge(distances, calibration, where=location, of="the window"), result.units

    def _copied(self, plan: Plan, audited_file: _Found) -> tuple[Comparison, Decimal]:
        """Compare all packets of copied pictures with those of an own copy, which costs no encoding."""
        result = self.run(self.request, OwnRun(self.context))
        mine: Path = result.results["file"].path
        check_streams(inspect(self.tools, mine, self.context), audited_file.media, plan)
        digests = [
            packet_digest(self.tools, self.device, path, self.context) for path in (mine, audited_file.file)
        ]
        if digests[0] == digests[1]:
            return Comparison(
                "pass", "All packets of the pictures are equal.", {COPY: 0.0}, {COPY: 0.0}
            ), result.units
        if self.request.start or self.request.length is not None:
            reason = "Versions of ffmpeg begin and end a trimmed copy at different pictures."
            return Comparison("unproven", reason, {COPY: 1.0}), result.units
        reason = "The packets of the pictures are not those of the input."
        return Comparison("fail", reason, {COPY: 1.0}, {COPY: 0.0}, "pictures"), result.units

    def _found(self, plan: Plan) -> _Found:
        """Return the audited file. Raises `DifferenceError` for anything but a result of this request."""
        try:
            claimed = TranscodeResult.model_validate(self.audited.results)
        except ValidationError:
            raise DifferenceError("results", "The results are not those of a transcoding.") from None
        path = self.audited.files.get(claimed.file.name)
        if path is None or len(self.audited.files) != 1:
            raise DifferenceError("file", "The results do not name the one file that the miner signed.")
        try:
            media = inspect(self.tools, path, self.context)
        except Fail as error:
            raise DifferenceError("file", f"The file is not a media file: {error}") from None
        check_claims(self.request, claimed, self.audited.predicate.get("units"), media)
        if not self.request.has_video:
            return _Found(path, claimed, media, Packets((), ()), ())
        if media.video is None or plan.media.video is None:
            raise DifferenceError("streams", "The file contains no pictures.")
        source = self.context.files["input_url"]
        times = selected_times(read_packets(self.tools, source, self.context, plan.media.video), self.request)
        pictures = read_packets(self.tools, path, self.context, media.video)
        if not pictures.times:
            raise DifferenceError("frames", "The file contains no pictures.")
        if self.request.codec != COPY:
            self._check_count(plan, len(pictures.times), times)
        return _Found(path, claimed, media, pictures, times)

    def _check_count(self, plan: Plan, count: int, times: Sequence[float]) -> None:
        expected = len(times)
        if plan.fps is not None and times:
            # The last picture is shown as long as the others, so the duration is that of one gap more.
            expected = round((times[-1] - times[0]) * len(times) / max(1, len(times) - 1) * plan.fps)
        if abs(count - expected) > COUNT_TOLERANCE:
            expected = self._counted(plan)  # some sources have packets without a picture, or two for each
        if abs(count - expected) > COUNT_TOLERANCE:
            raise DifferenceError("frames", f"The file has {count} pictures instead of {expected}.")

    def _counted(self, plan: Plan) -> int:
        """Return the number of pictures of the requested output, from decoding all of the source."""
        count = 0

        def note(line: str) -> None:
            nonlocal count
            name, _, value = line.partition("=")
            if name == "frame" and value.strip().isdigit():
                count = int(value)

        sandbox = job_sandbox(self.tools, self.device, self.context)
        source = sandbox.read(self.context.files["input_url"], INPUT)
        run_ffmpeg(sandbox, plan.counting(source), self.context, on_line=note)
        return count

    def _chosen(self, audited_file: _Found) -> _Part:
        """Return a random part of the audited file, which its miner cannot foresee."""
        pictures = audited_file.pictures
        total = pictures.seconds if pictures.times else audited_file.media.duration or 0.0
        seconds = min(WINDOW_SECONDS, total)
        start = pictures.times[0] if pictures.times else 0.0
        # Reproducible from the audit, so that anybody can verify that the window was not chosen to suit.
        chance = random.Random(self.audited.choice)  # noqa: S311 - the choice itself is secret
        first = start + chance.uniform(0.0, total - seconds)
        window = _window(pictures, first, seconds)
        if window is None:
            return _Part(first, seconds, None, min(LEAD_SECONDS, first))
        begin = pictures.times[window.first]
        return _Part(begin, seconds, window, begin - pictures.times[window.first - window.lead])

    def _own_request(self, plan: Plan, audited_file: _Found, part: _Part) -> TranscodeRequest:
        """Return the request for the auditor's own encoding, which begins just before a picture of the source."""
        pictures, window = audited_file.pictures, part.window
        changes: dict[str, object] = {"duration": part.lead + part.seconds + LEAD_SECONDS / 2, "end": None}
        if window is None:
            begin = part.first - part.lead
        elif plan.fps is not None:
            # On the grid of the output, so that the same pictures are repeated or dropped.
            begin = (window.first - window.lead) / plan.fps
        else:
            number = min(window.first - window.lead, len(audited_file.source_times) - 1)
            # Less than half a picture early: exactly at its time, rounding could skip it.
            begin = audited_file.source_times[number] - 0.4 * pictures.gap
        if self.request.bitrate is not None and window is not None and pictures.seconds >= WINDOW_SECONDS:
            changes["bitrate"] = _rate(pictures, window, self.request.bitrate)
        changes["start"] = round(self.request.start + max(0.0, begin), 6)
        return self.request.model_copy(update=changes)

    def _seen(
        self, request: TranscodeRequest, audited_file: _Found, window: PictureWindow, mine: Path
    ) -> tuple[dict[str, float], str]:
        """Return the distances of the pictures, and where the audited ones are worst."""
        pictures = audited_file.pictures
        plan = self.plan_of(request)
        files = self.context.files["input_url"], mine, audited_file.file

        def at(shift: int) -> tuple[dict[str, float], Scores]:
            number = min(max(0, window.first + shift), len(pictures.times) - 1)
            moved = replace(window, seconds=pictures.times[number] - 0.4 * pictures.gap)
            own_scores, their_scores = measure(
                self.tools, self.device, plan, moved, files, self.context, f"scores{shift}"
            )
            return picture_distances(own_scores, their_scores), their_scores

        best, their_scores = at(0)
        for shift in SHIFTS:
            if all(best[name] <= limit for name, limit in SUSPICIOUS.items()):
                break
            shifted, scores = at(shift)
            # The better of all positions counts, so that rounding never makes an honest file look bad.
            if shifted["ssim"] < best["ssim"]:
                best, their_scores = shifted, scores
        if len(their_scores.psnr) < window.count - COUNT_TOLERANCE:
            raise DifferenceError(
                f"second {window.seconds:.2f}", "The pictures of the window cannot be decoded."
            )
        worst = window.first + min(range(len(their_scores.psnr)), key=their_scores.psnr.__getitem__)
        if self.request.bitrate is not None:
            # Of the whole file: encoders move bits from easy windows to difficult ones.
            average = 8 * sum(pictures.sizes) / max(pictures.seconds, 0.001)
            missing = max(0.0, 1 - average / _bits(self.request.bitrate))
            counts = their_scores.ssim < POOR_SSIM and pictures.seconds >= WINDOW_SECONDS
            best["bitrate"] = round(missing, 6) if counts else 0.0
        return best, f"picture {worst} (second {pictures.times[min(worst, len(pictures.times) - 1)]:.2f})"

    def _sound(self, mine: Path, audited_path: Path, part: _Part) -> dict[str, float]:
        """Return the distances of the first sound track."""
        own_samples, their_samples = (
            sound.decode(self.tools, self.device, file, (first, part.seconds), self.context, name)
            for file, first, name in (
                (mine, part.lead, "own_sound"),
                (audited_path, part.first, "their_sound"),
            )
        )
        return sound.distances(own_samples, their_samples)


def picture_distances(own_scores: Scores, their_scores: Scores) -> dict[str, float]:
    """Return how much more of the input the audited pictures lose than the auditor's own.

    "ssim": by what part their mean dissimilarity (1 - SSIM) is larger. "psnr": the decibels by which their worst picture is worse.
    "detail": the decibels by which they resemble their own blurred pictures more, as those of half the resolution do. In noise that
    hardly can be encoded, they lose no more of the input.
    """
    mine, their_dissimilarity = (
        1 - scores.ssim + LEAST_DISSIMILARITY for scores in (own_scores, their_scores)
    )
    return {
        "ssim": round(max(0.0, their_dissimilarity / mine - 1), 6),
        "psnr": round(max(0.0, own_scores.worst - their_scores.worst), 6),
        "detail": round(max(0.0, their_scores.blurred - own_scores.blurred), 6),
    }


def _window(pictures: Packets, first: float, seconds: float) -> PictureWindow | None:
    """Return the pictures of a window that begins at second `first`; None without pictures."""
    if not pictures.times:
        return None
    number = next((at for at, time in enumerate(pictures.times) if time >= first), len(pictures.times) - 1)
    begin = pictures.times[number]
    count = sum(1 for time in pictures.times[number:] if time < begin + seconds - pictures.gap / 2)
    lead = sum(1 for time in pictures.times[:number] if time >= begin - LEAD_SECONDS)
    return PictureWindow(number, max(1, count), begin - 0.4 * pictures.gap, lead)


def _bits(rate: str) -> float:
    """Return the bits per second of a rate such as "2500k"."""
    factor = {"k": 1e3, "M": 1e6}.get(rate[-1], 1.0)
    return float(rate.rstrip("kM")) * factor


def _rate(pictures: Packets, window: PictureWindow, requested: str) -> str:
    """Return the bitrate of the audited window, at most twice the requested one: an encoder spends more on difficult parts."""
    last = min(window.first + window.count, len(pictures.sizes))
    seconds = max(pictures.gap, pictures.times[last - 1] - pictures.times[window.first] + pictures.gap, 0.001)
    spent = 8 * sum(pictures.sizes[window.first : last]) / seconds
    return f"{max(1, round(min(spent, 2 * _bits(requested)) / 1000))}k"
