"""Changes values in a settings file without touching its comments and its other values, and keeps its secrets private."""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.atomic_file import replace_file
from agent.configuring.description import describe
from agent.settings import Settings


def edited(content: bytes, values: Mapping[tuple[str, ...], Any]) -> bytes:
    """Return the content of a TOML file with these values, by the path of their keys. None removes a value.

    Raises `ValueError` if the content is not UTF-8 or not TOML, or if a key above a value is no table.
    """
    import tomlkit  # noqa: PLC0415 - it takes 30 ms, and few processes change settings
    from tomlkit.items import InlineTable  # noqa: PLC0415

    # Not `tomllib`, which knows nothing of comments, and the file is its owner's.
    document = tomlkit.parse(content.decode("utf-8-sig"))
    for (*above, name), value in values.items():
        table: Any = document
        for depth, part in enumerate(above, 1):
            if part not in table:
                if value is None:
                    break
                table[part] = tomlkit.inline_table() if isinstance(table, InlineTable) else tomlkit.table()
            table = table[part]
            if not isinstance(table, dict):
                raise ValueError(  # noqa: TRY004 - the content is at fault
                    f"{'.'.join(above[:depth])} is not a section"
                )
        else:
            if value is not None:
                table[name] = value
            elif name in table:
                del table[name]
    return tomlkit.dumps(document).encode()


def write_values(file: Path, values: Mapping[tuple[str, ...], Any]) -> None:
    """Write values into a settings file, which need not exist. Raises as `edited`, and `OSError`."""
    content = file.read_bytes() if file.exists() else b""
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_settings(file, edited(content, values))


def replace_settings(file: Path, content: bytes) -> None:
    """Replace a settings file atomically. Raises `OSError`.

    A new file, and one with secrets that everybody could read, is then readable by its owner only; others keep their mode.
    """
    public = file.exists() and stat.S_IMODE(file.stat().st_mode) & stat.S_IROTH
    # A file that its owner has opened to a group stays open to it.
    private = not file.exists() or (public and _has_secrets(tomllib.loads(content.decode("utf-8-sig"))))
    replace_file(file, content, 0o600 if private else None)


def _has_secrets(values: Mapping[str, Any]) -> bool:
    return any(_contains(values, setting.key) for setting in describe(Settings) if setting.secret)


def _contains(values: Mapping[str, Any], key: str) -> bool:
    name, _, inner = key.partition(".")
    value = values.get(name)
    return value is not None and (not inner or (isinstance(value, Mapping) and _contains(value, inner)))
