"""The exact bytes of every digest and signature: canonical JSON, SHA-256 and strict base64.

Two programs agree on a signature only if they agree on the bytes, so each value has exactly one accepted form here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import re
from typing import Any

import orjson
import rfc8785

from aitbc.errors import FormatError

MAX_SAFE_INTEGER = 2**53 - 1
"""The largest integer that every JSON parser represents exactly (RFC 7493, section 2.2)."""


def canonical_json(value: Any) -> bytes:
    """Return the RFC 8785 (JCS) encoding of a JSON value.

    Raises `FormatError` for values that JSON cannot represent exactly: NaN and infinities, integers beyond 2^53 - 1, keys that are
    not strings, lone surrogates, and types that JSON does not have.
    """
    encoded = _encoded(value)
    if encoded is not None:
        return encoded
    try:
        # Slow, and the reference: what the fast way is not certain about is decided here.
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise FormatError(f"The value has no canonical JSON form: {error}.") from error
    except RecursionError as error:
        raise FormatError("The value is nested too deeply for canonical JSON.") from error


_CANONICAL = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER
_ALIKE = frozenset({str, int, bool, type(None)})
"""Types that orjson and JCS write alike: escapes are the shortest, and other integers are refused."""
_SMALLEST, _LARGEST = 1e-4, 1e15
"""Between these, a float that is not whole is written without an exponent, with the shortest digits that identify it."""
_ASTRAL = re.compile(rb"[\xf0-\xf4]")
"""The first bytes of characters beyond U+FFFF. Without them, the order of UTF-16 code units, by which JCS sorts keys, is that of
code points, by which orjson sorts them."""


def _encoded(value: Any) -> bytes | None:
    """Return what `rfc8785` would return, in a fraction of the time; None where that is not certain, or there is no encoding."""
    try:
        encoded = orjson.dumps(_alike(value), option=_CANONICAL)
    except (TypeError, RecursionError):  # e.g. a key that is not a string, or too large an integer
        return None
    return encoded if encoded.isascii() or _ASTRAL.search(encoded) is None else None


def _alike(value: Any) -> Any:
    """Return an equal value that orjson writes as JCS writes this one: whole floats become integers. Raises `TypeError`."""
    kind = type(value)
    if kind in _ALIKE:
        return value
    if kind is dict:
        return {name: item if type(item) in _ALIKE else _alike(item) for name, item in value.items()}
    if kind is list or kind is tuple:
        return [item if type(item) in _ALIKE else _alike(item) for item in value]
    if kind is float:
        # JCS writes 1.0 as 1, as JavaScript does.
        if value.is_integer() and abs(value) <= MAX_SAFE_INTEGER:
            return int(value)
        if _SMALLEST <= abs(value) < _LARGEST and not value.is_integer():
            return value
    raise TypeError(f"{kind} may differ")


def parse_json(text: str | bytes) -> Any:
    """Parse JSON strictly: UTF-8, no repeated keys, no NaN or infinities.

    Integers beyond 2^53 - 1 become floats, as in JavaScript, so that a number has the same canonical form in every language. Raises
    `FormatError`.
    """
    try:
        source = text.decode("utf-8") if isinstance(text, bytes) else text
        return _STRICT.decode(source)
    except FormatError:
        raise
    except UnicodeDecodeError as error:
        raise FormatError("The text is not UTF-8.") from error
    except RecursionError as error:
        raise FormatError("The JSON text is nested too deeply.") from error
    except ValueError as error:
        raise FormatError(f"This is not valid JSON: {error}.") from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Two parsers may keep different ones of two equal keys, and would verify different documents.
    result = dict(pairs)
    if len(result) != len(pairs):
        raise FormatError("A JSON object repeats a key.")
    return result


def _refuse_constant(name: str) -> Any:
    raise FormatError(f"{name} is not JSON.")


def _finite(text: str) -> float:
    number = float(text)
    # Python reads 1e999 as infinity, which has no JSON form.
    if not math.isfinite(number):
        raise FormatError("A JSON number is too large.")
    return number


def _integer(text: str) -> int | float:
    number = int(text)
    return number if abs(number) <= MAX_SAFE_INTEGER else _finite(text)


_STRICT = json.JSONDecoder(
    object_pairs_hook=_unique_keys,
    parse_constant=_refuse_constant,
    parse_float=_finite,
    parse_int=_integer,
)


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of `data` in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def b64encode(data: bytes) -> str:
    """Encode standard base64 with padding (RFC 4648, section 4)."""
    return base64.b64encode(data).decode("ascii")


def b64decode(text: str) -> bytes:
    """Decode canonical standard base64.

    Raises `FormatError` for every other form: white space, missing padding, other alphabets, and nonzero trailing bits.
    """
    try:
        # The lenient mode skips unknown characters, so that many texts would stand for the same signature.
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise FormatError(f"This is not standard base64: {error}.") from error
    # The strict mode still accepts nonzero bits after the last byte.
    if b64encode(data) != text:
        raise FormatError("This is not canonical base64.")
    return data
