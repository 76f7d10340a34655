"""What one client's request computes never makes another client's faster: llama.cpp reuses prompts only among runs with the same salt."""

from __future__ import annotations

import threading

import pytest

from runners.llm.engines.base import AnswerTokens
from runners.llm.engines.slots import Slots
from runners.llm.request import InferenceRequest
from support.inputs.language_models import NAME

pytestmark = pytest.mark.ship

LONG = "The quick brown fox jumps over the lazy dog. " * 8
TOKENS = tuple(range(100))


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


def lent(slots, salt, tokens=TOKENS, share=200, **fields):
    request = slots.request(tokens, salt, share, **fields)
    assert slots.acquire(request, 5)
    return request


def ended(slots, request):
    slots.start(request)
    slots.release(request)


def test_each_conversation_continues_in_its_own_slot():
    slots = Slots(3)
    for salt in ("a", "b"):
        ended(slots, lent(slots, salt))
    longer = (*TOKENS, 7, 8)
    for salt, number in (("a", 0), ("b", 1), ("a", 0)):
        request = lent(slots, salt, longer)
        assert (request.number, request.reuses) == (number, True)
        ended(slots, request)
    other = lent(slots, "a", (5, 6))  # another conversation of the same account
    assert other.number == 2
    ended(slots, other)
    assert not lent(slots, "c").reuses


def test_a_slot_whose_request_never_began_is_not_reused():
    """It still holds the prompt of the request before."""
    slots = Slots(1)
    ended(slots, lent(slots, "a"))
    slots.release(lent(slots, "b"))
    assert not lent(slots, "b").reuses


def test_several_answers_wait_until_a_reused_slot_is_occupied():
    """llama.cpp would put one of the answers there, and the waiting request would continue from it."""
    slots = Slots(2)
    ended(slots, lent(slots, "a"))
    reusing = lent(slots, "a")
    assert reusing.reuses
    several = slots.request(TOKENS, "b", 200, answers=2)
    assert not slots.acquire(several, 0)
    thread = threading.Thread(target=slots.start, args=[reusing])
    thread.start()
    assert slots.acquire(several, 5)
    thread.join()
    meanwhile = lent(slots, "a")
    assert (meanwhile.number, meanwhile.reuses) == (None, False)
    slots.release(several)
    slots.release(reusing)
    assert not lent(slots, "a").reuses  # `meanwhile` may be anywhere
    slots.release(meanwhile)


def test_a_slot_that_a_request_waits_for_goes_to_nobody_else():
    slots = Slots(1)
    first = lent(slots, "a")
    second = slots.request(TOKENS, "b", 200)
    assert not slots.acquire(second, 0)
    slots.release(first)
    assert slots.acquire(second, 5)


def test_a_slot_is_erased_before_a_request_that_is_smaller_than_what_it_holds():
    """The context has no space for it until the request begins, which may be long after it was sent."""
    erased = []
    slots = Slots(1, erased.append)
    ended(slots, lent(slots, "a", share=300))
    ended(slots, lent(slots, "a", share=300))
    assert erased == []
    smaller = lent(slots, "a", share=200)
    assert (erased, smaller.reuses) == ([0], False)
    ended(slots, smaller)
    assert lent(slots, "a", share=200).reuses
    assert erased == [0]


def test_slots_are_erased_before_several_answers_that_may_be_in_any_of_them():
    erased = []
    slots = Slots(4, erased.append)
    running = lent(slots, "a")
    slots.start(running)
    ended(slots, lent(slots, "b"))
    ended(slots, lent(slots, "c"))
    several = lent(slots, "d", answers=3)
    assert erased == [1, 2]
    also = lent(slots, "e", share=100)
    assert slots.release(also) == 0  # it has left its prompt in a slot that nobody knows
    assert slots.release(running) == 0
    assert slots.release(several) == 500
    assert slots.release(lent(slots, "f")) == 200
    assert erased[2:] == [3]


def test_an_interrupted_request_leaves_nothing():
    erased = []
    slots = Slots(1, erased.append)
    interrupted = lent(slots, "a", share=300)
    slots.start(interrupted)
    slots.empty(interrupted)
    assert slots.release(interrupted) == 300
    assert not lent(slots, "a").reuses
    assert erased == [0]
