"""Writes sdk/js/src/answers.ts, the SDK's types of answers, from the OpenAPI document of the code.

The build of the JavaScript packages runs it (`npm run types`); git ignores the file.

Fields get JavaScript's names, as the SDK converts them. A field that may be null and is not required is left out of an
answer rather than sent as null, so its type has no null.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Final

from agent.coordinator.features.reference.routes.document import document
from agent.coordinator.installed import ROUTERS

Json = dict[str, Any]

ROOT: Final = Path(__file__).parents[2]
TARGET: Final = ROOT / "sdk" / "js" / "src" / "answers.ts"
GENERATOR: Final = ROOT / "scripts" / "pages" / "types" / "generate.mjs"
NOT_IN_THE_SDK: Final = frozenset(
    {"Anthropic-compatible", "Log", "Miner protocol", "Ollama-compatible", "OpenAI-compatible", "Uploads"}
)
"""Groups of calls that the SDK does not offer as typed calls."""
HEADER: Final = """\
// Generated from the OpenAPI document by `npm run types`; do not edit.

import type { Json, JsonObject } from "./verification/shape.js";

"""
TIMEOUT_SECONDS: Final = 600
NULL: Final = {"type": "null"}
UNUSED: Final = ("example", "examples", "pattern", "format", "minimum", "maximum", "title")
"""Keywords that do not affect a type."""


def main() -> None:
    """Write the file."""
    TARGET.write_text(HEADER + _types(_schemas(document(ROUTERS))), encoding="utf-8")


def _schemas(api: Json) -> Json:
    """Return the schemas of the answers to the SDK's calls, sorted by name."""
    schemas: Json = api["components"]["schemas"]
    waiting = {name for item in api["paths"].values() for name in _answers(item)}
    found: Json = {}
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = schemas[name]
            waiting |= _references(schemas[name])
    return dict(sorted(found.items()))


def _answers(item: Json) -> set[str]:
    """Return the names of the schemas in the successful JSON answers of a path."""
    contents = [
        answer.get("content", {}).get("application/json")
        for operation in item.values()
        if isinstance(operation, dict) and not NOT_IN_THE_SDK.intersection(operation["tags"])
        for status, answer in operation["responses"].items()
        if status.startswith("2")
    ]
    return _references([content["schema"] for content in contents if content])


def _references(value: Any) -> set[str]:
    return set(re.findall(r'"\$ref": "#/components/schemas/(.*?)"', json.dumps(value)))


def _typed(schema: Json) -> Json:
    """Return a schema without the keywords that do not affect its type, and with JavaScript's names of its properties."""
    required = schema.get("required", [])
    typed = {name: _value(value) for name, value in schema.items() if name not in UNUSED}
    if "properties" in schema:
        typed["properties"] = {
            _camel(name): _typed(field if name in required else _without_null(field))
            for name, field in schema["properties"].items()
        }
        typed["required"] = [_camel(name) for name in required]
    return typed


def _value(value: Any) -> Any:
    if isinstance(value, dict):
        return _typed(value)
    return [_value(item) for item in value] if isinstance(value, list) else value


def _without_null(field: Json) -> Json:
    options = [option for option in field.get("anyOf", ()) if option != NULL]
    if len(options) != 1:
        return {**field, "anyOf": options} if options else field
    return {**options[0], **_without(field, "anyOf", "default")}


def _without(schema: Json, *keywords: str) -> Json:
    return {name: value for name, value in schema.items() if name not in keywords}


def _camel(name: str) -> str:
    return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), name)


def _types(schemas: Json) -> str:
    """Return TypeScript's types of the schemas: an interface of all of them, and a documented alias for each."""
    api = {
        "openapi": "3.1.0",
        "info": {"title": "Answers", "version": "1"},
        "paths": {},
        "components": {
            "schemas": {name: _typed(_without(schema, "description")) for name, schema in schemas.items()}
        },
    }
    interface = subprocess.run(
        ["node", str(GENERATOR)],
        input=json.dumps(api),
        capture_output=True,
        text=True,
        check=True,
        timeout=TIMEOUT_SECONDS,
    ).stdout
    aliases = [
        f'\n{_comment(schema.get("description", ""))}export type {name} = components["schemas"]["{name}"];\n'
        for name, schema in schemas.items()
    ]
    fields = {field for schema in schemas.values() for field in schema.get("properties", ())}
    return re.sub(
        r"`(\w+)`",
        lambda match: f"`{_camel(match[1])}`" if match[1] in fields else match[0],
        interface + "".join(aliases),
    )


def _comment(description: str) -> str:
    if "\n" not in description:
        return f"/** {description} */\n" if description else ""
    return "/**\n" + "".join(f" * {line}".rstrip() + "\n" for line in description.splitlines()) + " */\n"


if __name__ == "__main__":
    main()
