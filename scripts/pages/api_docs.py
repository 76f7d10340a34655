"""Generates docs/reference/api.md from the OpenAPI document."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

from agent.coordinator.features.reference.routes.document import ALWAYS, document
from agent.coordinator.installed import ROUTERS
from agent.coordinator.routes._declare import AUDIENCE, ERROR_CODES, EVENT_STREAM
from agent.core.errors import answerable
from generated import NOTE, REFERENCE, linked, publish

Json = dict[str, Any]

METHODS: Final = ("get", "head", "post", "put", "patch", "delete", "options")
JSON: Final = "application/json"
ANY_BYTES: Final = "application/octet-stream"
DEPTH: Final = 4
"""How many levels of nested objects share one table."""


def main() -> int:
    """Return the exit status."""
    return publish({REFERENCE / "api.md": linked(render(document(ROUTERS)))})


def render(api: Json) -> str:
    """Return the page."""
    return "\n".join(_Page(api).lines()).rstrip() + "\n"


class _Page:
    """The page of one OpenAPI document."""

    def __init__(self, api: Json) -> None:
        self._api = api
        self._schemas: Json = api["components"]["schemas"]
        self._always = {kind.code for kind in ALWAYS}

    def lines(self) -> Iterator[str]:
        """Generate its lines."""
        yield "# Public API"
        yield ""
        yield NOTE
        yield ""
        yield self._api["info"]["summary"]
        yield ""
        yield self._api["info"]["description"]
        yield from self._overview()
        for tag in self._api["tags"]:
            yield from self._group(tag)
        yield from self._models()
        yield from self._errors()

    def _calls(self, tag: str | None = None) -> Iterator[tuple[str, str, Json]]:
        for path, item in self._api["paths"].items():
            for method in METHODS:
                if method in item and (tag is None or tag in item[method]["tags"]):
                    yield method.upper(), path, item[method]

    def _overview(self) -> Iterator[str]:
        yield "## All calls"
        yield ""
        yield "| call | meaning | callers |"
        yield "|---|---|---|"
        for tag in self._api["tags"]:
            for method, path, operation in self._calls(tag["name"]):
                title = _title(method, path, operation)
                yield f"| [`{method} {path}`](#{_anchor(title)}) | {operation['summary']} | {operation[AUDIENCE]} |"
        yield ""

    def _group(self, tag: Json) -> Iterator[str]:
        yield f"## {tag['name']}"
        yield ""
        yield tag["description"]
        yield ""
        for method, path, operation in self._calls(tag["name"]):
            yield f"### {_title(method, path, operation)}"
            yield ""
            yield operation["description"]
            yield ""
            yield f"Callers: {operation[AUDIENCE]}."
            yield ""
            yield from self._parameters(operation)
            yield from self._body(operation)
            yield from self._answers(operation)

    def _parameters(self, operation: Json) -> Iterator[str]:
        parameters = operation.get("parameters")
        if not parameters:
            return
        yield "| parameter | in | type | default | meaning |"
        yield "|---|---|---|---|---|"
        for parameter in parameters:
            schema = parameter["schema"]
            meaning = parameter.get("description") or schema.get("description", "")
            needed = parameter.get("required") and parameter["in"] != "path"
            default = "required" if needed else _default(schema)
            cells = (f"`{parameter['name']}`", parameter["in"], self._type(schema), default, meaning)
            yield _row(*cells)
        yield ""

    def _body(self, operation: Json) -> Iterator[str]:
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            schema = self._resolve(_options(content["schema"])[0])
            if schema.get("type") != "object":
                other = ", or any other media type" if media_type == ANY_BYTES else ""
                yield f"Body: the file (`{media_type}`{other})."
                yield ""
                continue
            kind = "Body." if media_type == JSON else f"Body (`{media_type}`)."
            yield f"{kind} {_sentences(schema.get('description', ''))}".rstrip()
            yield ""
            yield from self._fields(schema)
            yield from _example(content)

    def _answers(self, operation: Json) -> Iterator[str]:
        codes: list[str] = []
        known = answerable()
        for status, answer in operation["responses"].items():
            if status.startswith(("2", "3")):
                yield from self._success(status, answer)
            else:
                codes += self._shared(answer)[ERROR_CODES]
        listed = sorted((known[code].status, code) for code in codes if code not in self._always)
        if listed:
            shown = ", ".join(f"{status} `{code}`" for status, code in listed)
            yield f"[Errors](#error-codes): {shown}."
            yield ""

    def _success(self, status: str, answer: Json) -> Iterator[str]:
        contents = list(answer.get("content", {}).items())
        phrase = f"{status} {HTTPStatus(int(status)).phrase}"
        if not contents:
            yield f"**{phrase}**" + ("" if answer["description"] in phrase else f": {answer['description']}")
            yield ""
        for media_type, content in contents:
            names = [
                option["$ref"].rpartition("/")[2]
                for option in _options(content["schema"])
                if "$ref" in option
            ]
            links = " or ".join(f"[{name}](#{_anchor(_object(name))})" for name in names)
            shown = f" {links}" if links else f": {answer['description']}"
            kind = "" if media_type == JSON else f" (`{media_type}`)"
            yield f"**{phrase}**{shown}{kind}"
            yield ""
            yield from _example(content, "" if media_type == EVENT_STREAM else "json")
        headers = {name: header for name, header in answer.get("headers", {}).items() if "$ref" not in header}
        if headers:
            yield (
                "Headers: " + ", ".join(_named_header(name, header) for name, header in headers.items()) + "."
            )
            yield ""

    def _shared(self, answer: Json) -> Json:
        reference = answer.get("$ref")
        if reference is None:
            return answer
        shared: Json = self._api["components"]["responses"][reference.rpartition("/")[2]]
        return shared

    def _models(self) -> Iterator[str]:
        yield "## Objects in answers"
        yield ""
        for name in sorted(self._answered()):
            schema = self._schemas[name]
            yield f"### {_object(name)}"
            yield ""
            yield _sentences(schema.get("description", ""))
            yield ""
            yield from self._fields(schema, depth=1)

    def _answered(self) -> set[str]:
        """Return the names of the models in answers, nested ones included."""
        contents = [
            content["schema"]
            for _, _, operation in self._calls()
            for status, answer in operation["responses"].items()
            if status.startswith("2")
            for content in answer.get("content", {}).values()
        ]
        found: set[str] = set()
        waiting = _references(contents)
        while waiting:
            name = waiting.pop()
            schema = self._schemas[name]
            if name not in found and schema.get("type") == "object":
                found.add(name)
                waiting |= _references(schema)
        return found

    def _errors(self) -> Iterator[str]:
        yield "## Error codes"
        yield ""
        yield "| code | HTTP | meaning |"
        yield "|---|---|---|"
        for code, kind in answerable().items():
            yield _row(f"`{code}`", str(kind.status), kind.__doc__ or "")

    def _fields(self, schema: Json, depth: int = DEPTH) -> Iterator[str]:
        rows = list(self._rows(schema, "", depth))
        if not rows:
            return
        yield "| field | type | present | meaning |" if depth == 1 else "| field | type | default | meaning |"
        yield "|---|---|---|---|"
        yield from rows
        yield ""

    def _rows(self, schema: Json, prefix: str, depth: int) -> Iterator[str]:
        required = schema.get("required", ())
        for name, field in schema.get("properties", {}).items():
            if depth == 1:
                default = "always" if name in required else ""
            else:
                default = "required" if name in required else _default(field)
            yield _row(
                f"`{prefix}{name}`",
                self._type(field, linked=depth == 1),
                default,
                field.get("description", ""),
            )
            inner, mark = self._inside(field)
            if depth > 1 and inner is not None:
                yield from self._rows(inner, f"{prefix}{name}{mark}.", depth - 1)

    def _inside(self, field: Json) -> tuple[Json | None, str]:
        """Return the object whose fields follow a field's in the table, and the mark that the path to them needs."""
        for option in (field, *field.get("anyOf", ())):
            schema = self._resolve(option)
            if schema.get("properties"):
                return schema, ""
            if schema.get("type") == "array":
                inner, mark = self._inside(schema["items"])
                return inner, f"[]{mark}"
        return None, ""

    def _resolve(self, schema: Json) -> Json:
        reference = schema.get("$ref")
        if reference is None:
            return schema
        resolved: Json = self._schemas[reference.rpartition("/")[2]]
        return resolved

    def _type(self, schema: Json, *, linked: bool = False) -> str:
        if linked and "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            if self._resolve(schema).get("type") == "object":
                return f"[{name}](#{_anchor(_object(name))})"
        schema = {
            **self._resolve(schema),
            **{name: value for name, value in schema.items() if name != "$ref"},
        }
        options = schema.get("anyOf") or schema.get("oneOf")
        if options:
            return " or ".join(dict.fromkeys(self._type(option, linked=linked) for option in options))
        if "const" in schema:
            return f"`{json.dumps(schema['const'])}`"
        if "enum" in schema:
            return ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
        kind = str(schema.get("type", "any JSON"))
        if kind == "array":
            return f"list of {self._type(schema['items'], linked=linked)}" + _bounds(schema, "Items")
        return _named(kind, schema) + _bounds(schema, "Length") + _range(schema)


def _title(method: str, path: str, operation: Json) -> str:
    return f"{operation['summary']}: `{method} {path}`"


def _options(schema: Json) -> list[Json]:
    options: list[Json] = schema.get("anyOf") or [schema]
    return options


def _object(name: str) -> str:
    return f"Object {name}"


def _anchor(title: str) -> str:
    """Return the anchor that GitHub and the site generate for a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _named(kind: str, schema: Json) -> str:
    return {"date-time": "time", "binary": "file"}.get(schema.get("format", ""), kind)


def _named_header(name: str, header: Json) -> str:
    return f"`{name}` ({header['description']})" if "description" in header else f"`{name}`"


def _bounds(schema: Json, what: str) -> str:
    least, most = schema.get(f"min{what}"), schema.get(f"max{what}")
    unit = " characters" if what == "Length" else ""
    if least is None and most is None:
        return ""
    if most is None:
        return f", at least {least}{unit}"
    return f", at most {most}{unit}" if not least else f", {least} to {most}{unit}"


def _range(schema: Json) -> str:
    least, above, most = (_number(schema.get(word)) for word in ("minimum", "exclusiveMinimum", "maximum"))
    if above is not None:
        return f", above {above}" + ("" if most is None else f", at most {most}")
    if least is None:
        return "" if most is None else f", at most {most}"
    return f", {least} or more" if most is None else f", {least} to {most}"


def _number(value: float | None) -> str | None:
    return None if value is None else str(int(value) if value == int(value) else value)


def _default(schema: Json) -> str:
    if "default" not in schema or schema["default"] in ({}, []):
        return ""
    return f"`{json.dumps(schema['default'])}`"


def _row(*cells: str) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def _sentences(text: str) -> str:
    """Return a docstring as paragraphs of one line each."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _example(content: Json, language: str = "json") -> Iterator[str]:
    if "example" not in content:
        return
    example = content["example"]
    yield f"```{language}"
    yield example.rstrip() if isinstance(example, str) else json.dumps(example, indent=2, ensure_ascii=False)
    yield "```"
    yield ""


def _references(value: Any) -> set[str]:
    return set(re.findall(r'"\$ref": "#/components/schemas/(.*?)"', json.dumps(value)))


if __name__ == "__main__":
    sys.exit(main())
