"""Reads a form (multipart/form-data) as it arrives: the file is stored piece by piece, the fields are small."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from agent.coordinator.features.client_apis.submission import ClientCall
from agent.coordinator.operations.files import artifacts
from agent.core.errors import PayloadTooLarge, ValidationFailed, invalid_request
from agent.core.values.media_types import clean_media_type
from aitbc.answers.files import Artifact
from runners.validation_errors import field_errors

FILE: Final = "file"
MAX_PARTS: Final = 64
MAX_FIELDS: Final = 64 * 1024
"""Bytes of all fields together, without the file."""

_NAME: Final = re.compile(r"(\w+)\[(\w*)\]", re.ASCII)

_Headers = dict[bytes, bytes]
_Event = _Headers | bytes | None
"""An element of a form: the headers of a part, a piece of its content, or None at its end."""


FormT = TypeVar("FormT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class FormFile:
    """A file of a form, stored as an artifact of the caller. `name` is the client's name of it."""

    artifact: Artifact
    name: str


async def read_form(
    call: ClientCall, model: type[FormT], missing: str, names: Sequence[str] = (FILE,)
) -> tuple[FormT, dict[str, FormFile]]:
    """Return the fields of the request's form, and its files by the names of their fields, which are some of `names`.

    `missing` is the error if there is no file in the first of them. Raises `ValidationFailed` for the form or its fields,
    `PayloadTooLarge` for fields that are too long or too many, and what storing an artifact raises.
    """
    # The fields may follow the files, so the files are stored before they can be checked.
    fields, stored = await _read(call, names)
    try:
        form = model.model_validate(fields)
    except ValidationError as error:
        raise invalid_request(field_errors(error, model=model)) from None
    if names[0] not in stored:
        raise invalid_request({names[0]: missing})
    return form, stored


async def _read(call: ClientCall, names: Sequence[str]) -> tuple[dict[str, Any], dict[str, FormFile]]:
    """Return the fields and files of a form.

    A file's field may be named like a list. `a[]` is an element of the list `a`, and `a[b]` the value `b` of the object `a`.
    """
    fields: dict[str, Any] = {}
    stored: dict[str, FormFile] = {}
    parts = size = 0
    events = _events(call.body, _boundary(call.content_type))
    async for headers in events:
        if not isinstance(headers, dict):
            continue  # content that was not stored
        parts += 1
        # Each part costs memory, however small it is.
        if parts > MAX_PARTS:
            raise PayloadTooLarge(f"A form may have at most {MAX_PARTS} fields.", {"limit": MAX_PARTS})
        name, file_name = _disposition(headers)
        if file_name is None:
            value = bytearray()
            async for piece in _content(events):
                value += piece
                # Checked with each piece: a field without end must not fill the memory before it is refused.
                if size + len(value) > MAX_FIELDS:
                    raise PayloadTooLarge(
                        f"The fields of a form may have at most {MAX_FIELDS} bytes.", {"limit": MAX_FIELDS}
                    )
            size += len(value)
            _add(fields, name, _text(name, value))
        elif (of_file := name.removesuffix("[]")) in names and of_file not in stored:
            media_type = clean_media_type(_latin(headers.get(b"content-type", b"")))
            # The file is stored while it arrives, since it may be larger than the memory.
            artifact = await artifacts.save(
                call.context, call.caller, media_type, _content(events), file_name=file_name
            )
            stored[of_file] = FormFile(artifact, file_name)
        else:
            raise ValidationFailed("The form is not valid.", {of_file: _one_file(names)})
    return fields, stored


def _one_file(names: Sequence[str]) -> str:
    return f"send one file, in the field {names[0]}" + "".join(f", and one in {name}" for name in names[1:])


def form_body(model: type[BaseModel], files: Sequence[str] = (FILE,), *optional: str) -> dict[str, Any]:
    """Return the declaration of a form with files and the fields of `model`, for a route's `openapi_extra`."""
    content = {"multipart/form-data": {"schema": _form_schema(model, files, optional)}}
    return {"requestBody": {"required": True, "content": content}}


def _form_schema(model: type[BaseModel], files: Sequence[str], optional: Sequence[str]) -> dict[str, Any]:
    schema = model.model_json_schema()
    properties: dict[str, Any] = {
        name: {"type": "string", "format": "binary"} for name in [*files, *optional]
    }
    for name, field in schema["properties"].items():
        # An object becomes one field for each of its values, as forms know no objects.
        if "$ref" in field:
            parts = schema["$defs"][field["$ref"].rpartition("/")[2]]["properties"]
            properties |= {f"{name}[{part}]": _in_a_form(inner) for part, inner in parts.items()}
        elif field.get("enum") != [None]:  # such a field exists only to be refused by name
            plain = _in_a_form(field)
            if "$ref" in plain.get("items", {}):
                continue  # a form has no way to write a list of objects
            properties[f"{name}[]" if plain.get("type") == "array" else name] = plain
    required = [*files, *schema.get("required", ())]
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def _in_a_form(field: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a field without null, which a form cannot express."""
    plain = {name: value for name, value in field.items() if name not in {"anyOf", "enum", "default"}}
    for option in field.get("anyOf", ()):
        if option != {"type": "null"}:
            plain |= option
    if "enum" in field:
        plain["enum"] = [value for value in field["enum"] if value is not None]
    return plain


def _boundary(content_type: str | None) -> bytes:
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise invalid_request({"body": "send a form (multipart/form-data) with a file"})
    return options[b"boundary"]


async def _events(chunks: AsyncIterable[bytes], boundary: bytes) -> AsyncIterator[_Event]:
    collected = _Collected()
    try:
        parser = MultipartParser(boundary, collected.callbacks())
        async for chunk in chunks:
            parser.write(chunk)
            for event in collected.events:
                yield event
            collected.events.clear()
    except FormParserError as error:
        raise ValidationFailed("The form is not valid.", {"body": f"cannot be parsed: {error}"}) from None
    # A connection that broke off looks like the end of the form, and the file would be incomplete.
    if not collected.complete:
        raise ValidationFailed("The form is not valid.", {"body": "the form ends before its last boundary"})


async def _content(events: AsyncIterator[_Event]) -> AsyncIterator[bytes]:
    """Yield the rest of the current part."""
    async for event in events:
        if not isinstance(event, bytes):
            return
        yield event


class _Collected:
    """The elements that the parser has found since they were last read."""

    def __init__(self) -> None:
        self.events: list[_Event] = []
        self.complete = False
        self._headers: _Headers = {}
        self._name = self._value = b""

    def callbacks(self) -> Any:
        """Return the callbacks by the parser's names for them."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": lambda: self.events.append(self._headers),
            "on_part_data": lambda data, start, end: self.events.append(data[start:end]),
            "on_part_end": lambda: self.events.append(None),
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._headers = {}

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        # The parser may split a header where a piece of the body ends.
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _end(self) -> None:
        self.complete = True


def _disposition(headers: _Headers) -> tuple[str, str | None]:
    """Return the field's name, and the file's; None for a field without a file."""
    _, options = parse_options_header(headers.get(b"content-disposition", b""))
    name = _latin(options.get(b"name", b""))
    if not name:
        raise ValidationFailed("The form is not valid.", {"body": "a field of the form has no name"})
    file_name = options.get(b"filename")
    return name, None if file_name is None else file_name.decode(errors="replace")


def _add(fields: dict[str, Any], name: str, value: str) -> None:
    match = _NAME.fullmatch(name)
    if match is None:
        if name in fields:
            raise ValidationFailed("The form is not valid.", {name: "the field is given twice"})
        fields[name] = value
        return
    outer, inner = match.groups()
    inner_values = fields.setdefault(outer, {} if inner else [])
    # The same name may be used as a list or as an object, not as both.
    if isinstance(inner_values, list) and not inner:
        inner_values.append(value)
    elif isinstance(inner_values, dict) and inner and inner not in inner_values:
        inner_values[inner] = value
    else:
        raise ValidationFailed("The form is not valid.", {outer: "the field is given twice"})


def _text(name: str, value: bytearray) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ValidationFailed("The form is not valid.", {name: "the field is not UTF-8"}) from None


def _latin(value: bytes) -> str:
    # Every byte is valid in Latin-1, as in HTTP's headers, so this cannot fail.
    return value.decode("latin-1")
