"""Trust policies: the trusted logs, and the quorum of witnesses that must have cosigned a checkpoint.

Source: https://c2sp.org/tlog-policy. The smallest policy names a log and requires no witness:

    log example.org/log+d6ee6a7c+ATBv...
    quorum none

In addition to that format, a policy must name a log, because every verification is about a log, and each origin only once, so
that an origin has one key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from aitbc.errors import FormatError, VerificationError
from aitbc.keys import COSIGNATURE_TYPE, parse_vkey
from aitbc.log import Checkpoint, open_checkpoint, parse_checkpoint
from aitbc.notes import Note, find_cosignature

_MAX_LINES = 1000
_MAX_NAMES = 200
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_BLANK = re.compile(r"[ \t]+")
_NUMBER = re.compile(r"[1-9][0-9]{0,5}")
_NONE = "none"


@dataclass(frozen=True, slots=True)
class WitnessGroup:
    """A group of witnesses or groups. It is witnessed if at least `threshold` of its `members` are."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """Trusted logs by origin and witnesses by name, both as vkeys, and the `quorum`: the name of a witness or group, or `none`."""

    logs: Mapping[str, str]
    witnesses: Mapping[str, str]
    groups: Mapping[str, WitnessGroup]
    quorum: str

    @classmethod
    def of_log(cls, log_key: str) -> Self:
        """Return a policy that trusts one log, without witnesses. Raises `FormatError` for a malformed vkey."""
        return cls({parse_vkey(log_key)[0]: log_key}, {}, {}, _NONE)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a policy from a file. Raises `FormatError`, which names the file, and `OSError`."""
        try:
            return cls.parse(path.read_bytes())
        except FormatError as error:
            raise FormatError(f"{path}: {error}") from None

    @classmethod
    def parse(cls, content: bytes | str) -> Self:
        """Parse a policy. Raises `FormatError` that names the line."""
        data = content.encode() if isinstance(content, str) else content
        # The format treats octets above 0x7F as opaque.
        lines = data.decode("latin-1").split("\n")
        if len(lines) > _MAX_LINES:
            raise FormatError(f"The policy has more than {_MAX_LINES} lines.")
        parser = _Parser()
        for number, line in enumerate(lines, 1):
            try:
                parser.parse_line(line)
            except FormatError as error:
                raise FormatError(f"Line {number} of the policy: {error}") from None
        if not parser.logs:
            raise FormatError("The policy names no log.")
        if parser.quorum is None:
            raise FormatError("The policy has no quorum line; `quorum none` asks for no witness.")
        return cls(parser.logs, parser.witnesses, parser.groups, parser.quorum)

    def log_key(self, origin: str) -> str | None:
        """Return the vkey of the log with this origin. A policy with a single log returns that log's vkey for every origin."""
        # The caller then says which log differs, rather than that there is no key for it.
        if len(self.logs) == 1:
            return next(iter(self.logs.values()))
        return self.logs.get(origin)

    def open(self, note: Note) -> Checkpoint:
        """Return the checkpoint in a note if one of the logs signed it. Raises `FormatError` or `VerificationError`."""
        origin = parse_checkpoint(note.text).origin
        key = self.log_key(origin)
        if key is None:
            raise VerificationError(f"The policy does not name the log {origin}.")
        return open_checkpoint(note, key)

    def cosigned_by(self, note: Note) -> dict[str, int]:
        """Return the witnesses that cosigned a checkpoint, by name, with the time in seconds since the epoch.

        Raises `VerificationError` if the cosignature of a witness does not verify.
        """
        cosignatures = {name: find_cosignature(note, key) for name, key in self.witnesses.items()}
        return {name: cosignature[1] for name, cosignature in cosignatures.items() if cosignature is not None}

    def is_met_by(self, witnesses: Mapping[str, int]) -> bool:
        """Return whether these witnesses form the quorum."""
        return self.quorum == _NONE or self._witnessed(self.quorum, witnesses)

    def _witnessed(self, name: str, witnesses: Mapping[str, int]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return name in witnesses
        # A group is defined before it is used, so the recursion ends.
        return sum(self._witnessed(member, witnesses) for member in group.members) >= group.threshold


class _Parser:
    """Collects the definitions of a policy line by line."""

    def __init__(self) -> None:
        self.logs: dict[str, str] = {}
        self.witnesses: dict[str, str] = {}
        self.groups: dict[str, WitnessGroup] = {}
        self.quorum: str | None = None
        self._keys: set[tuple[str, bytes]] = set()
        self._members: set[str] = set()

    def parse_line(self, line: str) -> None:
        if _CONTROL.search(line):
            raise FormatError("it has a control character.")
        words = [word for word in _BLANK.split(line) if word]
        if not words or words[0].startswith("#"):
            return
        match words:
            case ["log", key] | ["log", key, _]:
                self._log(_utf8(key))
            case ["witness", name, key] | ["witness", name, key, _]:
                self._witness(name, _utf8(key))
            case ["group", name, threshold, *members] if members:
                self._group(name, threshold, members)
            case ["quorum", name]:
                self._quorum(name)
            case _:
                raise FormatError(
                    "it is not one of `log VKEY [URL]`, `witness NAME VKEY [URL]`, `group NAME all|any|K NAME...` and `quorum NAME`."
                )

    def _log(self, key: str) -> None:
        origin, public_key = parse_vkey(key)
        if origin in self.logs:
            raise FormatError(f"the log {origin} is named twice.")
        self._new_key("log", public_key)
        self.logs[origin] = key

    def _witness(self, name: str, key: str) -> None:
        self._new_name(name)
        self._new_key("witness", parse_vkey(key, COSIGNATURE_TYPE)[1])
        self.witnesses[name] = key

    def _group(self, name: str, threshold: str, members: list[str]) -> None:
        self._new_name(name)
        for member in members:
            if member not in self.witnesses and member not in self.groups:
                raise FormatError(f"{member} was not defined before.")
            # A witness in two groups would count twice for a quorum over both.
            if member in self._members:
                raise FormatError(f"{member} is already a member of this group or another.")
            self._members.add(member)
        thresholds = {"any": 1, "all": len(members)}
        least = thresholds.get(threshold) or (int(threshold) if _NUMBER.fullmatch(threshold) else 0)
        if not 1 <= least <= len(members):
            raise FormatError(f"the threshold is `all`, `any`, or from 1 to {len(members)}.")
        self.groups[name] = WitnessGroup(least, tuple(members))

    def _quorum(self, name: str) -> None:
        if self.quorum is not None:
            raise FormatError("there is already a quorum.")
        if name != _NONE and name not in self.witnesses and name not in self.groups:
            raise FormatError(f"{name} was not defined before.")
        self.quorum = name

    def _new_name(self, name: str) -> None:
        if name == _NONE or name in self.witnesses or name in self.groups:
            raise FormatError(f"the name {name} is taken.")
        # Each witness costs a signature check, and a policy may come from elsewhere.
        if len(self.witnesses) + len(self.groups) >= _MAX_NAMES:
            raise FormatError("it has too many witnesses and groups.")

    def _new_key(self, kind: str, public_key: bytes) -> None:
        # Two names for one key would let a single witness count as two.
        if (kind, public_key) in self._keys:
            raise FormatError("the key is named twice.")
        self._keys.add((kind, public_key))


def _utf8(word: str) -> str:
    try:
        return word.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError("the key's name is not UTF-8.") from None
