"""Vectors of single values: canonical JSON, quantities, money and prices."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from agent.core.values.quantities import parse_quantity
from aitbc.canonical import b64decode, canonical_json, parse_json
from aitbc.errors import FormatError
from aitbc.statement import decimal_text, job_price, money, parse_decimal

JSON_TEXTS: Final = (
    "null", "true", '""', "0", "-0", "-0.0", "1", "-1", "1.0", "1.50", "0.1", "1e0", "1E+2", "1e21", "1e20", "123456789012345680000",
    "0.000001", "0.0000001", "1e-7", "5e-324", "1.7976931348623157e308", "2.2250738585072014e-308", "9007199254740991", "9007199254740992",
    "9007199254740993", "-9007199254740993", "12345678901234567890", "0.30000000000000004", "4.35", "333333333.33333329", "1e23", "9.5e-7",
    '"\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/"', '"\\u007f\\u0080\\u00a0\\u2028\\u2029\\ufeff"', '"\\ud83d\\ude00"', '"\\b\\f\\n\\r\\t"',
    '"\\\\ud800"', "[]", "{}", "[ 1 , [ ] , { } ]", '{"b":1,"a":2}', '{"aa":1,"a":2,"":3}',
    '{"\\u20ac":1,"\\r":2,"\\ufb33":3,"1":4,"\\ud83d\\ude00":5,"\\u0080":6,"\\u00f6":7}', '{"10":1,"9":2,"1":3}',
    '{"\\ue000":1,"\\ud800\\udc00":2}', '{"constructor":1,"__proto__":{"a":1},"toString":2}', '{"a":{"a":{"a":[{"b":[],"a":null}]}}}',
)  # fmt: skip
BAD_JSON_TEXTS: Final = (
    "", " ", "NaN", "Infinity", "-Infinity", "1e400", "-1e400", "01", "1.", ".5", "+1", "0x1", "1e", "'a'", "undefined", "[1,]", '{"a":1,}', "{a:1}", '"\t"',
    '"\\x"', '"a', "[1", "1 2", "// a", '{"a":1,"a":1}', '{"a":1,"\\u0061":2}', '{"b":{"x":1,"y":{"k":1,"k":2}}}', '"\\ud800"', '{"\\udfff":1}', '["\\udc00\\ud800"]', '"\\\\\\ud800"',
)  # fmt: skip
BAD_BASE64: Final = (
    "A", "AA", "AAA", "AAA=A", "AA=", "A===", "====", "AAAA=", "AA==AA==", "AB==", "AAB=", " AAAA", "AAAA ", "AAAA\n", "AA\nAA", "AA-_", "é===", "AAAA\u0000",
)  # fmt: skip

QUANTITIES: Final = (
    "0", "1", "2", "1.5", "500m", "1m", "1500m", "1000m", "1k", "2M", "3G", "1T", "1P", "2Ki", "1.5Mi", "4Gi", "1Ti", "1Pi", "0.1", "007", "0.5Gi", "24Gi", "100m", "0.000000001",
)  # fmt: skip
BAD_QUANTITIES: Final = (
    "", " ", " 1", "1 ", "1 Gi", "1gi", "-1", "+1", "1e3", "Gi", "m", "1.", ".5", "0x10", "1GiB", "inf", "NaN", "\u0663", "1\n", "1,5", "1K", "1E", "1.0000000001", "1234567890123456789",
)  # fmt: skip

PRICES: Final = (
    ("12.5", "0.0001", "1"), ("0.0096", "0.0001", "1"), ("1", "0.00000001", "1"), ("0.1", "0.00000001", "1"), ("0.000000000000000000000000000001", "0.00000001", "1"),
    ("0", "0.5", "1"), ("3", "0.33333333", "1"), ("3", "0.33333334", "1"), ("100", "0.5", "1"), ("2", "0.5", "1"), ("2.00000001", "0.5", "1"), ("1.234567891", "0.1", "1"),
    ("123456789.123456789", "0.12345678", "99999999"), ("99999999999999999999", "99999999999999999999", "100000000000000000000"), ("0.3", "0.1", "0.03"), ("0.7", "0.1", "0.1"),
)  # fmt: skip
DECIMALS: Final = ("0", "1", "0.1", "10", "0.00000001", "12345678901234567890", "1.00000001", "999.99999904")
BAD_DECIMALS: Final = (
    "", " ", "-0", "-1", "+1", "00", "01", "1.", ".1", "1.0", "0.10", "1e3", "1E3", "NaN", "Infinity", "0x1", " 1", "1 ", "1\n", "\u0661", "1_0", "0.000000001", "123456789012345678901", "1,5",
)  # fmt: skip


def canonical() -> dict[str, Any]:
    """Return JSON texts with their canonical form, invalid JSON, and base64 in a spelling that is refused."""
    return {
        "good": [{"text": text, "canonical": _canonical(text)} for text in JSON_TEXTS],
        "bad": [text for text in BAD_JSON_TEXTS if _refused(_canonical, text)],
        "bad_base64": [text for text in BAD_BASE64 if _refused(b64decode, text)],
    }


def quantities() -> dict[str, Any]:
    """Return Kubernetes quantities with their numbers, and invalid ones."""
    return {
        "good": [{"text": text, "value": decimal_text(parse_quantity(text))} for text in QUANTITIES],
        "bad": [text for text in BAD_QUANTITIES if _refused(parse_quantity, text)],
    }


def money_and_prices() -> dict[str, Any]:
    """Return prices rounded up to 8 decimals, decimals in the valid spelling, and invalid spellings."""
    return {
        "prices": [
            {
                "units": units,
                "unit_price": unit_price,
                "max_cost": most,
                "price": _price(units, unit_price, most),
            }
            for units, unit_price, most in PRICES
        ],
        "good": [text for text in DECIMALS if money(parse_decimal(text, "It")) == text],
        "bad": [text for text in BAD_DECIMALS if _refused(parse_decimal, text, "It")],
    }


def _price(units: str, unit_price: str, most: str) -> str:
    return money(job_price(Decimal(units), Decimal(unit_price), Decimal(most)))


def _canonical(text: str) -> str:
    return canonical_json(parse_json(text)).decode()


def _refused(call: Any, *arguments: Any) -> bool:
    try:
        call(*arguments)
    except (FormatError, ValueError):
        return True
    raise AssertionError(f"{arguments[0]!r} is accepted, but should be refused")
