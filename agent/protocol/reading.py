"""Reads messages of the other side, which may be a newer program: fields beyond the declared ones are ignored."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from aitbc.answers.fields import MalformedAnswerError

_Model = TypeVar("_Model", bound=BaseModel)


class MalformedMessage(Exception):
    """The message is not as declared. Names the fields at fault, and none of their values."""


def read(model: type[_Model], values: Any) -> _Model:
    """Validate `values`, ignoring unknown fields. Raises `MalformedMessage`."""
    try:
        return model.model_validate(values, extra="ignore")
    except ValidationError as error:
        raise MalformedMessage(_describe(model, error)) from None
    except MalformedAnswerError as error:
        raise MalformedMessage(_describe(model, error.__context__)) from None


def read_each(model: type[_Model], values: Any) -> list[_Model]:
    """Validate each item of a list, leaving out those that only a newer program understands."""
    items: Iterable[Any] = values if isinstance(values, list) else ()
    messages = []
    for item in items:
        with suppress(MalformedMessage):
            messages.append(read(model, item))
    return messages


def _describe(model: type[BaseModel], error: BaseException | None) -> str:
    if not isinstance(error, ValidationError):
        return model.__name__
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    fields = sorted({".".join(str(part) for part in item["loc"]) or "the whole" for item in errors})
    return f"{model.__name__}: {', '.join(fields)}"
