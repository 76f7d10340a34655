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
class Candidate:
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


def find(kind: str, named: str, candidates: Callable[[], Sequence[Candidate]], listing: str) -> str:
    """Return the id that an argument names.

    `candidates` returns what exists, newest first; it is not called for a complete id. `kind` is the noun for messages ("job") and
    begins the ids; `listing` is the command that lists all of them. Raises `NoSuchName` and `AmbiguousName`.
    """
    if is_complete(named):
        return named
    known = candidates()
    found = _matching(named, known)
    if len(found) == 1:
        return found[0].id
    if found:
        more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        lines = [f"{named!r} names {len(found)} {kind}s. Use more characters of the id:"]
        raise AmbiguousName("\n".join([*lines, *map(str, found[:_SHOWN]), *more]))
    if named.startswith((f"{kind}_", "sha256:")):
        return named  # it may be older than the candidates; the coordinator knows
    if not known:
        raise NoSuchName(f"{named!r} was not found: there is no {kind} yet.")
    raise NoSuchName(f"There is no {kind} {named!r}.{_suggestion(named, known)} `{listing}` lists them.")


def _matching(named: str, known: Sequence[Candidate]) -> Sequence[Candidate]:
    """Return the candidates that an argument names, by the most exact way that names any."""
    if named == LAST:
        return known[:1]
    short = named.lower()
    ways: Iterable[Callable[[Candidate], bool]] = (
        lambda one: one.id == named,
        lambda one: one.name == named,
        lambda one: one.name.lower() == short,
        lambda one: len(short) >= SHORTEST and (one.id.startswith(short) or _rest(one.id).startswith(short)),
        lambda one: len(short) >= SHORTEST and one.id.endswith(short),
    )
    return next((found for way in ways if (found := [one for one in known if way(one)])), ())


def _rest(complete: str) -> str:
    """Return an id without its kind."""
    return re.split("[_:]", complete, maxsplit=1)[-1]


def _suggestion(named: str, known: Sequence[Candidate]) -> str:
    """Return a similar name, or all names if they are few."""
    names = list(dict.fromkeys(one.name or one.id for one in known))
    near = difflib.get_close_matches(named, [*names, *(one.id for one in known)], n=1)
    if near:
        return f" Did you mean {near[0]!r}?"
    return f" There are: {', '.join(names)}." if len(names) <= _SHOWN else ""
