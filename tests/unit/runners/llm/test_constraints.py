"""Samplers, grammars and variables of chat templates that clients of other servers use: what is accepted, and what engines do with it."""

from __future__ import annotations

import re
import time

import pytest
from pydantic import ValidationError

from runners.api import Fail, Tools
from runners.input_options import parameters_of
from runners.llm import LLMRunner
from runners.llm import runner as runner_module
from runners.llm.grammar import check_grammar, choice_grammar, regex_grammar
from runners.llm.prompt import raw_prompt
from runners.llm.request import InferenceRequest, needs
from support.inputs.language_models import NAME

pytestmark = pytest.mark.system

DIGITS = "root ::= number # of a kind\nnumber ::= [0-9]{3}\n"


def request(**fields):
    return InferenceRequest(**{"model": NAME, "prompt": "a", **fields})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"grammar": "root ::= x"}, "no grammar in GBNF: Rule 'x' not found"),
        ({"grammar": "one ::= [0-9]"}, "No 'root' rule"),
        ({"grammar": "root ::= " + "(" * 3000 + '"a"' + ")" * 3000}, "nested too deeply"),
        ({"grammar": 'root ::= "a"' * 1000}, "the limit is 8192"),
        ({"grammar": 'start: %json {"type": "string"}'}, "directives"),
        ({"grammar": '%llguidance {"no_forcing": true}\nstart: "a"'}, "directives"),
        ({"grammar": '%llguidance {}\nstart: [ %json {"type": "string"} ]'}, "directives"),
        ({"grammar": DIGITS, "json_object": True}, "either a grammar"),
        ({"grammar": DIGITS, "tools": [{"name": "f"}]}, "either a grammar"),
        ({"min_tokens": 9, "max_tokens": 8}, "more than max_tokens"),
        ({"ignore_eos": True, "json_object": True}, "ends where the form does"),
        ({"min_tokens": 2, "grammar": DIGITS}, "ends where the form does"),
        ({"suffix": "b"}, "needs raw"),
        ({"template_options": {"messages": 1}}, "the agent sets this variable"),
        ({"template_options": {"bos_token": "x"}}, "the agent sets this variable"),
        ({"template_options": {"a": {}}}, "valid"),
        ({"template_options": {f"a{number}": 1 for number in range(17)}}, "at most 16"),
        ({"mirostat": 3}, "less than or equal to 2"),
    ],
)
def test_what_cannot_be_done_is_refused_when_a_job_is_submitted(fields, words):
    with pytest.raises(ValidationError) as refused:
        request(**fields)
    assert words in str(refused.value)


def test_a_grammar_is_read_once_and_stays_as_it_is():
    first = request(grammar=DIGITS)
    parameters, options = parameters_of(first)
    assert options == ("grammar",)
    assert InferenceRequest.model_validate(parameters) == first


def test_a_request_without_the_new_fields_is_that_of_older_versions():
    parameters, options = parameters_of(request())
    assert options == ()
    assert (
        not {"min_p", "typical_p", "mirostat", "min_tokens", "ignore_eos", "grammar", "suffix"}
        & parameters.keys()
    )


def test_reading_the_longest_grammar_takes_no_time_that_others_would_notice():
    rules = [f'r{number} ::= "a" r{number + 1}' for number in range(360)]
    text = "\n".join([*rules, 'r360 ::= "b"', "root ::= r0"])
    began = time.process_time()
    check_grammar(text[:8192])
    assert time.process_time() - began < 10  # it would be hundreds if it were not bounded


def test_samplers_are_features_of_engines(monkeypatch):
    """So that a request goes where it can run."""
    assert needs(request(mirostat=2, min_p=0.1).model_dump(mode="json", exclude_defaults=True)) == [
        ("samplers", "the sampler mirostat")
    ]

    def offered(*engines):
        monkeypatch.setattr(runner_module, "_is_installed", engines.__contains__)
        monkeypatch.setattr(runner_module, "_version", lambda engine: engine)
        return {words.rpartition(" ")[2] for words in LLMRunner.probe(Tools()).features["samplers"]}

    assert offered("vllm", "transformers") == {"(min_tokens)"}
    assert offered("transformers") == {"(min_tokens)", "typical_p"}


@pytest.mark.parametrize(
    ("tokens", "prompt"),
    [
        (
            {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"},
            "<|fim_prefix|>a {b}<|fim_suffix|>c<|fim_middle|>",
        ),
        ({"[PREFIX]", "[SUFFIX]", "<fim_prefix>"}, "[SUFFIX]c[PREFIX]a {b}"),
    ],
)
def test_a_text_is_filled_in_with_the_models_own_tokens(tokens, prompt):
    filling = request(prompt="a {b}", raw=True, suffix="c")
    assert raw_prompt(filling, tokens.__contains__) == prompt
    assert raw_prompt(request(prompt="a", raw=True), tokens.__contains__) == "a"


def test_a_model_without_such_tokens_refuses_to_fill_in(ask, ask_tiny):
    for asked in (ask, ask_tiny):
        with pytest.raises(Fail, match="cannot fill in a text"):
            asked(raw=True, suffix="end")


@pytest.mark.parametrize(
    ("grammar", "pattern"),
    [
        (DIGITS, r"[0-9]{3}"),
        (regex_grammar(r"^(ab|[c-d]{2})/x$"), r"(ab|[c-d]{2})/x"),
        (choice_grammar(['a "b"', "c\\d", "e\nf"]), r'a "b"|c\\d|e\nf'),
        ('root ::= "\\u00e9" [x-z] #c\n', r"é[x-z]"),
    ],
)
def test_an_answer_follows_a_grammar(ask, grammar, pattern):
    """Also at a temperature at which a model writes anything."""
    for seed in range(2):
        answer = ask("Go", grammar=grammar, temperature=2, seed=seed)
        assert re.fullmatch(pattern, answer["text"]), answer
        assert answer["finish_reason"] == "stop"


def test_the_samplers_of_llama_cpp(ask):
    hot = {"temperature": 2, "max_tokens": 12}
    likeliest = ask("Name the capital of France.", max_tokens=12)["text"]
    texts = [
        ask("Name the capital of France.", seed=4, **hot, **fields)["text"] for fields in ({}, {"min_p": 1})
    ]
    assert texts[0] != likeliest
    assert texts[1] == likeliest
    assert (
        ask("Name the capital of France.", seed=4, mirostat=2, mirostat_tau=0.0, **hot)["text"] == likeliest
    )
    assert ask("Name the capital of France.", seed=4, typical_p=0.01, **hot)["text"] != texts[0]
    assert ask("Say yes.", ignore_eos=True, max_tokens=24)["usage"]["completion_tokens"] == 24


def test_a_sampler_that_the_models_engine_lacks_is_named(ask):
    with pytest.raises(Fail, match=r"llama\.cpp, which runs .* does not know min_tokens; remove it"):
        ask(min_tokens=4)


def test_the_samplers_of_transformers(ask_tiny):
    hot = {"temperature": 2, "max_tokens": 8, "seed": 1}
    likeliest = ask_tiny(max_tokens=8)["text"]
    assert ask_tiny(**hot)["text"] != likeliest
    assert ask_tiny(**hot, min_p=1)["text"] == likeliest
    assert ask_tiny(**hot, typical_p=0.01)["text"] != ask_tiny(**hot)["text"]
    end = {"1": 100}
    assert ask_tiny(max_tokens=8, logit_bias=end)["usage"]["completion_tokens"] == 1
    assert ask_tiny(max_tokens=8, logit_bias=end, min_tokens=5)["usage"]["completion_tokens"] == 6
    ignored = ask_tiny(max_tokens=8, logit_bias=end, ignore_eos=True)
    assert (ignored["usage"]["completion_tokens"], ignored["finish_reason"]) == (8, "length")
    assert re.fullmatch(r"[0-9]{3}", ask_tiny(**hot, grammar=DIGITS)["text"])
