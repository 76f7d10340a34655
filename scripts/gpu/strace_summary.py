"""Summarises a log of strace: each system call with its path and its error once, and how often it came.

    strace -f -y -e trace=file,ioctl,network -o LOG PROGRAM
    python scripts/gpu/strace_summary.py LOG            all
    python scripts/gpu/strace_summary.py LOG --refused  only what the system refused

Numbers in paths become N, so that the processes and cards of a machine are one line, and of paths that were not refused and are neither
devices nor the kernel's, only the directory remains.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

REFUSED = ("EACCES", "EPERM", "EROFS", "ENOSYS")

SYSTEM = ("/dev/", "/proc/", "/sys/", "/run/", "/var/run/")
DEPTH = 3
"""The directories that are shown of other paths, such as those of Python's modules."""

_UNFINISHED = " <unfinished ...>"
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>,? ?")
_CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\)\s+= (?P<result>-?\w+)(?: (?P<error>E[A-Z0-9]+))?")
_PATH = re.compile(r'"(?P<text>(?:[^"\\]|\\.)*)"|<(?P<open>[^<>]+)>')
_PATTERNS = (
    (re.compile(r"(?<=^/tmp/)[^/]+"), "*"),
    (re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.\d", re.IGNORECASE), "PCI"),
    (re.compile(r"[0-9a-f]*\d[0-9a-f]{7,}", re.IGNORECASE), "N"),
    (re.compile(r"\d+"), "N"),
)

Entry = tuple[str, str, str]
"""The call, the pattern of its path or "-", and the name of its error or "ok"."""


def summary(lines: Iterable[str]) -> Counter[Entry]:
    """Return how often each entry is in a log. Lines that are no calls are ignored."""
    entries = Counter[Entry]()
    unfinished: dict[str, str] = {}
    for line in lines:
        process, _, text = line.strip().partition(" ")
        # Without -f there are no process ids.
        process, text = (process, text.strip()) if process.isdecimal() else ("", line.strip())
        if text.endswith(_UNFINISHED):
            unfinished[process] = text.removesuffix(_UNFINISHED)
            continue
        if (resumed := _RESUMED.match(text)) is not None:
            text = unfinished.pop(process, "") + text[resumed.end() :]
        if (call := _CALL.match(text)) is not None:
            path, error = _path(call["arguments"]), call["error"] or "ok"
            entries[call["name"], path if error in REFUSED else _short(path), error] += 1
    return entries


def refused(entries: Counter[Entry]) -> Counter[Entry]:
    """Return those that the system refused."""
    return Counter({entry: count for entry, count in entries.items() if entry[2] in REFUSED})


def words(entries: Counter[Entry]) -> list[str]:
    """Return a line for each entry, sorted by error, call and path."""
    ordered = sorted(entries.items(), key=lambda item: (item[0][2], item[0][:2]))
    return [f"{error:8} {call} {path} x{count}" for (call, path, error), count in ordered]


def _path(arguments: str) -> str:
    """Return the pattern of the first path among a call's arguments; of a relative one, with its directory."""
    directory = ""
    for match in _PATH.finditer(arguments):
        if match["text"] is None:
            directory = directory or match["open"]
        elif match["text"].startswith("/") or not directory.startswith("/"):
            return _pattern(match["text"] or directory or "-")
        else:
            return _pattern(f"{directory}/{match['text']}".rstrip("/"))
    return _pattern(directory or "-")


def _short(path: str) -> str:
    """Return a path; of one that is neither a device nor the kernel's, the directory."""
    parts = path.split("/")
    return (
        path if len(parts) <= DEPTH + 1 or path.startswith(SYSTEM) else "/".join((*parts[: DEPTH + 1], "*"))
    )


def _pattern(path: str) -> str:
    for expression, replacement in _PATTERNS:
        path = expression.sub(replacement, path)
    return path


def main() -> None:
    """Print the summary of the file that the first argument names."""
    with Path(sys.argv[1]).open(errors="replace") as lines:
        entries = summary(lines)
    print("\n".join(words(refused(entries) if "--refused" in sys.argv else entries)))


if __name__ == "__main__":
    main()
