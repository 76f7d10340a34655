"""What one client's request computes never makes another client's faster: llama.cpp reuses prompts only among runs with the same salt."""

from __future__ import annotations

import pytest

from runners.llm.engines.base import AnswerTokens
from runners.llm.request import InferenceRequest
from support.inputs.language_models import NAME

pytestmark = pytest.mark.ship

LONG = "The quick brown fox jumps over the lazy dog. " * 8


@pytest.fixture
def reused(runner, make_context, monkeypatch):
    """Run a request, and return how many tokens of its prompt llama.cpp took from an earlier one."""
    seen = []
    counts = runner._engine._server.stream.__func__

    def stream(server, path, fields):
        found = counts(server, path, fields)
        events = found.events

        def noted():
            for event in events():
                if timings := event.get("timings"):
                    seen.append(timings["cache_n"])
                yield event

        found.events = noted
        return found

    monkeypatch.setattr(type(runner._engine._server), "stream", stream)

    def run(salt, prompt=LONG, n=1):
        seen.clear()
        context = make_context()
        context.cache_salt = salt
        request = InferenceRequest(model=NAME, prompt=prompt, max_tokens=2, temperature=0.5, seed=1, n=n)
        runner.run(request, context)
        return max(seen)

    return run


def test_attack_a_prompt_of_another_account_is_not_recognised_by_its_time(reused):
    reused("alice")
    assert reused("alice") > 50
    assert reused("bob") == 0
    assert reused("bob") > 50
    assert reused("alice") > 50  # in a slot of its own, which nobody has taken
    assert reused(None) == 0
    assert reused(None) == 0


def test_attack_several_answers_leave_nothing_to_recognise(reused):
    """llama.cpp copies the prompt to slots of its own choice."""
    reused("carol")
    reused("dave", n=3)
    for salt in ("carol", "dave", "erin", None):
        assert reused(salt) == 0


def test_attack_the_prompt_of_an_audited_job_is_not_recognised(runner, reused):
    engine = runner._engine
    request = InferenceRequest(model=NAME, prompt=LONG, max_tokens=4, temperature=0)
    prompt, answer = engine.prompt_tokens(request), engine._words(" one two three")
    assert len(list(engine.read(request, AnswerTokens(prompt, answer, range(3))))) == 3
    assert reused("frank") == 0
