"""Answers: constructed exactly as declared, read from coordinators of any version."""

from __future__ import annotations

import importlib
import json
import pickle
import pkgutil
from typing import Any

import pytest

from aitbc import answers
from aitbc.answers.accounts import Wallet
from aitbc.answers.fields import MalformedAnswerError
from aitbc.answers.jobs import Job, JobError, JobList
from aitbc.answers.market import Offer
from aitbc.answers.payouts import PayoutBatchDetails
from aitbc.answers.receipts import Receipt
from aitbc.answers.record import Record, tolerant

JOB: dict[str, Any] = {
    "job_id": "job_1",
    "status": "failed",
    "error": {"code": "X", "message": "no", "hint": "new"},
}


def declared() -> list[type[Record]]:
    """Return all answers."""
    modules = [
        importlib.import_module(f"aitbc.answers.{found.name}")
        for found in pkgutil.iter_modules(answers.__path__)
    ]
    return sorted(
        {
            kind
            for module in modules
            for kind in vars(module).values()
            if isinstance(kind, type) and issubclass(kind, Record)
        },
        key=lambda kind: kind.__name__,
    )


@pytest.mark.parametrize("kind", declared(), ids=lambda kind: kind.__name__)
def test_every_answer_can_be_read(kind: type[Record]) -> None:
    """Its tolerant form accepts a field that this version does not know, and what it needs is declared."""
    form = tolerant(kind)
    assert issubclass(form, kind)
    assert form.model_config["extra"] == "allow"
    assert set(kind.needs) <= kind.model_fields.keys()
    assert all(kind.model_fields[name].is_required() for name in kind.needs)
    form.model_rebuild()


def test_a_newer_coordinators_answer_is_read() -> None:
    """Unknown fields and words are preserved, also in nested answers."""
    job = Job.read({**JOB, "status": "paused", "later": {"a": 1}})
    assert isinstance(job, Job)
    assert (job.status, job["later"], job.later) == ("paused", {"a": 1}, {"a": 1})  # type: ignore[attr-defined]
    assert isinstance(job.error, JobError)
    assert job.error["hint"] == "new"
    assert job.to_dict() == {**JOB, "status": "paused", "later": {"a": 1}}


def test_an_older_coordinators_answer_is_read() -> None:
    """The attribute of a missing field is None, and its item is missing."""
    job = Job.read({"job_id": "job_1", "status": "running"})
    assert job.progress is None
    assert "progress" not in job
    with pytest.raises(KeyError):
        job["progress"]


def test_a_draft_of_a_batch_has_no_id() -> None:
    """A field that may be null is not needed."""
    assert PayoutBatchDetails.read({"status": "draft"}).batch_id is None


@pytest.mark.parametrize(
    "values",
    [{}, {"job_id": "job_1"}, {"job_id": 1, "status": "running"}, {**JOB, "error": "no"}, [JOB], "job", None],
)
def test_something_else_is_not_read(values: Any) -> None:
    """Raises the error of answers, not that of the library."""
    with pytest.raises(MalformedAnswerError):
        Job.read(values)


def test_the_coordinator_constructs_exactly_what_is_declared() -> None:
    """An unknown, a missing or a malformed field is an error."""
    fields: dict[str, Any] = {"balance": "1", "held": "0"}
    assert Wallet(**fields) == fields == Wallet.read(fields)
    for wrong in ({"balance": "1"}, {**fields, "more": 1}, {**fields, "held": 0}):
        with pytest.raises(MalformedAnswerError):
            Wallet(**wrong)


def test_an_answer_that_was_read_can_be_pickled() -> None:
    """Processes pass answers on to each other."""
    page = JobList.read({"jobs": [JOB], "total": 1, "limit": 50, "offset": 0})
    copy = pickle.loads(pickle.dumps(page))  # noqa: S301 - its own bytes
    assert copy == page
    assert isinstance(copy.jobs[0], Job)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (
            Job,
            {
                **JOB,
                "inputs": [{"field": "file", "name": "a.wav", "artifact_id": "sha256:00", "size": 1}],
                "sealed": {"version": 1, "adapters": [], "later": {"a": 1}},
            },
        ),
        (
            Receipt,
            {
                "receipt_id": "receipt_1",
                "job_id": "job_1",
                "miner_id": "miner_1",
                "signature": {"sig": "s", "public_key": "p"},
                "attestations": [{"type": "assignment", "fence": "1"}],
                "created_at": "2024-01-01T12:04:00Z",
                "envelope": {"payloadType": "t", "payload": "p", "signatures": [{"keyid": "", "sig": "s"}]},
            },
        ),
        (Offer, {"offer_id": "offer_1", "requirements": {"gpu": "any", "later": 1}}),
    ],
    ids=["job", "receipt", "offer"],
)
def test_an_answer_as_a_mapping_is_json(kind: type[Record], values: dict[str, Any]) -> None:
    """Users write answers into files; the parts of an answer are typed only as attributes."""
    answer = kind.read(values)
    assert json.loads(json.dumps(dict(answer))) == values == {**answer}


def test_the_jobs_of_a_page_remain_objects() -> None:
    """An answer within an answer is read both ways, also as an item."""
    page = JobList.read({"jobs": [JOB], "total": 1, "limit": 50, "offset": 0})
    assert page["jobs"][0].job_id == page.jobs[0]["job_id"] == "job_1"


def test_printing_an_answer_shows_what_it_has() -> None:
    """Neither fields that were not sent, nor those that do not apply, also in its parts; new fields are shown."""
    job = Job.read(
        {
            "job_id": "job_1",
            "status": "failed",
            "completed_at": None,
            "error": {"code": "A", "message": "B"},
            "new": 1,
        }
    )
    assert str(job) == "job_id='job_1' status='failed' error=JobError(code='A', message='B') new=1"
    assert repr(job) == f"Job({job})".replace("' ", "', ").replace(") ", "), ")
