"""The form of a service for people: the words, the order and the groups of its input fields.

The registry's schema carries it as `x-aitbc-form`, so the dashboard and the command line say the same. A service without a form gets one
from its schema alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel

FORM_KEYWORD: Final = "x-aitbc-form"
"""The keyword of the form in the schema that the registry serves."""

MAX_FILE_KEYWORD: Final = "x-aitbc-max-file"
"""The keyword of the largest file that clients can upload, in bytes."""

Control = Literal["time", "lines", "text"]
"""A control other than that of the field's type: seconds that may be written as 1:30; a list with one entry a line; plain text."""


@dataclass(frozen=True, slots=True)
class FormField:
    """One field. `help` says what it does, in which unit, and what an empty field means."""

    label: str
    help: str
    empty: str = ""
    """What happens without a value, shown in the empty control."""
    unit: str = ""
    """Shown behind a number, such as "pixels"."""
    choices: Mapping[str, str] = field(default_factory=dict)
    """The names of the values to choose from, in their order; the only values that the form offers."""
    suggestions: tuple[str, ...] = ()
    """Common values of a field that also accepts others."""
    accept: str = ""
    """The kinds of files, as in HTML's attribute of this name."""
    control: Control | None = None
    instead: str = ""
    """Not shown: the form asks for this in another field, which also accepts the value."""
    hidden: bool = False
    """Not shown, because the default fits everybody who fills in a form."""


@dataclass(frozen=True, slots=True)
class ServiceForm:
    """A form: the fields that everybody needs, then the others by group, folded at first. Nested fields have dotted names."""

    first: Mapping[str, FormField]
    more: Mapping[str, Mapping[str, FormField]] = field(default_factory=dict)

    @property
    def fields(self) -> dict[str, FormField]:
        """All fields by name, in order."""
        return dict(self.first) | {
            name: form_field for group in self.more.values() for name, form_field in group.items()
        }

    def as_json(self) -> dict[str, Any]:
        """Return the form as the schema carries it: groups in order, the first without a title."""
        groups = [(None, self.first), *self.more.items()]
        return {
            "groups": [
                {
                    "title": title,
                    "fields": [
                        {"name": name, **_without_blanks(form_field)} for name, form_field in fields.items()
                    ],
                }
                for title, fields in groups
            ]
        }


def _without_blanks(form_field: FormField) -> dict[str, Any]:
    given = {key: value for key, value in asdict(form_field).items() if value}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}


def input_fields(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of an input's fields as a form shows them: those of nested objects, but none inside lists, and no constants."""
    for name, info in model.model_fields.items():
        path = f"{prefix}{name}"
        members = _members(info.annotation)
        if len(members) == 1 and isinstance(members[0], type) and issubclass(members[0], BaseModel):
            yield from input_fields(members[0], f"{path}.")
        elif not (len(members) == 1 and get_origin(members[0]) is Literal and len(get_args(members[0])) == 1):
            yield path


def _members(annotation: Any) -> list[Any]:
    """Return the types that a field accepts, without None."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        return [member for part in get_args(annotation) if part is not NoneType for member in _members(part)]
    return [annotation]
