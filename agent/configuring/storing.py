"""Writes settings into the settings file, checked together with all others before anything is written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from agent.configuring.editing import edited, replace_settings
from agent.configuring.reading import SettingsReading, settings_by_key
from agent.core.errors import ConfigurationError


class OverriddenSetting(ConfigurationError):
    """A variable or a flag sets a setting, so the file could not change it."""


def changed_by_file(
    reading: SettingsReading, values: Mapping[tuple[str, ...], Any]
) -> tuple[SettingsReading, bytes]:
    """Return the settings with these values in the file, by the path of their keys (None removes one), and the file's new content.

    Raises `OverriddenSetting`, `InvalidSettings`, or `ConfigurationError` for a file that cannot be read.
    """
    file = reading.file
    try:
        former_content = file.read_bytes() if file.exists() else b""
        _require_in_file(reading.with_file(former_content), values)
        content = edited(former_content, values)
    except ValueError as error:
        raise ConfigurationError(f"{file}: {error}") from None
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}.") from None
    return reading.with_file(content), content


def store_file(reading: SettingsReading, content: bytes) -> None:
    """Replace the settings file. Raises `OSError`.

    As root, the file keeps its owner, or gets that of its directory: a service must be able to read it.
    """
    file = reading.file
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    former = (file if file.exists() else file.parent).stat()
    replace_settings(file, content)
    if os.geteuid() == 0 and former.st_uid != 0:
        os.chown(file, former.st_uid, former.st_gid)
    elif os.geteuid() == 0 and former.st_gid != file.stat().st_gid:
        os.chown(file, -1, former.st_gid)


def _require_in_file(reading: SettingsReading, values: Mapping[tuple[str, ...], Any]) -> None:
    """Raise `OverriddenSetting` for a setting that a variable or a flag sets."""
    keys = settings_by_key()
    for path in values:
        # An entry of a table has no setting of its own.
        key = next(name for end in range(len(path), 0, -1) if (name := ".".join(path[:end])) in keys)
        origin = reading.origins.get(key)
        if origin is not None and origin.source != "file":
            raise OverriddenSetting(
                f"{key}: the {origin} sets it, which takes precedence over the file. Change it on the machine."
            )
