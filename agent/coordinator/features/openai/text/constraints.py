"""The form of an answer as clients of other servers request it: llama.cpp's and vLLM's fields beside OpenAI's."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from agent.coordinator.features.client_apis.neutral import Only
from agent.coordinator.operations.jobs.requests import JobOptions
from runners.llm.grammar import check_grammar, choice_grammar, parse_schema, regex_grammar

MAX_CHOICES = 1000

Grammar = Annotated[str, Field(min_length=1), AfterValidator(check_grammar)]
Pattern = Annotated[str, AfterValidator(regex_grammar)]
Choices = Annotated[
    list[Annotated[str, Field(min_length=1)]],
    Field(min_length=1, max_length=MAX_CHOICES),
    AfterValidator(choice_grammar),
]
SchemaOrText = dict[str, Any] | str


class StructuredOutputs(BaseModel, defer_build=True):
    """vLLM's field: one of the forms. `grammar` is GBNF."""

    model_config = ConfigDict(extra="forbid", strict=True)

    json_: Annotated[SchemaOrText | None, Field(alias="json")] = None
    regex: Pattern | None = None
    choice: Choices | None = None
    grammar: Grammar | None = None
    json_object: bool | None = None
    disable_any_whitespace: bool | None = None
    disable_fallback: bool | None = None
    disable_additional_properties: bool | None = None
    whitespace_pattern: Annotated[Any, Only()] = None
    structural_tag: Annotated[Any, Only()] = None


class Constrained(JobOptions):
    """Extensions that restrict the answer's text: at most one of them, and none beside OpenAI's own fields for it.

    `grammar` and `json_schema` are llama.cpp's names, those with `guided_` vLLM's.
    """

    grammar: Grammar | None = None
    json_schema: dict[str, Any] | None = None
    guided_json: SchemaOrText | None = None
    guided_regex: Pattern | None = None
    guided_choice: Choices | None = None
    guided_grammar: Grammar | None = None
    structured_outputs: StructuredOutputs | None = None

    @field_validator("guided_json")
    @classmethod
    def _read_schema(cls, value: SchemaOrText | None) -> dict[str, Any] | None:
        schema: dict[str, Any] | None = parse_schema(value)
        return schema

    @model_validator(mode="after")
    def _at_most_one(self) -> Self:
        forms = [*filter(None, [self._usual_form()]), *self._forms()]
        if len(forms) > 1:
            raise ValueError(f"give only one of {', '.join(forms)}")
        return self

    def _usual_form(self) -> str | None:
        """Return the name of OpenAI's own field for the form, if the request has one."""
        return None

    def _forms(self) -> dict[str, tuple[str, Any]]:
        """Return the given forms by the client's names: the service's parameter, and its value."""
        outputs = self.structured_outputs or StructuredOutputs()
        forms = {
            "grammar": ("grammar", self.grammar),
            "json_schema": ("response_schema", self.json_schema),
            "guided_json": ("response_schema", self.guided_json),
            "guided_regex": ("grammar", self.guided_regex),
            "guided_choice": ("grammar", self.guided_choice),
            "guided_grammar": ("grammar", self.guided_grammar),
            "structured_outputs.json": ("response_schema", parse_schema(outputs.json_)),
            "structured_outputs.regex": ("grammar", outputs.regex),
            "structured_outputs.choice": ("grammar", outputs.choice),
            "structured_outputs.grammar": ("grammar", outputs.grammar),
            "structured_outputs.json_object": ("json_object", outputs.json_object or None),
        }
        return {name: form for name, form in forms.items() if form[1] is not None}

    def constraint(self) -> dict[str, Any]:
        """Return the service's parameters for the form of the answer."""
        return dict(self._forms().values())

    def constraint_names(self) -> dict[str, str]:
        """Return the client's names of these parameters."""
        return {parameter: name for name, (parameter, _) in self._forms().items()}
