"""The package index: the owner's pip settings, translated for uv.

Installing runs in the sandbox, which hides the owner's files and environment. Therefore pip's index settings
are read here, and only these are passed on, with the proxies and the certificates.
See https://pip.pypa.io/en/stable/topics/configuration/ and https://docs.astral.sh/uv/reference/environment/.
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_SETTINGS = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "retries": "UV_HTTP_RETRIES",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}
_SEPARATORS = {"UV_FIND_LINKS": ","}
_PASSED_ON = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
_SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True, slots=True)
class Index:
    """The variables that configure uv's index, and the owner's files that they name."""

    environment: Mapping[str, str]
    files: tuple[Path, ...]


def index() -> Index:
    """Return the index that the owner has configured for pip, by default PyPI."""
    chosen: dict[str, str] = {"UV_INDEX_STRATEGY": "unsafe-best-match"}  # pip treats all indexes alike
    if _SYSTEM_CERTIFICATES.is_file():
        chosen["SSL_CERT_FILE"] = str(_SYSTEM_CERTIFICATES)
    for name in _PASSED_ON:
        # Programs disagree about the case of these variables.
        for variable in (name, name.lower()):
            if value := os.environ.get(variable):
                chosen[variable] = value
    for setting, value in _settings():
        if setting in _SETTINGS:
            variable = _SETTINGS[setting]
            chosen[variable] = _SEPARATORS.get(variable, " ").join(value.split())
    named = [chosen[name] for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if name in chosen]
    named += chosen.get("UV_FIND_LINKS", "").split(",")
    paths = (Path(text.removeprefix("file://")) for text in named if text.startswith(("/", "file:///")))
    return Index(chosen, tuple(path for path in paths if path.exists()))


def constraints() -> str:
    """Return the constraints files of the owner's pip, separated by spaces. Only the agent's own environment follows them."""
    return " ".join(value for setting, value in _settings() if setting == "constraint").strip()


def _settings() -> Iterator[tuple[str, str]]:
    """Yield pip's settings for installing in ascending precedence: the machine's, the user's, this Python's, the environment's."""
    for file in _files():
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                yield from parser.items(section)
    for variable, value in os.environ.items():
        if variable.startswith("PIP_") and value:
            yield variable.removeprefix("PIP_").lower().replace("_", "-"), value


def _files() -> Iterator[Path]:
    if (chosen := os.environ.get("PIP_CONFIG_FILE")) == os.devnull:
        return
    for directory in reversed(os.environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")):
        yield Path(directory, "pip", "pip.conf")
    yield Path("/etc/pip.conf")
    home = Path(os.environ.get("HOME", os.sep))
    yield home / ".pip" / "pip.conf"
    yield Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config", "pip", "pip.conf")
    yield Path(sys.prefix, "pip.conf")
    if chosen:
        yield Path(chosen)
