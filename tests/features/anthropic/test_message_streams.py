"""Anthropic's events: blocks one after the other, and the end of every stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from agent.coordinator.features.anthropic import routes
from agent.coordinator.features.client_apis import job_stream
from support.clients.anthropic_jobs import CALL, WEATHER, body
from support.clients.openai_jobs import ANSWER, TEXT, asking, send_tokens
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import ended

Events = Iterator[dict[str, Any]]


def events(answer: httpx.Response) -> Events:
    """Yield the events, each of which has the name of its type."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    name = ""
    for line in answer.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line:
            event: dict[str, Any] = json.loads(line.removeprefix("data: "))
            assert event["type"] == name
            yield event


def lease_with(miner: ScriptedMiner, text: str) -> dict[str, Any]:
    """Claim the job and publish the first piece of its text, for which the headers of the answer wait."""
    (lease,) = miner.poll()
    send_tokens(miner, lease, text)
    return lease


def publish(miner: ScriptedMiner, lease: dict[str, Any], *additions: dict[str, Any]) -> None:
    """Publish additions to an answer that are not its text."""
    parts = [
        {"kind": "part", "data": {"index": 0, "offset": offset, **added}}
        for offset, added in enumerate(additions)
    ]
    assert miner.job(lease, "events", events=parts).status_code == 204


def shape(received: list[dict[str, Any]]) -> list[str]:
    """Return the events in short form."""
    return [
        ":".join(
            str(part)
            for part in (
                event["type"],
                event.get("index"),
                (event.get("delta") or event.get("content_block") or {}).get("type"),
            )
            if part is not None
        )
        for event in received
        if event["type"] != "ping"
    ]


def test_a_text_is_streamed_as_it_is_generated(claude: httpx.Client, miner: ScriptedMiner) -> None:
    with (
        asking(lambda: lease_with(miner, "The capital")) as leases,
        claude.stream("POST", "/messages", json=body(stream=True)) as answer,
    ):
        received = events(answer)
        lease = leases.result(180)
        first = [next(received) for _ in range(3)]
        assert first[0]["message"]["id"] == lease["job_id"] == answer.headers["x-job-id"]
        assert (first[0]["message"]["content"], first[0]["message"]["stop_reason"]) == ([], None)
        assert first[2]["delta"] == {"type": "text_delta", "text": "The capital"}
        assert miner.complete(lease, TEXT).status_code == 200
        rest = list(received)
    assert shape([*first, *rest]) == [
        "message_start",
        "content_block_start:0:text",
        "content_block_delta:0:text_delta",
        "content_block_delta:0:text_delta",
        "content_block_stop:0",
        "message_delta",
        "message_stop",
    ]
    assert rest[0]["delta"]["text"] == ANSWER.removeprefix("The capital")
    assert rest[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    usage = rest[-2]["usage"]
    assert (usage["input_tokens"] + usage["cache_read_input_tokens"], usage["output_tokens"]) == (7, 8)


def test_parallel_calls_come_one_after_the_other(claude: httpx.Client, miner: ScriptedMiner) -> None:
    """Also if the engine writes their arguments by turns."""

    def part(number: int, arguments: str, **first: Any) -> dict[str, Any]:
        function = {"arguments": arguments} | ({"name": "get_weather"} if first else {})
        return {"tool_calls": [{"index": number, "function": function, **first}]}

    thinking = {"type": "enabled", "budget_tokens": 1024}
    request = body(stream=True, tools=[WEATHER], thinking=thinking)
    second = {"id": "call_2", "name": "get_weather", "arguments": '{"city": "Oslo"}'}
    with asking(lambda: claude.post("/messages", json=request)) as response:
        (lease,) = miner.poll()
        publish(
            miner,
            lease,
            {"reasoning": "Two "},
            {"reasoning": "cities."},
            part(0, "", id="call_1", type="function"),
            part(0, '{"city"'),
            part(1, '{"city": ', id="call_2", type="function"),
            part(0, ': "Rome"}'),
            part(1, '"Oslo"}'),
        )
        results = {
            **TEXT,
            "text": "",
            "reasoning": "Two cities.",
            "finish_reason": "tool_calls",
            "tool_calls": [CALL, second],
        }
        assert miner.complete(lease, results).status_code == 200
        received = list(events(response.result(180)))
    blocks: dict[int, dict[str, Any]] = {}
    open_block = None
    for event in received[1:-2]:
        if event["type"] == "content_block_start":
            assert open_block is None
            open_block = event["index"]
            blocks[open_block] = {**event["content_block"], "parts": ""}
        elif event["type"] == "content_block_stop":
            assert event["index"] == open_block
            open_block = None
        else:
            assert event["index"] == open_block
            blocks[open_block]["parts"] += next(
                value for name, value in event["delta"].items() if name != "type"
            )
    assert [(block["type"], block.get("id")) for block in blocks.values()] == [
        ("thinking", None),
        ("tool_use", "call_1"),
        ("tool_use", "call_2"),
    ]
    assert blocks[0]["parts"] == f"Two cities.{lease['job_id']}"
    assert [json.loads(blocks[number]["parts"])["city"] for number in (1, 2)] == ["Rome", "Oslo"]
    assert received[-2]["delta"]["stop_reason"] == "tool_use"


def test_an_answer_of_nothing_has_a_text(claude: httpx.Client, miner: ScriptedMiner) -> None:
    with asking(lambda: claude.post("/messages", json=body(stream=True))) as response:
        (lease,) = miner.poll()
        assert miner.complete(lease, {**TEXT, "text": ""}).status_code == 200
        received = list(events(response.result(180)))
    assert shape(received)[1:3] == ["content_block_start:0:text", "content_block_stop:0"]


def test_a_stream_that_waits_begins_with_pings_and_reports_its_failure(
    claude: httpx.Client, miner: ScriptedMiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while without a piece, a proxy would close the connection."""
    monkeypatch.setattr(job_stream, "KEEP_ALIVE_SECONDS", 0.1)
    with claude.stream("POST", "/messages", json=body(stream=True)) as answer:
        received = events(answer)
        begun = [next(received) for _ in range(1 + routes.PATIENCE)]
        assert [event["type"] for event in begun] == ["message_start", *["ping"] * routes.PATIENCE]
        (lease,) = miner.poll()
        miner.job(lease, "fail", kind="fail", code="CONTEXT_OVERFLOW", message="Too long.")
        last = [event for event in received if event["type"] != "ping"]
    assert last == [
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "prompt is too long: Too long."},
            "request_id": answer.headers["request-id"],
        }
    ]


def test_a_client_that_leaves_a_stream_cancels_its_job(claude: httpx.Client, miner: ScriptedMiner) -> None:
    with (
        asking(lambda: lease_with(miner, "The capital")) as leases,
        claude.stream("POST", "/messages", json=body(stream=True)) as answer,
    ):
        lease = leases.result(180)
        next(events(answer))
    with httpx.Client(base_url=str(claude.base_url).removesuffix("/v1/"), headers=claude.headers) as client:
        ended(client, lease["job_id"], "cancelled")
