"""The schemas of the Open Responses specification, and requests like those of its compliance suite."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.resources import files
from typing import Any, Final

from jsonschema_rs import Draft202012Validator

VERSION: Final = "2026-04-24"
DOCUMENT: Final = json.loads((files("openresponses") / "openapi" / f"{VERSION}.json").read_text())

WEATHER: Final = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string"}},
        "required": ["location"],
    },
}


def message(role: str, content: Any, **fields: Any) -> dict[str, Any]:
    """Return an item of the input."""
    return {"type": "message", "role": role, "content": content, **fields}


INPUTS: Final[dict[str, list[dict[str, Any]]]] = {
    "basic": [message("user", "Name the capital of France.")],
    "system prompt": [
        message("system", "You answer in one sentence."),
        message("user", "Name the capital of France."),
    ],
    "phases": [
        message("assistant", "I look for the number.", phase="commentary"),
        message("assistant", "The number is four.", phase="final_answer"),
        message("user", "Repeat the number."),
    ],
    "several turns": [
        message("user", "My name is Ann."),
        message("assistant", "Hello Ann."),
        message("user", "What is my name?"),
    ],
}
"""The suite's inputs for text, by what they test."""


def check(name: str, value: Any) -> None:
    """Check a value against a schema of the specification."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    Draft202012Validator(schema).validate(value)


def event_schemas() -> dict[str, str]:
    """Return the names of the events' schemas by the events' types."""
    return {
        schema["properties"]["type"]["enum"][0]: name
        for name, schema in DOCUMENT["components"]["schemas"].items()
        if name.endswith("StreamingEvent")
    }


def frames(lines: Iterable[str]) -> list[tuple[str, str]]:
    """Return the names and the data of server-sent events."""
    found, name = [], ""
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            found.append((name, value))
            name = ""
    return found


def checked(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Return the events of a stream that follows the specification."""
    *sent, last = frames(lines)
    assert last == ("", "[DONE]")
    events: list[dict[str, Any]] = [json.loads(data) for _, data in sent]
    schemas = event_schemas()
    for event in events:
        check(schemas[event["type"]], event)
    assert [name for name, _ in sent] == [event["type"] for event in events]
    assert [event["sequence_number"] for event in events] == [*range(len(events))]
    return events
