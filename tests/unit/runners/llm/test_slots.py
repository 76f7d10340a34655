"""Which slot of llama.cpp a request gets, when, and what it may reuse there; without an engine."""

from __future__ import annotations

import threading

from runners.llm.engines.slots import Slots

TOKENS = tuple(range(100))


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
    slots = Slots(4, erased.append, tokens=500)
    running = lent(slots, "a")
    slots.start(running)
    ended(slots, lent(slots, "b"))
    ended(slots, lent(slots, "c"))
    several = lent(slots, "d", answers=3)
    assert erased == [1, 2]
    also = lent(slots, "e", share=100)
    for request in (also, running):  # they have left their prompts in slots that nobody knows
        slots.release(request)
        assert not has_tokens(slots, 1)
    slots.release(several)
    slots.release(lent(slots, "f"))
    assert erased[2:] == [3]
    assert has_tokens(slots, 500)


def test_an_interrupted_request_leaves_nothing():
    erased = []
    slots = Slots(1, erased.append, tokens=300)
    interrupted = lent(slots, "a", share=300)
    slots.start(interrupted)
    slots.empty(interrupted)
    assert not has_tokens(slots, 1)
    slots.release(interrupted)
    assert not lent(slots, "a").reuses
    assert erased == [0]


def has_tokens(slots, count):
    """Return whether so many tokens of the context are free and nobody waits for them."""
    request = slots.request(TOKENS, None, count)
    with slots._changed:
        granted = slots._grant(request, 0)
    slots.release(request)
    return granted


def test_requests_share_the_tokens_of_the_context_in_their_order():
    slots = Slots(4, tokens=500)
    running = lent(slots, "a", share=300)
    large, small = (slots.request(TOKENS, salt, share) for salt, share in (("b", 300), ("c", 100)))
    assert not slots.acquire(large, 0)
    assert not slots.acquire(small, 0)  # it would fit, but the other has waited longer
    ended(slots, running)
    assert slots.acquire(large, 0)
    assert slots.acquire(small, 0)


def test_a_request_that_gives_up_holds_up_nobody():
    slots = Slots(4, tokens=500)
    lent(slots, "a", share=400)
    leaving, behind = (slots.request(TOKENS, salt, share) for salt, share in (("b", 200), ("c", 100)))
    assert not slots.acquire(leaving, 0)
    assert not slots.acquire(behind, 0)
    slots.release(leaving)
    assert slots.acquire(behind, 0)
    assert not has_tokens(slots, 1)
