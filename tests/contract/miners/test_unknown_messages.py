"""Messages of a newer miner are answered: the answer names them and the coordinator's version, and the connection goes on."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent import __version__
from agent.protocol.messages import MAX_NAME
from support.clients.miner_socket import Socket
from support.clients.scripted_miner import ScriptedMiner

CALLS = {"slots", "heartbeat", "result", "fail", "release", "events", "not_understood"}
HEARTBEAT = {"leases": [], "gpus": []}

anything = st.none() | st.integers(-(2**53), 2**53) | st.text(max_size=300) | st.just([]) | st.just({})


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(call=anything.filter(lambda call: not isinstance(call, str) or call not in CALLS), more=anything)
def test_an_unknown_call_is_answered_with_its_name_and_the_version(
    miner: ScriptedMiner, call: Any, more: Any
) -> None:
    with Socket(miner) as socket:
        for body in (more, {"new": more}):
            status, answer = socket.call(call, body=body)
            assert (status, answer["error"]["code"]) == (404, "NOT_FOUND")
            assert (
                f"version {__version__}, has no call {repr(call)[:MAX_NAME]}." in answer["error"]["message"]
            )
        assert socket.call("heartbeat", body={**HEARTBEAT, "new": more})[0] == 200


def test_a_call_without_a_name_and_slots_of_another_form_do_not_end_the_connection(
    miner: ScriptedMiner,
) -> None:
    with Socket(miner) as socket:
        for message in ({}, {"id": None, "new": 1}, {"call": "slots", "slots": "many"}, {"push": "new"}):
            socket.connection.send(json.dumps(message))
        assert socket.call("heartbeat", body=HEARTBEAT)[0] == 200


def test_a_miner_may_answer_that_it_does_not_understand(miner: ScriptedMiner) -> None:
    with Socket(miner) as socket:
        body = {"message": "colour", "agent_version": "0.2.9", "reason": "unknown", "new": 1}
        assert socket.call("not_understood", body=body)[0] == 204
