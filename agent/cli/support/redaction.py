"""Removes secrets, and data of other people, from text that leaves the machine.

Three nets, since each has holes: the exact values of all secrets that this machine has (`known_secrets`), also encoded; forms that secrets have; and strings
without meaning that are as long as keys. Too much is removed rather than too little.

`detect-secrets` has such forms too, but had no release since May 2024, works on files of source code line by line, and knows none of this project's keys.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import quote, quote_plus

SHORTEST: Final = 6
"""Characters of the shortest known secret that is removed wherever it occurs. To look for shorter ones would shred the text."""
SENSITIVE_NAME: Final = (
    r"(?:pass(?!ed|ing|es|ive|thr)(?:word|wd|phrase|code)?|pwd|secret|token|api[_-]?key|(?:private|access|secret|account|signing|encryption|master|client|miner|admin|license)[_-]?key"
    r"|credentials?|cookie|auth(?:orization)?|mnemonic|seed[_-]?phrase|connection[_-]?string|dsn|signature|enrol(?:l|ment)?|join[_-]?code)"
)
_VALUE: Final = r"""(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[^\s,;&)\]}"']+)"""
_FORMS: Final[tuple[tuple[str, str], ...]] = (
    ("private key", r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----|\Z)"),
    ("key", r"\b(?:aitbc_(?:client|miner|admin|owner)_|enrol_|whsec_|session\.miner_)[\w.+/=-]{4,}"),
    ("join code", r"(?i:\bAITBC1(?:[\s-]?[A-Z0-9]){40,})"),
    ("token", r"\b(?:hf|ghp|gho|ghu|ghs|ghr|npm|glpat|pypi|dop_v1|github_pat|sk|rk|pk|xox[abeoprs]|shpat|lsv2|tskey|age-secret-key)[_-][\w-]{10,}"),
    ("token", r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}\b|\bAIza[\w-]{20,}|\bya29\.[\w-]{10,}|\bSG\.[\w-]{10,}\.[\w-]{10,}|\bAGE-SECRET-KEY-1[A-Z0-9]+"),
    ("token", r"\beyJ[\w-]{6,}\.[\w-]{4,}(?:\.[\w-]*)?"),
    ("token", r"\b\d{8,10}:[A-Za-z0-9_-]{30,}"),
    ("password hash", r"\$(?:2[aby]|5|6|y|argon2\w+|pbkdf2[\w-]*)\$[\w./$,=+-]{10,}"),
    ("credentials", r"(?<=://)(?:[^\s/\"'<>:]*:[^\s\"'<>]*|[^\s/\"'<>]*)@"),
)  # fmt: skip
_HEADER: Final = re.compile(
    r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|x-(?:api-key|auth-token|amz-security-token)|grpc-metadata-\w+)([\"']?\s*[:=]\s*)(\"[^\"\n]*\"|'[^'\n]*'|[^\n\"']+)"
)
_SCHEME: Final = re.compile(r"(?i)\b(bearer|basic|digest|negotiate|whsec)\s+[\w.~+/=:-]{6,}")
# Numbers and words such as "max_tokens = 256" are no secrets.
_ASSIGNED: Final = re.compile(
    rf"(?i)([\"']?\b[\w.-]*{SENSITIVE_NAME}[\w-]{{0,12}}[\"']?\]?\s*(?:=>|[:=])\s*)(?!(?:-?\d{{1,9}}(?:\.\d+)?|true|false|null|none)\b|\(|\*)({_VALUE})"
)
_OPTION: Final = re.compile(rf"(?i)(--?[\w-]*{SENSITIVE_NAME}[\w-]*[\"']?(?:\s*,\s*|\s+|=))({_VALUE})")
_USER_OPTION: Final = re.compile(
    r"((?:^|[\s\"'])(?:-u|--user)[\"']?(?:\s*,\s*|[\s=]+)[\"']?[^\s:\"']+:)([^\s\"']+)"
)
_QUERY: Final = re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}://[^\s?#\"'<>]*)[?#][^\s\"'<>]+", re.IGNORECASE)
_HOOK: Final = re.compile(
    r"(?i)(https?://[^\s/\"'<>]*(?:hooks?|webhooks?|discord|slack|telegram|ntfy|pushover)[^\s/\"'<>]*/)[^\s\"'<>]+"
)
_MAIL: Final = re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b")
_HEX: Final = re.compile(r"\b(?:0x)?[0-9a-fA-F]{32,}\b")
_LONG: Final = re.compile(r"[A-Za-z0-9+_=-]{20,}")
_PIECES: Final = re.compile(r"[A-Za-z0-9+=]{16,}")
_SHOWN: Final = 8
"""Characters of a digest that stay, so that two lines about the same thing can be recognised."""
_NUMBERS: Final = re.compile(
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4})(?![\w:]|\.\d)"
)
_HOMES: Final = re.compile(r"/(home|Users)/(?!\[)[^/\s\"':]+")
# Ids of this project: they say nothing, and a helper needs them whole.
_ID: Final = re.compile(r"^(?:job|offer|tx|receipt|miner|account|key|batch|transfer|upload|audit|GPU)[_-]")


def removed(kind: str) -> str:
    """Return what replaces a removed text."""
    return f"[removed: {kind}]"


class Redactor:
    """Redacts text. The same address has the same number wherever it occurs."""

    def __init__(self, secrets: Iterable[str], home: Path | None = None) -> None:
        forms = {form for secret in secrets for form in encoded_forms(secret)}
        # The longest first, else a part of a secret would be found in it, and the rest would stay.
        ordered = sorted(forms, key=lambda form: (-len(form), form))
        self._known = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        self._forms = [(kind, re.compile(pattern, re.DOTALL)) for kind, pattern in _FORMS]
        # Not the root of all.
        self._home = re.compile(rf"{re.escape(str(home))}(?![\w-])") if home and home.name else None
        self._addresses: dict[str, int] = {}

    def text(self, text: str, *, addresses: bool = True) -> str:
        """Return the text without secrets, addresses of the internet, and names of users.

        `addresses` is False for lists of versions, of which some look like addresses.
        """
        if self._known is not None:
            text = self._known.sub(removed("secret"), text)
        for kind, form in self._forms:
            text = form.sub(removed(kind) + ("@" if kind == "credentials" else ""), text)
        text = _HEADER.sub(_keeping_quotes, text)
        text = _SCHEME.sub(rf"\1 {removed('token')}", text)
        text = _ASSIGNED.sub(_assigned, text)
        text = _OPTION.sub(_assigned, text)
        text = _USER_OPTION.sub(rf"\1{removed('password')}", text)
        text = _HOOK.sub(rf"\1{removed('path')}", text)
        text = _QUERY.sub(rf"\1?{removed('query')}", text)
        text = _MAIL.sub(removed("mail address"), text)
        text = _HEX.sub(lambda match: f"{match[0][:_SHOWN]}...", text)
        text = _LONG.sub(_meaningless, text)
        if addresses:
            text = _NUMBERS.sub(self._address, text)
        if self._home is not None:
            text = self._home.sub("~", text)
        return _HOMES.sub(r"/\1/[user]", text)

    def _address(self, match: re.Match[str]) -> str:
        try:
            address = ip_address(match[0])
        except ValueError:
            return match[0]
        if not address.is_global:
            return match[0]
        return f"[address {self._addresses.setdefault(str(address), len(self._addresses) + 1)}]"


def _keeping_quotes(match: re.Match[str]) -> str:
    return f"{match[1]}{match[2]}{_in_quotes_of(match[3])}"


def _assigned(match: re.Match[str]) -> str:
    return f"{match[1]}{_in_quotes_of(match[2])}"


def _in_quotes_of(value: str) -> str:
    # JSON must stay JSON.
    mark = value[0] if value[0] in "\"'" else ""
    return value if value.startswith(("[removed", '"[removed')) else f"{mark}{removed('secret')}{mark}"


def _meaningless(match: re.Match[str]) -> str:
    text = match[0]
    if _ID.match(text):
        return text
    for piece in _PIECES.findall(text):
        kinds = (any(map(kind, piece)) for kind in (str.isdigit, str.isupper, str.islower))
        if all(kinds):
            return removed(f"{len(text)} characters")
    return text


def encoded_forms(secret: str) -> Iterator[str]:
    """Yield how a secret may be written: itself, in URLs and JSON, and in base64 and hex, also within longer encoded text."""
    secret = secret.strip()
    if len(secret) < SHORTEST:
        return
    yield secret
    yield quote(secret, safe="")
    yield quote(secret)
    yield quote_plus(secret)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield repr(secret)[1:-1]
    for content in {secret.encode(), *_decoded(secret)}:
        yield content.hex()
        yield content.hex().upper()
        for text in _base64(content):
            yield text
            yield text.replace("+", "-").replace("/", "_")
            yield quote(text, safe="")


def _decoded(secret: str) -> Iterator[bytes]:
    """Yield the bytes of a key that is written in base64 or hex: a log may show them otherwise."""
    content = re.sub(r"^(?:whsec_|0x)", "", secret)
    decoders: tuple[Callable[[str], bytes], ...] = (
        bytes.fromhex,
        lambda text: base64.b64decode(text + "=" * (-len(text) % 4), validate=True),
        lambda text: base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True),
    )
    for decode in decoders:
        with suppress(ValueError, binascii.Error):
            if len(decoded := decode(content)) >= 16:  # noqa: PLR2004 - shorter ones are words that look like base64
                yield decoded


def _base64(content: bytes) -> Iterator[str]:
    """Yield the base64 of bytes wherever they begin within longer bytes, without the characters that depend on these."""
    for before in range(3):
        text = base64.b64encode(bytes(before) + content).decode().rstrip("=")
        # The first characters and the last one mix the content with what surrounds it.
        first, unclear = (0, 2, 3)[before], (before + len(content)) % 3
        inner = text[first : len(text) - 1 if unclear else None]
        if len(inner) >= SHORTEST:
            yield inner
