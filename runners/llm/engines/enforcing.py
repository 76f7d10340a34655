"""What the engine must enforce of an answer's form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runners.llm.call_syntax import CallSyntax
from runners.llm.grammar import ANY_ARGUMENTS, call_grammar, grammar, plain_calls, plain_schema
from runners.llm.request import InferenceRequest


def answer_grammar(request: InferenceRequest, syntax: CallSyntax) -> str | None:
    """Return llguidance's grammar of the answers to a request, None if all are possible."""
    form = None if request.forced_tools else request.schema_
    if tools := _calls(request):
        # A client that names a function expects one call of it.
        several = request.parallel_tool_calls and isinstance(request.tool_choice, str)
        return call_grammar(tools, syntax, several=several, form=form)
    return request.grammar if form is None else grammar(form)


def plain_answer_schema(request: InferenceRequest) -> dict[str, Any] | None:
    """Return the same as a schema for builds of llama.cpp without llguidance; None if they cannot enforce it."""
    form = None if request.forced_tools else request.schema_
    if tools := _calls(request):
        return plain_calls(tools, form)
    return None if form is None else plain_schema(form)


def _calls(request: InferenceRequest) -> dict[str, Mapping[str, Any]]:
    """Return the functions whose calls the grammar describes, with the schemas that the arguments must follow."""
    return {
        tool.name: tool.parameters if request.forced_tools else ANY_ARGUMENTS for tool in request.chosen_tools
    }
