"""The forms of the services: every field has its own words."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from runners.api import ServiceForm
from runners.forms import input_fields
from runners.registry import installed
from runners.whisper.form import LANGUAGE_NAMES
from runners.whisper.request import LANGUAGES

LONGEST_HELP = 140
SERVICES = sorted(installed())


def form_of(service_id: str) -> ServiceForm:
    form = installed()[service_id].definition.form
    assert form is not None, f"{service_id} has no form"
    return form


@pytest.mark.parametrize("service_id", SERVICES)
def test_every_field_of_a_service_has_its_own_words(service_id: str) -> None:
    """Labels and helps are written by hand, for exactly the fields of the input, and none repeats another's."""
    fields = form_of(service_id).fields
    assert sorted(fields) == sorted(input_fields(installed()[service_id].definition.input_model))
    for words in ([field.label for field in fields.values()], [field.help for field in fields.values()]):
        assert [text for text, number in Counter(words).items() if number > 1 or not text] == []
    too_long = {name: field.help for name, field in fields.items() if len(field.help) > LONGEST_HELP}
    assert too_long == {}
    # Backticks quote the schema's names, which people do not know.
    assert [name for name, field in fields.items() if "`" in f"{field.label}{field.help}{field.empty}"] == []


@pytest.mark.parametrize("service_id", SERVICES)
def test_few_fields_stand_first(service_id: str) -> None:
    form = form_of(service_id)
    assert 2 <= len(form.first) <= 5
    definition = installed()[service_id].definition
    required = [name for name, info in definition.input_model.model_fields.items() if info.is_required()]
    assert {name.partition(".")[0] for name in form.first} >= set(required)


@pytest.mark.parametrize("service_id", SERVICES)
def test_every_choice_has_a_name(service_id: str) -> None:
    """A value that the schema accepts and the form does not name could be chosen by nobody."""
    schema = installed()[service_id].definition.input_model.model_json_schema()
    fields = form_of(service_id).fields
    for name, property_schema in schema["properties"].items():
        values = _values(property_schema)
        if values:
            assert set(fields[name].choices) == {str(value) for value in values}, name


def _values(property_schema: dict[str, Any]) -> list[Any]:
    kinds = [property_schema, *property_schema.get("anyOf", ()), property_schema.get("items", {})]
    return next((list(kind["enum"]) for kind in kinds if "enum" in kind), [])


def test_the_languages_of_the_form_are_whispers() -> None:
    assert set(LANGUAGE_NAMES) == LANGUAGES
