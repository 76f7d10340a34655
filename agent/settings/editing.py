"""Changes values in a settings file without touching its comments and its other values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def edited(content: bytes, values: Mapping[tuple[str, ...], Any]) -> bytes:
    """Return the content of a TOML file with these values, by the path of their keys. None removes a value.

    Raises `ValueError` if the content is not UTF-8 or not TOML, or if a key above a value is no table.
    """
    import tomlkit  # noqa: PLC0415 - it takes 30 ms, and few processes change settings
    from tomlkit.items import InlineTable  # noqa: PLC0415

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
