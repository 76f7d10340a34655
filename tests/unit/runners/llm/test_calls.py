"""Calls that follow a grammar: how models write them, and what is read from an answer while it is generated."""

from __future__ import annotations

import json

import pytest
from jinja2 import Environment
from llguidance import LLMatcher

from runners.api import Fail
from runners.llm.call_syntax import PLAIN, CallSyntax, read_syntax
from runners.llm.engines.base import Piece
from runners.llm.engines.calls import read_calls
from runners.llm.engines.enforcing import answer_grammar
from runners.llm.files import TEMPLATES
from runners.llm.request import InferenceRequest

TOOLS = [{"name": "get_weather"}, {"name": "get_weather_2"}]
FORM = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
TAGGED = CallSyntax('<tool_call>\n{"name": "', '", "arguments": ', "}\n</tool_call>", "\n")

TAGS = """
{%- for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}{% for c in m.tool_calls %}
<tool_call>
{"name": "{{ c.function.name }}", "arguments": CALLED}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}<|im_start|>assistant
"""
ONE = """
{%- for m in messages %}<|start|>{{ 'ipython' if m.role == 'tool' else m.role }}<|header|>

{% if m.tool_calls %}{% if m.tool_calls | length > 1 %}{{ fail() }}{% endif -%}
{"name": "{{ m.tool_calls[0].function.name }}", "parameters": {{ m.tool_calls[0].function.arguments | tojson }}}
{%- else %}{{ m.content }}{% endif %}<|eot|>{% endfor %}<|start|>assistant<|header|>

"""


def syntax_of(template, is_words=lambda _: True):
    def render(messages, tools):
        for message in messages:
            for call in message.get("tool_calls", ()):
                call["function"]["arguments"] = json.loads(call["function"]["arguments"])
        try:
            return Environment().from_string(template).render(messages=messages, tools=tools)  # noqa: S701 - no HTML
        except Exception as error:
            raise ValueError from error

    return read_syntax(render, is_words)


def request(**fields):
    return InferenceRequest(model="m", prompt="a", **{"tools": TOOLS, "tool_choice": "required", **fields})


def read(text, syntax=PLAIN, reason="stop", size=1, **fields):
    """Return the text, the calls and the reason that are read from an answer in parts of `size` characters."""
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    pieces = [Piece(part, 1, 1) for part in parts] + [Piece("", 1, 1, reason)]
    text, calls = "", {}
    for piece in read_calls(iter(pieces), request(**fields), syntax):
        text += piece.text
        for part in piece.tool_calls:
            call = calls.setdefault(part["index"], {"name": "", "arguments": ""})
            for name, value in part["function"].items():
                call[name] += value
    return text, [(call["name"], call["arguments"]) for call in calls.values()], piece.finish_reason


def test_the_way_in_which_a_model_writes_calls_is_read_from_its_template():
    tags = TAGS.replace("CALLED", "{{ c.function.arguments | tojson }}")
    assert syntax_of(tags) == TAGGED
    demo = (TEMPLATES / "smollm2.jinja").read_text()
    assert syntax_of(demo) == TAGGED
    assert syntax_of(ONE) == CallSyntax('{"name": "', '", "parameters": ', "}", None)


def test_calls_that_are_no_json_and_control_tokens_are_written_plainly():
    tags = TAGS.replace("CALLED", "{{ c.function.arguments | tojson }}")
    assert syntax_of(tags, lambda text: "<tool_call>" not in text) == PLAIN
    assert syntax_of(TAGS.replace("CALLED", "<city={{ c.function.arguments.zzname }}>")) == PLAIN
    assert syntax_of("{{ fail() }}").separator is None


ROME, NONE = '{"city": "Rome {\\"}"}', "{}"


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_calls_are_read_however_they_are_cut_into_parts(size):
    text = (
        f'<tool_call>\n{{"name": "get_weather", "arguments": {ROME}}}\n</tool_call>\n'
        f'<tool_call>\n{{"name": "get_weather_2", "arguments": {NONE}}}\n</tool_call>'
    )
    expected = ("", [("get_weather", ROME), ("get_weather_2", NONE)], "tool_calls")
    assert read(text, TAGGED, size=size) == expected
    loose = f'{{\n  "name": "get_weather",\n  "arguments": {ROME}\n}}'
    assert read(loose, size=size) == ("", [("get_weather", ROME)], "tool_calls")


def test_a_call_that_the_token_limit_cuts_off_is_sent_as_far_as_it_goes():
    assert read('{"name": "get_weather", "arguments": {"ci', reason="length") == (
        "",
        [("get_weather", '{"ci')],
        "length",
    )
    assert read('{"name": "get_w', reason="length") == ("", [], "length")


@pytest.mark.parametrize("size", [1, 1000])
def test_an_answer_that_may_be_text_is_text_unless_it_begins_as_a_call(size):
    either = {"tool_choice": "auto", "response_schema": FORM, "size": size}
    assert read('{"name": "get_weather"}', **either) == ('{"name": "get_weather"}', [], "stop")
    call = '{"name": "get_weather", "arguments": {}}'
    assert read(call, **either) == ("", [("get_weather", "{}")], "tool_calls")
    assert read('{"name": "get', reason="length", **either) == ('{"name": "get', [], "length")


@pytest.mark.parametrize("text", ["Hello", '{"name": "get_weather", "arguments": {}', "{}", ""])
def test_a_text_that_is_no_call_is_an_input_error(text):
    """llama.cpp ignores a grammar that it cannot compile."""
    with pytest.raises(Fail, match="simplify their parameters"):
        read(text)


@pytest.mark.parametrize("syntax", [PLAIN, TAGGED, CallSyntax("", ": ", "", None)])
@pytest.mark.parametrize("fields", [{}, {"tool_choice": "auto", "response_schema": FORM}])
def test_the_grammar_of_calls_is_one_that_llguidance_knows(syntax, fields):
    made = answer_grammar(request(**fields), syntax)
    assert LLMatcher.validate_grammar_with_warnings(made) == (False, [])
    assert made is not None
    assert ("{0,15}" in made) is (syntax.separator is not None)
    assert ("| %json" in made) is bool(fields)


def test_a_named_function_is_called_once():
    for fields in ({"tool_choice": {"name": "get_weather"}}, {"parallel_tool_calls": False}):
        made = answer_grammar(request(**fields), PLAIN)
        assert made is not None
        assert "start: call\n" in made


def test_a_required_call_is_enforced_also_beside_a_form_of_texts():
    made = answer_grammar(request(response_schema=FORM), PLAIN)
    assert made is not None
    assert "| %json" not in made
    assert answer_grammar(request(tool_choice="none", json_object=True), PLAIN) is not None
    assert answer_grammar(request(tool_choice="auto"), PLAIN) is None
