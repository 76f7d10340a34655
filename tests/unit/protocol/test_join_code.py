"""Join codes: what they carry, and what a mistyped, foreign or newer one says."""

from __future__ import annotations

import pytest

from agent.protocol.join_code import InvalidJoinCode, JoinCode, default_origin, parse_join_code
from aitbc.keys import format_vkey

KEY = bytes(range(32))
TOKEN = "enrol_AbCdEfGhIjKlMnOpQrStUvWxYz012-_9"  # noqa: S105 - made up
CODE = JoinCode("https://jobs.example.org/api", format_vkey("log.example.org", KEY), TOKEN, 1_796_000_000)


@pytest.mark.parametrize("origin", ["log.example.org", default_origin(KEY)])
@pytest.mark.parametrize("url", ["https://jobs.example.org/api", "http://127.0.0.1:8420", "http://[::1]:9"])
def test_a_code_carries_address_key_and_token(origin: str, url: str) -> None:
    code = JoinCode(url, format_vkey(origin, KEY), TOKEN, 1_796_000_000)
    assert parse_join_code(str(code)) == code


def test_a_code_is_short_and_survives_how_people_write_it() -> None:
    """In small letters, over several lines, and with the digits that look like its letters."""
    code = JoinCode("https://jobs.example.org", format_vkey(default_origin(KEY), KEY), TOKEN, 1_796_000_000)
    text = str(code)
    assert len(text) < 150
    assert text.isalnum()
    assert text == text.upper()
    body = text.removeprefix("AITBC1").replace("O", "0").replace("I", "1").replace("B", "8")
    written = f"  aitbc1 {body[:40].lower()}\n{body[40:90]}-{body[90:]}\n"
    assert parse_join_code(written) == code


def test_every_typing_mistake_of_one_character_is_refused() -> None:
    """Each character replaced, left out, or exchanged with the next."""
    text = str(CODE)
    refused = 0
    for index in range(6, len(text)):
        other = "A" if text[index] != "A" else "C"
        swapped = text[:index] + text[index + 1 : index + 2] + text[index] + text[index + 2 :]
        for mistyped in (text[:index] + other + text[index + 1 :], text[:index] + text[index + 1 :], swapped):
            # The bits after the last byte of a code carry nothing.
            if mistyped == text or (index == len(text) - 1 and len(mistyped) == len(text)):
                continue
            with pytest.raises(InvalidJoinCode, match="mistyped or incomplete"):
                parse_join_code(mistyped)
            refused += 1
    assert refused > 2 * (len(text) - 7)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "begins with AITBC1"),
        ("hello", "begins with AITBC1"),
        (TOKEN, "aitbc-agent start --coordinator URL --enroll TOKEN"),
        (str(CODE).replace("AITBC1", "AITBC2"), "Update it"),
        ("AITBC1", "mistyped or incomplete"),
        (str(CODE)[:60], "mistyped or incomplete"),
        (str(CODE) + "A" * 3000, "mistyped or incomplete"),
        (str(CODE)[:-1] + "9", "mistyped or incomplete"),
        (str(JoinCode("https://a b;c", CODE.log_key, TOKEN, 0)), "no coordinator writes"),
        (str(JoinCode("http://", CODE.log_key, TOKEN, 0)), "no coordinator writes"),
    ],
)
def test_what_is_no_code_says_what_to_do(text: str, words: str) -> None:
    with pytest.raises(InvalidJoinCode, match=words):
        parse_join_code(text)
