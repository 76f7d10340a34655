"""Finds what an argument names: an id, its unique beginning or end, a name, or `last`. Both command lines use it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from aitbc.errors import AITBCError

LAST = "last"
"""The word for the newest one."""
SHORTEST = 3
"""Characters of an id that are enough, if they are unique."""
_COMPLETE = re.compile(r"[a-z]+_[0-9a-z]{26}|sha256:[0-9a-f]{64}")
"""The form of complete ids, which need no search."""
_SHOWN = 10


class NoSuchName(AITBCError):
    """An argument names nothing. The message suggests similar names."""


class AmbiguousName(AITBCError):
    """An argument names more than one candidate. The message lists them."""


@dataclass(frozen=True, slots=True)
class NamedCandidate:
    """Something that an argument may name. `text` describes it in a list of candidates."""

    id: str
    name: str = ""
    text: str = ""

    def __str__(self) -> str:
        about = ", ".join(part for part in (self.name, self.text) if part)
        return f"{self.id} ({about})" if about else self.id


def is_complete(named: str) -> bool:
    """Return whether an argument has the form of a complete id."""
    return _COMPLETE.fullmatch(named) is not None


def find(kind: str, named: str, candidates: Callable[[], Sequence[NamedCandidate]], listing: str) -> str:
    """Return the id that an argument names.

    `candidates` returns what exists, newest first; it is not called for a complete id. `kind` is the noun for messages ("job") and
    begins the ids; `listing` is the command that lists all of them. Raises `NoSuchName` and `AmbiguousName`.
    """
    if is_complete(named):
        return named
    # Only now is the coordinator asked: with a complete id, a command needs one request less.
    listed = candidates()
    matches = _matching(named, listed)
    if len(matches) == 1:
        return matches[0].id
    if matches:
        # A short beginning can match hundreds of jobs.
        omitted = [f"and {len(matches) - _SHOWN} more"] if len(matches) > _SHOWN else []
        lines = [f"{named!r} names {len(matches)} {kind}s. Use more characters of the id:"]
        raise AmbiguousName("\n".join([*lines, *map(str, matches[:_SHOWN]), *omitted]))
    if named.startswith((f"{kind}_", "sha256:")):
        return named  # it may be older than the candidates; the coordinator knows
    if not listed:
        raise NoSuchName(f"{named!r} was not found: there is no {kind} yet.")
    raise NoSuchName(f"There is no {kind} {named!r}.{_suggestion(named, listed)} `{listing}` lists them.")


def _matching(named: str, listed: Sequence[NamedCandidate]) -> Sequence[NamedCandidate]:
    """Return the candidates that an argument names, by the most exact way that names any."""
    if named == LAST:
        return listed[:1]
    # People copy ids from anywhere, also in capital letters.
    short = named.lower()
    # From the most exact to the least: a job with the name `abc` goes before those whose id begins with it.
    ways: Iterable[Callable[[NamedCandidate], bool]] = (
        lambda candidate: candidate.id == named,
        lambda candidate: candidate.name == named,
        lambda candidate: candidate.name.lower() == short,
        lambda candidate: (
            len(short) >= SHORTEST
            and (candidate.id.startswith(short) or _rest(candidate.id).startswith(short))
        ),
        lambda candidate: len(short) >= SHORTEST and candidate.id.endswith(short),
    )
    return next(
        (matches for way in ways if (matches := [candidate for candidate in listed if way(candidate)])), ()
    )


def _rest(complete: str) -> str:
    """Return an id without its kind."""
    return re.split("[_:]", complete, maxsplit=1)[-1]


def _suggestion(named: str, listed: Sequence[NamedCandidate]) -> str:
    """Return a similar name, or all names if they are few."""
    names = list(dict.fromkeys(candidate.name or candidate.id for candidate in listed))
    near = difflib.get_close_matches(named, [*names, *(candidate.id for candidate in listed)], n=1)
    if near:
        return f" Did you mean {near[0]!r}?"
    return f" There are: {', '.join(names)}." if len(names) <= _SHOWN else ""
