"""Answers as typed objects that are also mappings: `job.job_id` and `job["job_id"]` are the same.

A coordinator constructs exactly what is declared. Clients also read the answers of older and newer coordinators (`Record.read`).
"""

from __future__ import annotations

import functools
import operator
import types
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, Union, get_args, get_origin

from pydantic import ConfigDict, Field, create_model

from aitbc.answers.fields import Answer

RecordT = TypeVar("RecordT", bound="Record")


class Record(Answer, Mapping[str, Any], defer_build=True):
    """An answer. As a mapping, it has exactly the fields that the coordinator sent: `dict(record)`, `**record`, `record.get()`.

    The attribute of a missing field is None, and its item raises `KeyError`. Fields that this version does not know are preserved and can
    be read both ways.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    needs: ClassVar[tuple[str, ...]] = ()
    """The fields without which clients refuse an answer; by default the first that is never null."""

    @classmethod
    def read(cls, values: Any) -> Self:
        """Return an answer of any version of the coordinator, from JSON values. Raises `MalformedAnswerError` if it is none of this kind."""
        form: type[Self] = tolerant(cls)
        return form.model_validate(values)

    def __getitem__(self, key: str) -> Any:
        # A field with a default was not sent, so as a mapping the answer does not have it.
        if key not in self.model_fields_set:
            raise KeyError(key)
        # Fields that this version does not know are stored apart by pydantic.
        values = self.__dict__ if key in type(self).model_fields else self.__pydantic_extra__ or {}
        # `json.dumps(dict(record))` knows no records, only JSON values.
        return _as_json_values(values[key])

    def __iter__(self) -> Iterator[str]:  # type: ignore[override] # a mapping iterates over its keys
        # In the order of the declaration, so that two answers of a kind print alike.
        declared = [name for name in type(self).model_fields if name in self.model_fields_set]
        return iter([*declared, *(self.__pydantic_extra__ or {})])

    def __len__(self) -> int:
        return len(self.model_fields_set)

    def __contains__(self, key: object) -> bool:
        return key in self.model_fields_set

    def __eq__(self, answer: object) -> bool:
        # What was read is of another class than what was constructed, and yet the same answer.
        if not isinstance(answer, Mapping):
            return NotImplemented
        return self.to_dict() == (answer.to_dict() if isinstance(answer, Record) else answer)

    def __hash__(self) -> int:
        return hash(self.json())

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        # What was not sent or does not apply says nothing, and hides the rest.
        for name in self:
            value = getattr(self, name)
            if value is not None:
                yield name, value

    def __reduce__(self) -> tuple[Any, ...]:
        # The class of what was read cannot be imported by its name, as pickle would do.
        return _declared(type(self)).read, (self.to_dict(),)

    def json(self, **options: Any) -> str:
        """Return the answer as JSON text."""
        return self.model_dump_json(exclude_unset=True, **options)

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as plain JSON values, including nested records."""
        return self.model_dump(mode="json", exclude_unset=True)


class AnswerPart(Record):
    """A part of an answer, such as a job's error: as an attribute it is this record, as an item plain JSON values.

    So `job.error.code` has a type, and `json.dumps(dict(job))` works.
    """


def _as_json_values(value: Any) -> Any:
    """Return a field's value with plain JSON values instead of parts. Other records, such as the jobs of a page, remain records."""
    if isinstance(value, AnswerPart):
        return value.to_dict()
    return [_as_json_values(item) for item in value] if isinstance(value, list) else value


@functools.cache
def tolerant(declared: type[RecordT]) -> type[RecordT]:
    """Return the form of a record in which clients read it, a subclass.

    Only the fields that it `needs` must be there, others may be new, and a word may be one that this version does not know.
    """
    never_null = [
        name
        for name, field in declared.model_fields.items()
        if field.is_required() and types.NoneType not in get_args(field.annotation)
    ]
    # Few, because each would make this client refuse a coordinator that once leaves it out.
    needs = declared.needs or never_null[:1]
    fields: dict[str, Any] = {}
    for name, field in declared.model_fields.items():
        annotation = _tolerant(field.annotation)
        if name in needs:
            fields[name] = (annotation, Field(alias=field.alias))
        else:
            default = None if field.is_required() else field.get_default(call_default_factory=True)
            fields[name] = (annotation | None, Field(default=default, alias=field.alias))
    # A subclass, so that `isinstance` and the methods of what was declared hold for what was read.
    return create_model(
        declared.__name__,
        __base__=declared,
        __module__=declared.__module__,
        __doc__=declared.__doc__,
        __cls_kwargs__={"extra": "allow"},
        **fields,
    )


def _tolerant(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return tolerant(annotation)
    # A newer coordinator may have states and codes that this version cannot list.
    if isinstance(annotation, type) and issubclass(annotation, str) and issubclass(annotation, Enum):
        return str
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return functools.reduce(operator.or_, {type(value) for value in arguments})
    # The limits of values are those of the coordinator that sent them, not of this version.
    if origin is Annotated:
        return _tolerant(arguments[0])
    if origin in (Union, types.UnionType):
        return functools.reduce(operator.or_, map(_tolerant, arguments))
    return origin[tuple(map(_tolerant, arguments))] if origin is not None else annotation


def _declared(kind: type[Record]) -> type[Record]:
    """Return the class that was declared, of one that `tolerant` has made."""
    parent = kind.__bases__[0]
    made_tolerant = issubclass(parent, Record) and tolerant(parent) is kind
    return parent if made_tolerant else kind
