"""Every secret that this machine is known to have, so that none can be in a support bundle under any name.

All readers are best efforts: the machine may be broken, and `redaction` has other nets.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import tomllib
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from agent.cli.support.redaction import SENSITIVE_NAME, SHORTEST
from agent.configuring.description import describe
from agent.settings import Settings

_NAME: Final = re.compile(SENSITIVE_NAME, re.IGNORECASE)
_VARIABLE: Final = re.compile(
    r"KEY|TOKEN|SECRET|PASS|PWD|CREDENTIAL|AUTH|COOKIE|HEADERS|DSN|(?:_|^)PAT$", re.IGNORECASE
)
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]{1,20}://[^\s\"'<>]+", re.IGNORECASE)
_LINE: Final = re.compile(r"\s*(?:export\s+)?[\"']?([\w.-]+)[\"']?\s*[=:]\s*(.+?)\s*$")
_MAX_FILE: Final = 2**20
_MAX_ROWS: Final = 10_000
# Words that are values of settings with such names, and of no use to anybody else.
_HARMLESS: Final = frozenset(
    {"default", "disabled", "enabled", "postgres", "password", "secret", "unlimited"}
)
_OTHER_PROGRAMS: Final = (
    ".cache/huggingface/token", ".huggingface/token", ".aws/credentials", ".netrc", ".pgpass", ".git-credentials", ".npmrc", ".pypirc",
    ".config/pip/pip.conf", ".pip/pip.conf", ".config/uv/uv.toml", ".docker/config.json", ".config/aitbc/config.json", ".config/aitbc/config.toml",
)  # fmt: skip
_SERVICE_DIRECTORIES: Final = (Path("/etc/aitbc-agent"), Path("/etc/aitbc"), Path("/etc/default"))


def known_secrets(data_dir: Path, settings: Settings | None, config: Path | None) -> set[str]:
    """Return the values of all secrets of this machine that can be read. Raises nothing."""
    readers = (
        _in_environment(),
        _in_settings(settings),
        _in_own_files(data_dir),
        _in_texts([config or data_dir / "agent.toml"]),
        _in_texts(_service_files()),
        _in_texts(Path.home() / name for name in _OTHER_PROGRAMS),
        _in_database(data_dir / "coordinator" / "coordinator.db"),
    )
    secrets: set[str] = set()
    for reader in readers:
        # A reader that fails midway has already yielded something.
        with suppress(Exception):
            secrets.update(reader)
    return {secret for secret in secrets if len(secret) >= SHORTEST and secret.lower() not in _HARMLESS}


def _in_environment() -> Iterator[str]:
    for name, value in os.environ.items():
        # A variable such as PWD or SSH_AUTH_SOCK has a path, which is no secret by itself.
        if _VARIABLE.search(name) and not Path(value).is_absolute():
            yield from _of_value(value)
        yield from _in_urls(value)


def _of_value(value: str) -> Iterator[str]:
    """Yield a secret value, and the parts of it that are secrets by themselves."""
    yield value
    yield from (line for line in value.splitlines() if len(line) > SHORTEST)
    # Headers: "authorization=Bearer%20x,other=y".
    for part in re.split(r"[,;\s]+", value):
        name, separator, inner = part.partition("=")
        if separator and name:
            yield unquote(inner)
            yield unquote(inner).rpartition(" ")[2]


def _in_urls(text: str) -> Iterator[str]:
    """Yield the passwords and the values of queries in the URLs of a text."""
    for match in _URL.finditer(text):
        parts = urlsplit(match[0])
        login = parts.netloc.rpartition("@")[0]
        name, colon, password = login.partition(":")
        # "https://TOKEN@host" has no password.
        for secret in (
            password if colon else name,
            *(value for _, value in parse_qsl(parts.query)),
            parts.fragment,
        ):
            yield secret
            yield unquote(secret)


def _in_settings(settings: Settings | None) -> Iterator[str]:
    if settings is None:
        return
    for setting in describe(Settings):
        value = setting.value_in(settings)
        if setting.secret or _NAME.search(setting.name):
            yield from _strings(value)
        for text in _strings(value):
            yield from _in_urls(text)
    # Entries of tables by name, such as adapters of payouts.
    yield from _named(settings.model_dump(mode="json"))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple | frozenset):
        for item in value:
            yield from _strings(item)
    elif value is not None and not isinstance(value, bool | int | float):
        text = str(value)
        if urlsplit(text).scheme:
            # Not the whole address: the person who helps must see the host.
            yield from _in_urls(text)
        else:
            yield text


def _named(value: Any, name: str = "") -> Iterator[str]:
    """Yield the texts below secret names in JSON."""
    if isinstance(value, dict):
        for inner_name, inner in value.items():
            yield from _named(inner, inner_name if not _NAME.search(name) else name)
    elif isinstance(value, list):
        for inner in value:
            yield from _named(inner, name)
    elif isinstance(value, str):
        if _NAME.search(name):
            yield from _strings(value)
        yield from _in_urls(value)


def _in_own_files(data_dir: Path) -> Iterator[str]:
    for path in (*data_dir.glob("*.key"), *data_dir.glob("*/*.key"), *data_dir.glob("*/*.pem")):
        with suppress(OSError):
            content = path.read_bytes()[:_MAX_FILE]
            yield content.hex()
            text = content.decode("utf-8", "replace").strip()
            yield text
            yield from text.split()
            # A signed note's key has the secret after the last plus sign.
            yield text.rpartition("+")[2]
    for name in ("agent.json", "coordinator/keys.json", "miner/api_key.json", "miner/sealing_keys.json"):
        with suppress(OSError, ValueError):
            content_of_file = json.loads((data_dir / name).read_bytes()[:_MAX_FILE])
            # The keys of networks are under the networks' names.
            yield from (_strings(content_of_file) if name.startswith("miner/") else _named(content_of_file))


def _service_files() -> Iterator[Path]:
    for directory in (*_SERVICE_DIRECTORIES, Path.home() / ".config/aitbc-agent"):
        with suppress(OSError):
            yield from (path for path in directory.iterdir() if "aitbc" in str(path) and path.is_file())


def _in_texts(paths: Any) -> Iterator[str]:
    for path in paths:
        with suppress(OSError):
            with path.open("rb") as file:
                text = file.read(_MAX_FILE).decode("utf-8", "replace")
            yield from _in_text(text, whole=path.name == "token")


def _in_text(text: str, *, whole: bool) -> Iterator[str]:
    yield from _in_urls(text)
    if whole:
        yield text.strip()
    with suppress(ValueError):
        yield from _named(tomllib.loads(text))
    with suppress(ValueError):
        yield from _named(json.loads(text))
    # Whether it can be parsed or not: each line by itself, as of `.env`, `.netrc` and `.pgpass`.
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is not None and (_NAME.search(match[1]) or _VARIABLE.search(match[1])):
            value = match[2].split(" #")[0].strip().strip("\"'")
            yield from () if urlsplit(value).scheme else (value,)
        words = line.split()
        yield from (word for before, word in pairwise(words) if before == "password")
        if line.count(":") == 4:  # noqa: PLR2004 - host:port:database:user:password
            yield line.rpartition(":")[2]


def _in_database(path: Path) -> Iterator[str]:
    """Yield the secrets that the database must have in full; of keys and tokens it has digests."""
    if not path.is_file():
        return
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
        for row in connection.execute("SELECT secret, previous FROM webhook_secrets LIMIT ?", (_MAX_ROWS,)):
            yield from (value for value in row if value)
