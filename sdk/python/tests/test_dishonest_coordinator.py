"""A coordinator that forges or exchanges the answer to a sealed job is noticed, also by a later process. Only its miner's answer counts."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from aitbc.canonical import b64encode
from aitbc.errors import ConfigurationError, FormatError, VerificationError
from aitbc.sealing import memory
from aitbc.sealing.memory import SealedRequest, SealingMemory
from aitbc.statement import NamedDigest, Statement

from .conftest import Calls
from .support.sealing_miner import SealedRun, SealingMiner, digest_of, event, line, update
from .support.stand_in import Coordinator

TRUE, FORGED = {"text": "four"}, {"text": "FORGED"}
JOB = {"type": "llm-inference", "parameters": {"model": "small", "prompt": "2 + 2?"}}


@pytest.fixture
def client(config: Path, market: Coordinator, calls: Calls) -> Calls:
    return calls


def sealed(client: Calls, coordinator: Coordinator, miner: SealingMiner) -> SealedRun:
    """Seal a job to a miner, and return the miner's run of it."""
    job = client(lambda client: client.jobs.create(JOB, seal=miner.miner_id))
    return miner.run(job.job_id, coordinator.bodies[-1])


@pytest.fixture
def sealed_run(client: Calls, market: Coordinator, miner: SealingMiner) -> SealedRun:
    return sealed(client, market, miner)


@pytest.fixture
def foreign(client: Calls, market: Coordinator, sealed_run: SealedRun, other: SealingMiner) -> SealedRun:
    """The other miner's answer to its own earlier request instead of the job's, as the coordinator describes the job."""
    client(lambda client: client.jobs.create(JOB, seal=other.miner_id))
    earlier = market.bodies[-1]
    market.ends[sealed_run.job.job_id] = {
        "status": "completed",
        "miner_id": other.miner_id,
        "sealed": {name: earlier["sealed"][name] for name in ("request_id", "reply_key")},
    }
    return other.run(sealed_run.job.job_id, earlier)


def later(client: Calls) -> Calls:
    """Return a client without what the first one has in memory."""
    return Calls(client.kind, str(client.client.base_url))


def results_of(client: Calls, run: SealedRun, **options: Any) -> Any:
    return client(lambda client: client.jobs.get_results(run.job.job_id, **options))


def refused(call: Callable[[], object], words: str | None = None) -> None:
    with pytest.raises(VerificationError, match=words):
        call()


def test_the_miners_own_answer_is_opened(client: Calls, market: Coordinator, sealed_run: SealedRun) -> None:
    """The honest case: results, events and log are those of the miner, and say that they are."""
    job_id = sealed_run.job.job_id
    market.results = sealed_run.results(TRUE)
    market.answers[f"GET /v1/jobs/{job_id}/log"] = sealed_run.log("a line")
    for program in (client, later(client)):
        lost = json.dumps({"job_id": job_id, "reason": "slow"})
        market.streams.append(
            [
                update(job_id, "running"),
                sealed_run.event(0, "token", {"text": "four"}),
                event({"job_id": job_id, "kind": "log", "lines": 1}),
                f"event: resync\ndata: {lost}\n\n".encode(),
                update(job_id, "completed"),
            ]
        )
        events = program.items(lambda client: client.jobs.events(job_id))
        assert [one.kind for one in events] == ["job_update", "token", "log", "resync", "job_update"]
        assert [one.opened for one in events] == [False, True, False, False, False]
        answer = results_of(program, sealed_run)
        assert (answer.results, answer.opened, answer.caution) == (TRUE, True, None)
        log = program(lambda client: client.jobs.log(sealed_run.job.job_id))
        assert (str(log), log.opened, log.caution) == ("a line", True, None)


def test_attack_results_in_clear(client: Calls, market: Coordinator, sealed_run: SealedRun) -> None:
    market.results = FORGED
    market.ends[sealed_run.job.job_id] = {
        "status": "completed"
    }  # of which the coordinator says nothing of sealing either
    for program in (client, later(client)):
        refused(lambda program=program: results_of(program, sealed_run), "not sealed")
        refused(lambda program=program: results_of(program, sealed_run, opened=False), "not sealed")


def test_attack_events_in_clear(client: Calls, market: Coordinator, sealed_run: SealedRun) -> None:
    """No event with content is handed over that the miner has not sealed, of any kind."""
    forged: list[dict[str, Any]] = [
        {"kind": kind, "text": "FORGED"}
        for kind in ("token", "preview", "segment", "output", "part", "new kind", "job_update", "resync")
    ]
    forged += [{"kind": "log", "lines": 1, "text": "FORGED"}, {"kind": "log", "lines": "FORGED"}]
    for program in (client, later(client)):
        for data in forged:
            market.streams.append(
                [
                    sealed_run.event(0, "token", {"text": "four"}),
                    event(data),
                    update(sealed_run.job.job_id, "completed"),
                ]
            )
            refused(
                lambda program=program: program.items(
                    lambda client: client.jobs.events(sealed_run.job.job_id)
                ),
                "in clear",
            )


def test_attack_events_in_clear_in_the_stream_of_all_jobs(
    client: Calls, market: Coordinator, sealed_run: SealedRun
) -> None:
    first = {"type": "subscribed", "data": {"after": 1}}
    for number, (job_id, text) in enumerate((("job_9", "in clear"), (sealed_run.job.job_id, "FORGED"))):
        data = {"job_id": job_id, "kind": "token", "text": text}
        market.sockets.append([first, {"type": "job_event", "seq": 2 + number, "data": data}])
    listen = lambda client: client.events(types=["job_event"])  # noqa: E731
    assert client.items(listen, most=1)[0].data["text"] == "in clear"
    refused(lambda: client.items(listen, most=1), "in clear")


def test_attack_log_lines_in_clear(client: Calls, market: Coordinator, sealed_run: SealedRun) -> None:
    own = sealed_run.log("a line")["entries"]
    for entries in ([line("FORGED", "runner")], [*own, line("FORGED", "runner")]):
        market.answers[f"GET /v1/jobs/{sealed_run.job.job_id}/log"] = {
            "job_id": "job_9",
            "entries": entries,
            "truncated": False,
        }
        for program in (client, later(client)):
            refused(
                lambda program=program: program(lambda client: client.jobs.log(sealed_run.job.job_id)),
                "in clear",
            )


def test_attack_the_answer_of_another_miner(
    client: Calls, market: Coordinator, sealed_run: SealedRun, foreign: SealedRun
) -> None:
    """A miner to which the client once sealed a job can make answers, but not to requests that were sealed to others."""
    market.results = foreign.results(FORGED)
    market.answers[f"GET /v1/jobs/{sealed_run.job.job_id}/log"] = foreign.log("FORGED")
    for program in (client, later(client)):
        refused(lambda program=program: results_of(program, sealed_run), "does not open")
        refused(
            lambda program=program: program(lambda client: client.jobs.log(sealed_run.job.job_id)),
            "does not open",
        )
        market.streams.append([foreign.event(0, "token", {"text": "FORGED"})])
        refused(
            lambda program=program: program.items(lambda client: client.jobs.events(sealed_run.job.job_id)),
            "does not open",
        )


def test_attack_the_answer_to_another_request(
    client: Calls, market: Coordinator, miner: SealingMiner, sealed_run: SealedRun
) -> None:
    """The same miner's answer to another job of this client, and its other answers to the same one."""
    earlier = sealed(client, market, miner)
    market.results = earlier.results(FORGED)
    for program in (client, later(client)):
        refused(lambda program=program: results_of(program, sealed_run), "does not open")
    market.results = sealed_run.results(TRUE)
    assert results_of(client, sealed_run).results == TRUE
    market.results = sealed_run.results({"text": "of another run"})
    refused(lambda: results_of(client, sealed_run), "other results")


def test_attack_an_earlier_run_is_mixed_into_a_later_one(
    client: Calls, market: Coordinator, miner: SealingMiner
) -> None:
    job = client(lambda client: client.jobs.create(JOB, seal=miner.miner_id))
    first, second = (miner.run(job.job_id, market.bodies[-1], fence=fence) for fence in (9, 10))
    pieces = [
        first.event(0, "token", {"text": "a"}),
        second.event(0, "token", {"text": "b"}),
        first.event(1, "token", {"text": "c"}),
    ]
    market.streams.append([*pieces, update(job.job_id, "completed")])
    events = client.items(lambda client: client.jobs.events(job.job_id))
    assert [one.data["text"] for one in events if one.job is None] == ["a", "b"]


def test_attack_a_new_job_gets_the_id_of_an_earlier_one(
    client: Calls, market: Coordinator, sealed_run: SealedRun, miner: SealingMiner
) -> None:
    """The earlier job stays what it was."""
    market.created["again"] = sealed_run.job.job_id
    for program in (client, later(client)):
        with pytest.raises(VerificationError, match="earlier request"):
            program(lambda client: client.jobs.create(JOB, seal=miner.miner_id, idempotency_key="again"))
    market.created["path"] = "../sealing"
    with pytest.raises(FormatError):
        client(lambda client: client.jobs.create(JOB, seal=miner.miner_id, idempotency_key="path"))
    market.results = sealed_run.results(TRUE)
    assert results_of(later(client), sealed_run).results == TRUE


def test_attack_a_sealed_job_runs_again(client: Calls, market: Coordinator, sealed_run: SealedRun) -> None:
    market.answers[f"POST /v1/jobs/{sealed_run.job.job_id}/rerun"] = {
        "job_id": "job_9",
        "status": "completed",
        "results": FORGED,
    }
    refused(lambda: client(lambda client: client.jobs.rerun(sealed_run.job.job_id)), "Do not trust job_9")


def test_the_request_is_stored_before_it_is_submitted(
    client: Calls, market: Coordinator, config: Path, miner: SealingMiner, other: SealingMiner
) -> None:
    """A client that is killed before it knows its job cannot know which one it is, but still knows to whom the request was sealed."""
    names = []
    market.on_created = lambda: names.extend(path.name for path in (config / "sealed_jobs").iterdir())
    body = client(lambda client: client.jobs.seal(JOB, miner_id=miner.miner_id))
    job = client(lambda client: client.jobs.create(body))
    assert names == [f"{body['sealed']['request_id']}.json"]
    again = client(
        lambda client: client.jobs.create(body)
    )  # a repeated request may be answered with another job
    assert client(lambda client: client.jobs.sealed_request(again.job_id)) == client(
        lambda client: client.jobs.sealed_request(job.job_id)
    )
    (config / "sealed_jobs" / f"{job.job_id}.json").unlink()
    described = {"status": "completed", "miner_id": other.miner_id, "sealed": body["sealed"]}
    market.ends[job.job_id] = described
    stolen = SealedRun(other, job.job_id, body["sealed"], miner.secret(body), 4)
    market.results = stolen.results(FORGED)
    refused(lambda: results_of(later(client), stolen), "does not open")
    market.results = miner.run(job.job_id, body).results(TRUE)
    answer = results_of(later(client), stolen)
    assert (answer.results, answer.opened) == (TRUE, False)


def test_a_job_without_a_memory_says_so(
    client: Calls, market: Coordinator, config: Path, sealed_run: SealedRun
) -> None:
    """On a machine that has only the key, the coordinator's word counts, and the answer says that it does."""
    for path in (config / "sealed_jobs").iterdir():
        path.unlink()
    program = later(client)
    market.ends[sealed_run.job.job_id] = {
        "status": "completed",
        "miner_id": sealed_run.job.miner_id,
        "sealed": json.loads(json.dumps(market.bodies[-1]["sealed"])),
    }
    market.results = sealed_run.results(TRUE)
    answer = results_of(program, sealed_run)
    assert (answer.results, answer.opened) == (TRUE, False)
    assert "no memory of sealing" in str(answer.caution)
    market.results = FORGED
    answer = results_of(program, sealed_run)
    assert answer.opened is False
    assert "do not trust" in str(answer.caution)
    (config / "sealing.json").unlink()  # of a client that has never sealed a job
    assert results_of(later(client), sealed_run).to_dict()["opened"] is False
    assert results_of(later(client), sealed_run).caution is None


def test_attack_the_coordinator_says_that_it_was_opened(client: Calls, market: Coordinator) -> None:
    """Only the client itself sets the marks."""
    market.answers["GET /v1/jobs/job_1/log"] = {
        "job_id": "job_1",
        "entries": [],
        "truncated": False,
        "opened": True,
    }
    assert client(lambda client: client.jobs.log("job_1")).opened is False


def test_attack_a_receipt_of_something_else(
    client: Calls,
    market: Coordinator,
    miner: SealingMiner,
    other: SealingMiner,
    sealed_run: SealedRun,
    statement: Statement,
    sign: Callable[..., Any],
) -> None:
    """Another miner's, another request's, other results' or another run's receipt is refused where it is asked for."""
    market.results, market.proofs = sealed_run.results(TRUE), type(market.proofs)(["proof"])
    subject = (NamedDigest("result.json", digest_of(market.results)),)

    def receipt(**changes: Any) -> dict[str, Any]:
        fields = {"subject": subject, **sealed_run.statement(TRUE), **changes}
        return sign(dataclasses.replace(statement, **fields))

    market.receipt = receipt()
    exported = client(lambda client: client.receipts.export(sealed_run.job.job_id))
    assert exported["results"] == market.results
    sealing = sealed_run.statement(TRUE)["sealed"]
    for changes, words in (
        ({"miner_id": other.miner_id}, "not of"),
        ({"job_id": "job_9"}, "not of"),
        ({"sealed": None}, "does not answer the request"),
        ({"sealed": dataclasses.replace(sealing, request_id="0" * 32)}, "does not answer the request"),
        ({"sealed": dataclasses.replace(sealing, results="0" * 64)}, "the results are not"),
        ({"subject": (NamedDigest("result.json", "0" * 64),)}, "the results are not"),
        ({"fence": 5}, "another run"),
        ({"spec_digest": "6" * 64}, "another run"),
    ):
        market.receipt = receipt(**changes)
        refused(lambda: client(lambda client: client.receipts.export(sealed_run.job.job_id)), words)
    market.receipt["signature"]["public_key"] = b64encode(bytes(other.identity.verify_key))
    refused(lambda: client(lambda client: client.receipts.get(sealed_run.job.job_id)))


def test_the_memory_is_private_and_shared_by_processes(tmp_path: Path) -> None:
    """Of many programs that get the same job for different requests, one remembers it, and all others see that."""
    together = threading.Barrier(8)
    request = SealedRequest("miner_" + "a" * 26, "0" * 32, b64encode(bytes(32)))

    def add(number: int) -> SealedRequest:
        together.wait(60)
        return SealingMemory(tmp_path / "memory").add(
            "job_1", dataclasses.replace(request, request_id=f"{number:032x}")
        )

    with ThreadPoolExecutor(8) as threads:
        stored = set(threads.map(add, range(8)))
    assert len(stored) == 1
    (path,) = (tmp_path / "memory").iterdir()
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    shared = SealingMemory(tmp_path / "memory")
    assert {shared.get("job_1")} == stored
    assert [shared.get(name) for name in ("job_2", "../memory/job_1", "")] == [None, None, None]
    for damage in ("", "{}", path.read_text().replace("miner_a", "miner_!")):
        path.write_text(damage)
        with pytest.raises(ConfigurationError, match="damaged"):
            shared.get("job_1")


def test_the_memory_keeps_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_RECORDS", 3)
    monkeypatch.setattr(memory, "_PRUNED_AFTER", 1)
    small = SealingMemory(tmp_path)
    request = SealedRequest("miner_" + "a" * 26, "0" * 32, b64encode(bytes(32)))
    for number in range(5):
        small.add(f"job_{number}", request)
        stamp = 1_000_000 + number
        os.utime(tmp_path / f"job_{number}.json", (stamp, stamp))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job_2.json", "job_3.json", "job_4.json"]
