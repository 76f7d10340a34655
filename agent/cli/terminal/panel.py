"""Draws the live panel of `aitbc-agent start` line by line, for a terminal of any size.

Drawing needs no terminal: it turns a `PanelView` into lines that are no longer than the width and no more than the height. When there is
little space, the log is shortened first, then the list of finished jobs.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from agent.cli.terminal.activity import counted, malformed, silence
from agent.core.values.durations import format_duration
from agent.core.values.quantities import GIBIBYTE
from agent.miner.runs.idleness import Use
from aitbc.cli._terminal.output import SafeConsole
from aitbc.figures import amounts

NO_JOB: Final = str(Use.NO_JOB)
WIDE: Final = 110
"""Smallest width at which ids and sentences are shown in full."""
BAR: Final = 14
NEARLY_FULL: Final = 0.95
"""Share of a GPU's memory above which its bar is red."""
_MAX_OBSTACLES: Final = 3
_MAX_JOBS: Final = 8
_MAX_DOWNLOADS: Final = 2
_LEAST_SHARE: Final = 0.005
_LEAST_LOG: Final = 4

Line = Text
_WRAPPING: Final = SafeConsole(file=io.StringIO())
"""Wraps lines; nothing is written to it."""


@dataclass(frozen=True, slots=True)
class PanelView:
    """The content of the panel. `status` is the daemon's, or None while it starts; `now` is in seconds since the epoch.

    `announcements` are shown at the top in full, over as many lines as needed, so that links can be copied.
    """

    url: str
    status: Mapping[str, Any] | None
    log: Sequence[str]
    now: float
    announcements: Sequence[str] = ()
    keys: str = "q stop   p pause"


def draw(view: PanelView, width: int, height: int) -> list[Line]:
    """Return at most `height` lines of at most `width` cells."""
    painter = _Painter(view, width)
    top, footer = list(painter.top()), painter.footer()
    free_lines = height - len(top) - 1
    finished = painter.finished()
    ended_lines = min(len(finished), max(0, free_lines - 1 - _LEAST_LOG), max(3, free_lines // 3))
    ended = [painter.rule("Finished"), *finished[len(finished) - ended_lines :]] if ended_lines else []
    free_lines -= len(ended)
    log = [painter.rule("Log"), *painter.log(free_lines - 1)] if free_lines > 1 else []
    body = [*top, *ended, *log][: max(0, height - 1)]
    body += [Text()] * (height - 1 - len(body))
    return [_fit(line, width) for line in [*body, footer]]


@dataclass(frozen=True, slots=True)
class _Painter:
    view: PanelView
    width: int

    @property
    def wide(self) -> bool:
        return self.width >= WIDE

    def top(self) -> Iterator[Line]:
        """Yield all lines above the finished jobs and the log."""
        status = self.view.status
        yield from self.header()
        if status is None:
            yield Text("Starting: checking this machine and joining the coordinator.", style="bold")
            return
        if status["refusal"]:
            yield from self.wrapped(Text(f"Refused: {status['refusal']}", style="bold red"))
        if advice := status.get("version_advice"):
            yield from self.wrapped(Text(advice, style="bold yellow"))
        if update := (status.get("update") or {}).get("line"):
            yield from self.wrapped(Text(f"Update: {update}", style="dim"))
        if status["malformed_leases"]:
            yield from self.wrapped(Text(malformed(status["malformed_leases"]), style="bold yellow"))
        yield from self.wrapped(self.state(status))
        yield self.rule("GPUs")
        yield from self.gpus(status)
        yield self.rule("Jobs")
        yield from self.jobs(status)
        if status["downloads"]:
            yield self.rule("Downloads")
            yield from (_download(item) for item in status["downloads"][:_MAX_DOWNLOADS])
        yield self.rule("Last hour")
        yield from self.wrapped(self.hour(status))

    def header(self) -> Iterator[Line]:
        """Yield the URL, the uptime, the connection, today's earnings and the announcements."""
        status, view = self.view.status, self.view
        heading = Text.assemble(("AITBC agent", "bold"), "  ", view.url)
        if status is None:
            yield heading
            return
        yield self.apart(heading, Text(f"up {format_duration(view.now - status['started_at'])}"))
        connection, style = _connection(status)
        state = Text.assemble((connection, style))
        if self.wide:
            state.append(f"  {status['miner_id']}", style="dim")
        earned = status["earned_today"]
        money = Text("")
        if earned is not None:
            money = Text.assemble(
                "earned today ",
                (amounts.in_credits(earned["amount"]), "bold green"),
                f" from {counted(earned['jobs'], 'job')}",
            )
        yield self.apart(state, money)
        for line in view.announcements:
            yield from (Text(line[start : start + self.width]) for start in range(0, len(line), self.width))

    def state(self, status: Mapping[str, Any]) -> Line:
        """Return one line about the current work, or the reason for being idle."""
        jobs = len(status["leases"])
        work = counted(jobs, "job")
        if status["stopping"]:
            return Text(_stopping(status, work), style="bold yellow")
        if status["paused"]:
            running_words = f"; {work} still running" if jobs else ""
            return Text(f"Paused {_in_parentheses(status['paused'])}{running_words}", style="bold yellow")
        if jobs:
            return Text(f"Working on {work}.", style="bold green")
        if status["placement"]["waiting"]:
            return Text(f"Waiting: {status['placement']['waiting'][0]['reason']}", style="bold yellow")
        reasons = [reason for reason in status["now"] if reason != "working"]
        if not status["services"]:
            reasons = ["this machine offers no service; see `aitbc-agent doctor`"]
        if reasons == [NO_JOB]:
            return Text("Ready: there are no jobs for this machine at the moment.", style="bold")
        return Text(f"Idle: {reasons[0] if reasons else 'waiting'}.", style="bold")

    def gpus(self, status: Mapping[str, Any]) -> Iterator[Line]:
        """Yield one line per GPU, and a second one if it is paused."""
        for gpu in status["gpus"]:
            memory_used = gpu["memory_total"] - gpu["memory_free"]
            share = memory_used / max(1, gpu["memory_total"])
            name = gpu["name"].removeprefix("NVIDIA ").removeprefix("GeForce ")
            line = Text(f" GPU {gpu['number']:<2} ")
            line.append(_cut(name, 28 if self.wide else 12))
            colour = "red" if share > NEARLY_FULL else "cyan"
            line.append_text(_bar(share, BAR * 2 if self.wide else BAR, colour))
            line.append(f" {memory_used / GIBIBYTE:5.1f}/{gpu['memory_total'] / GIBIBYTE:.1f} GiB")
            line.append(f" {_unit(gpu['temperature'], '°C'):>7}")
            limit = "" if gpu["power_limit"] is None else f"/{gpu['power_limit']:.0f}"
            power = "" if gpu["power"] is None else f"{gpu['power']:.0f}{limit} W"
            line.append(f" {power:>10} {_unit(gpu['utilization'], '%'):>6}")
            yield line
            if gpu["paused"] and not status["paused"]:
                yield from self.wrapped(Text(f"        paused {gpu['paused']}", style="yellow"))
        unusable = [reason for reasons in status.get("engine_obstacles", {}).values() for reason in reasons]
        for reason in list(dict.fromkeys(unusable))[:_MAX_OBSTACLES]:
            yield from self.wrapped(Text(f" {reason}", style="yellow"))
        if not status["gpus"]:
            yield Text(" none: jobs run on the CPU", style="dim")
            if self.wide and status["gpu_reason"]:
                yield from self.wrapped(Text(f" {status['gpu_reason']}", style="dim"))

    def jobs(self, status: Mapping[str, Any]) -> Iterator[Line]:
        """Yield the jobs in progress."""
        cards = {gpu["uuid"]: f"GPU {gpu['number']}" for gpu in status["gpus"]}
        leases = status["leases"]
        for lease in leases[:_MAX_JOBS]:
            line = Text(f" {_cut(_named(lease), 44 if self.wide else 28)}")
            devices = (lease["device"] or "").split(",")
            line.append(_cut(", ".join(cards.get(device, device) for device in devices), 6))
            if lease["stage"] == "running":
                line.append_text(_bar(lease["progress"] / 100, BAR * 2 if self.wide else BAR, "green"))
                line.append(f" {lease['progress']:3.0f} % ")
            else:
                line.append(
                    _cut(_STAGES[lease["stage"]], (BAR * 2 if self.wide else BAR) + 7), style="yellow"
                )
            line.append(f" {_clock(lease['seconds']):>8}")
            if self.wide:
                line.append(f"  {lease['job_id']}", style="dim")
            yield line
        if len(leases) > _MAX_JOBS:
            yield Text(f" and {len(leases) - _MAX_JOBS} more", style="dim")
        if not leases:
            yield Text(" none", style="dim")

    def finished(self) -> list[Line]:
        """Return the finished jobs, the newest last."""
        lines = []
        for job in self.view.status["finished"] if self.view.status else ():
            moment = time.strftime("%H:%M:%S", time.localtime(job["ended_at"]))
            line = Text(f" {moment}  {_cut(_named(job), 44 if self.wide else 28)}")
            good = job["outcome"] == "completed"
            line.append(
                _cut(job["outcome"].lower().replace("_", " "), 24), style="green" if good else "yellow"
            )
            line.append(f" {_clock(job['seconds']):>8}")
            if self.wide:
                line.append(f"  {job['job_id']}", style="dim")
            lines.append(line)
        return lines

    def hour(self, status: Mapping[str, Any]) -> Line:
        """Return how the capacity of the last hour was used."""
        shares = [use for use in status["idle"] if use["share"] >= _LEAST_SHARE]
        return Text(" " + "  ".join(f"{100 * use['share']:.0f} % {use['reason']}" for use in shares))

    def log(self, count: int) -> list[Line]:
        """Return the newest lines in full, the oldest first: each over as many lines as it needs."""
        lines: list[Line] = []
        for entry in reversed(self.view.log):
            text = Text.from_ansi(entry)
            text.stylize_before("dim")
            lines = [*text.wrap(_WRAPPING, max(1, self.width)), *lines]
            if len(lines) >= count:
                break
        return lines[len(lines) - min(count, len(lines)) :]

    def wrapped(self, line: Line) -> Iterator[Line]:
        """Yield a line in full, over as many lines as it needs. Its indentation is repeated."""
        indent = len(line.plain) - len(line.plain.lstrip())
        for part in line[indent:].wrap(_WRAPPING, max(1, self.width - indent)):
            yield Text.assemble(" " * indent, part)

    def footer(self) -> Line:
        """Return the line that explains the keys."""
        return Text(set_cell_size(f" {self.view.keys}", self.width), style="reverse")

    def rule(self, title: str) -> Line:
        """Return the heading of a section."""
        return Text.assemble(
            ("─ ", "dim"), (title, "bold"), (f" {'─' * max(0, self.width - 3 - len(title))}", "dim")
        )

    def apart(self, beginning: Line, right: Line) -> Line:
        """Align one text left and the other right; the left one is shortened if necessary."""
        space = self.width - right.cell_len - 1
        beginning.truncate(max(0, space), overflow="ellipsis")
        return Text.assemble(beginning, " " * (self.width - beginning.cell_len - right.cell_len), right)


_STAGES: Final = {
    "fetching": "fetching files",
    "waiting": "waiting for memory",
    "loading": "loading model",
}


def _connection(status: Mapping[str, Any]) -> tuple[str, str]:
    """Return the connection in words, and their style."""
    if status["connection"] == "websocket":
        return "connected", "green"
    if status["connection"] == "poll":
        return "connected (polling)", "green"
    if status["refusal"]:
        return "refused by the coordinator", "bold red"
    if status["silent_since"] is None:
        return "not connected to the coordinator", "bold red"
    return f"the coordinator {silence(status['silent_since'])}", "bold red"


def _stopping(status: Mapping[str, Any], work: str) -> str:
    if not status["leases"]:
        return "Stopping: sending the last results."
    seconds_left = status["drain_seconds_left"] or 0
    pronoun = "it" if len(status["leases"]) == 1 else "them"
    return f"Waiting up to {seconds_left:.0f} s for {work}, then handing {pronoun} back. Press again to stop now."


def _fit(line: Line, width: int) -> Line:
    # Names from a coordinator must not control the terminal.
    if not line.plain.isprintable():
        line.plain = "".join(letter if letter.isprintable() else "?" for letter in line.plain)
    line.truncate(width, overflow="ellipsis")
    return line


def _bar(share: float, width: int, style: str) -> Text:
    full = round(max(0.0, min(1.0, share)) * width)
    return Text.assemble(("█" * full, style), ("░" * (width - full), "dim"))


def _cut(text: str, width: int) -> str:
    """Fit text into `width` cells: the last is a space, and text that is too long ends in an ellipsis."""
    if cell_len(text) >= width:
        text = f"{set_cell_size(text, width - 2)}…"
    return set_cell_size(text, width)


def _named(job: Mapping[str, Any]) -> str:
    return job["service"] if job["model"] is None else f"{_short(job['service'])} {job['model']}"


def _short(service: str) -> str:
    """Return the first word of a service: "whisper" is as clear as "whisper_transcription" when the model is shown."""
    return service.partition("_")[0]


def _download(item: Mapping[str, Any]) -> Line:
    received, total = item["done"] / GIBIBYTE, item["total"]
    line = Text(f" {_cut(item['model'], 28)}")
    if total:
        line.append_text(_bar(item["done"] / total, BAR, "blue"))
        line.append(f" {100 * item['done'] / total:3.0f} %  {received:.2f} of {total / GIBIBYTE:.2f} GiB")
    else:
        line.append(f"{received:.2f} GiB")
    return line


def _clock(seconds: float) -> str:
    if seconds < 10:  # noqa: PLR2004 - tenths matter only in short durations
        return f"{seconds:.1f} s"
    minutes, remaining_seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{remaining_seconds:02}" if hours else f"{minutes}:{remaining_seconds:02}"


def _unit(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:.0f} {unit}"


def _in_parentheses(reason: str) -> str:
    """Put a sentence into parentheses; leave other text as it is."""
    return f"({reason.rstrip('.')})" if reason[:1].isupper() else reason
