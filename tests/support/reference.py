"""The reference's examples from docs/reference/contract.md, and the comparison of a response with an example."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "contract.md"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def example(heading: str) -> list[Any]:
    """Return the JSON values of the block whose comment names this call: the request, then the responses."""
    text = REFERENCE.read_text(encoding="utf-8")
    for block in re.findall(r"```jsonc\n(.*?)```", text, flags=re.DOTALL):
        for part in re.split(r"^(?=// [A-Z]+ /)", block, flags=re.MULTILINE):
            if part.startswith(f"// {heading}"):
                return _values("\n".join(line for line in part.splitlines() if not line.startswith("//")))
    raise AssertionError(f"docs/reference/contract.md has no example of {heading}")


def _values(text: str) -> list[Any]:
    decoder = json.JSONDecoder()
    values = []
    while text := text.strip():
        value, end = decoder.raw_decode(text)
        values.append(value)
        text = text[end:]
    return values


def assert_like(answer: Any, shown: Any, where: str = "answer") -> None:
    """Check that every field of the example exists and has the same kind: times as times, ids with their prefix."""
    if isinstance(shown, dict):
        assert isinstance(answer, dict), f"{where} is not an object: {answer!r}"
        for name, value in shown.items():
            assert name in answer, f"{where}.{name} is missing in {answer}"
            assert_like(answer[name], value, f"{where}.{name}")
    elif isinstance(shown, list):
        assert isinstance(answer, list), f"{where} is not a list"
        assert answer or not shown, f"{where} is empty"
        for item in answer:
            assert_like(item, shown[0], f"{where}[]")
    elif isinstance(shown, str):
        assert isinstance(answer, str), f"{where} is not a string: {answer!r}"
        if TIME.fullmatch(shown):
            assert TIME.fullmatch(answer), f"{where} is not a time: {answer}"
        elif prefix := re.match(r"(job|miner|receipt|offer|tx)_", shown):
            assert answer.startswith(prefix[0]), f"{where} is {answer}"
    else:
        numbers = (int, float)
        same = isinstance(answer, numbers) and isinstance(shown, numbers) and not isinstance(shown, bool)
        assert same or type(answer) is type(shown), f"{where} is {answer!r}, shown is {shown!r}"


def service_body(route: str) -> dict[str, Any]:
    """Return the reference's body for a service call."""
    found = re.search(rf"`POST /v1/services/{route}` \| `(.*?)` \|", REFERENCE.read_text(encoding="utf-8"))
    assert found is not None, f"docs/reference/contract.md shows no body for {route}"
    body: dict[str, Any] = json.loads(found[1])
    return body


def error_codes() -> dict[str, int]:
    """Return the error codes of the reference's table with their HTTP status."""
    text = REFERENCE.read_text(encoding="utf-8")
    table = text.partition("## Error codes")[2].partition("##")[0]
    return {code: int(status) for code, status in re.findall(r"\| `([A-Z_]+)` \|.*\| (\d{3}) \|", table)}


def stream_message() -> dict[str, Any]:
    """Return the reference's WebSocket message."""
    section = REFERENCE.read_text(encoding="utf-8").partition("## WebSocket")[2]
    block = re.search(r"```jsonc\n(.*?)```", section, flags=re.DOTALL)
    assert block is not None, "docs/reference/contract.md shows no message of the WebSocket"
    message: dict[str, Any] = json.loads(block[1])
    return message
