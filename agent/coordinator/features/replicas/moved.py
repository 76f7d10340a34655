"""The mark next to a database file that was moved to another engine, or is being moved: no coordinator starts on such a file."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from agent.atomic_file import replace_file
from agent.core.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Mark:
    """Where the data goes, without secrets, and when. `finished_at` is None while the move is unfinished. Times are ISO 8601."""

    migration_id: str
    target: str
    begun_at: str
    finished_at: str | None = None

    @classmethod
    def new(cls, target: str) -> Mark:
        """Return the mark of a move that begins now."""
        return cls(secrets.token_hex(16), target, _now())

    def finished(self) -> Mark:
        """Return the mark of the same move, which ends now unless it has ended before."""
        return Mark(self.migration_id, self.target, self.begun_at, self.finished_at or _now())


def mark_path(database: Path) -> Path:
    """Return the path of the mark of a database file."""
    return database.with_name(f"{database.name}.moved")


def read_mark(database: Path) -> Mark | None:
    """Return the mark of a database file, or None. Raises `ConfigurationError` if it cannot be read."""
    path = mark_path(database)
    try:
        return Mark(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise ConfigurationError(
            f"{path} cannot be read. It says that {database} was moved to another database."
        ) from None


def write_mark(database: Path, mark: Mark) -> None:
    """Write the mark of a database file durably."""
    replace_file(mark_path(database), json.dumps(asdict(mark), indent=1).encode(), 0o600)


def require_unmoved(database: Path) -> None:
    """Raise `ConfigurationError` if the file was moved, or is being moved."""
    mark = read_mark(database)
    if mark is None:
        return
    if mark.finished_at is None:
        raise ConfigurationError(
            f"{database} is being moved to {mark.target} since {mark.begun_at}. Run `aitbc-agent migrate` again to finish that, or "
            f"delete {mark_path(database)} to stay with SQLite."
        )
    raise ConfigurationError(
        f"{database} was moved to {mark.target} at {mark.finished_at}, and is only a backup. Set database.url to the PostgreSQL database. "
        f"To return to the file without what has happened since, delete {mark_path(database)}."
    )


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
