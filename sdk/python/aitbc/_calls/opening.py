"""Opens the answers to sealed jobs where they arrive: results, events, logs and receipts.

Of a job that this client remembers to have sealed, nothing is accepted that the job's miner did not seal for that request. Of
any other job, the client cannot know whether it was sealed or to whom, and says so.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from aitbc._http import events
from aitbc._http.flow import Answer, Emit, Flow, Session, Stream, query, segment
from aitbc._http.sealing import SealedFile, cache, require_sealed
from aitbc.answers.jobs import Job, JobEvent, JobLog, JobLogEntry, JobResults
from aitbc.canonical import b64decode
from aitbc.dsse import open_envelope
from aitbc.errors import VerificationError
from aitbc.keys import miner_id
from aitbc.outputs import output_files
from aitbc.sealing import AnswerOpener
from aitbc.sealing.answer import EVENT_KIND, LOG_SOURCE
from aitbc.sealing.memory import SealedRequest
from aitbc.statement import PAYLOAD_TYPE, parse_statement


def sealed_request(session: Session, /, job_id: str) -> Flow[SealedRequest | None]:
    """Return what this client sealed as this job, as it remembers it; None for a job that it has not sealed, or has forgotten."""
    # This makes the function a flow, as all calls are, although it needs no request.
    yield from ()
    return session.sealing.memory.get(job_id)


def _described(session: Session, job_id: str) -> Flow[AnswerOpener | None]:
    """Return what opens the answer to a job that is not in the memory, as the coordinator describes the job; None if it is not sealed."""
    unconfirmed_opener = session.sealing.unconfirmed.get(job_id)
    if unconfirmed_opener is not None:
        return unconfirmed_opener
    job = yield from query(session, f"/v1/jobs/{segment(job_id)}", Job)
    if job.sealed is None or job.miner_id is None:
        return None
    request_id = str(job.sealed.get("request_id"))
    # A client that was stopped before it knew the job remembers the miner of its request.
    request = session.sealing.memory.get(request_id)
    described = SealedRequest(job.miner_id, request_id, str(job.sealed.get("reply_key")))
    opener = session.sealing.new_opener(job_id, request or described)
    # Apart from the confirmed ones, so that a guess never becomes knowledge.
    cache(session.sealing.unconfirmed, job_id, opener)
    return opener


def _doubt(session: Session, job_id: str, *, is_sealed: bool) -> dict[str, Any]:
    """Return the marks of an answer that was not opened with this client's memory. Without a key, nothing was ever sealed."""
    if is_sealed:
        advice = "Its answer was opened as the coordinator describes the job, so it may be that of another miner, or to another request."
    # Somebody who has never sealed anything needs no warning about it.
    elif session.sealing.path.exists():
        advice = "If you did seal it, do not trust what the coordinator returned."
    else:
        return {"opened": False}
    return {"opened": False, "caution": f"This client has no memory of sealing job {job_id}. {advice}"}


def _marked(answer: Mapping[str, Any], marks: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer with the client's own marks, which the coordinator must not set."""
    return {**{name: value for name, value in answer.items() if name != "caution"}, **marks}


def open_results(
    session: Session, answer: JobResults, job_id: str, *, opened: bool = True
) -> Flow[JobResults]:
    """Return a job's results, opened if they are sealed. From then on, this client opens their files when it downloads them.

    Unless `opened`, return them as the miner signed them. Raises `VerificationError` for results that the miner of a job in
    the memory has not sealed.
    """
    # The id that was asked for, since the coordinator could return another job's results under another id.
    fields = {**answer.to_dict(), "job_id": job_id}
    opener = session.sealing.opener(job_id)
    is_sealed = isinstance(answer.results.get("sealed"), Mapping)
    if opener is None and is_sealed and opened:
        opener = yield from _described(session, job_id)
    if opener is None:
        return JobResults.read(_marked(fields, _doubt(session, job_id, is_sealed=False)))
    content = opener.results(answer.results)
    if not opened:
        return JobResults.read(_marked(fields, {"opened": False}))
    sealed_files = output_files(answer.results)
    # The coordinator stores the files and could exchange them; the sealed list says which ones the miner made.
    listed = {file.artifact_id for file in output_files(content.results)}
    if len(sealed_files) != len(content.files) or not listed <= {file.artifact_id for file in sealed_files}:
        raise VerificationError(f"The output files of job {job_id} are not those that its miner sealed.")
    for number, (file, described) in enumerate(zip(sealed_files, content.files, strict=True)):
        key = opener.file_key(answer.results, number)
        sealed_file = SealedFile(key, int(described["size"]), str(described["sha256"]))
        cache(session.sealing.files, file.artifact_id, sealed_file)
    return JobResults.read(_marked({**fields, "results": content.results}, _marks(session, job_id)))


def _marks(session: Session, job_id: str) -> dict[str, Any]:
    """Return what an opened answer says: whether this client remembers the job."""
    return {"opened": True} if job_id in session.sealing.openers else _doubt(session, job_id, is_sealed=True)


def open_log(session: Session, log: JobLog, job_id: str) -> Flow[JobLog]:
    """Return a job's log, opened if it is sealed. The reason of a failure is its last line.

    Raises `VerificationError` for a line that the miner of a job in the memory has not sealed.
    """
    sealed_lines = [entry for entry in log.entries if entry.source == LOG_SOURCE]
    opener = session.sealing.opener(job_id)
    # Anybody on the way could have added a line in clear.
    if opener is not None and len(sealed_lines) < len(log.entries):
        raise VerificationError(
            f"The coordinator returned lines in clear in the log of job {job_id}, which was sealed. Do not trust them."
        )
    if opener is None and sealed_lines:
        opener = yield from _described(session, job_id)
    if opener is None:
        return JobLog.read(_marked(log.to_dict(), _doubt(session, job_id, is_sealed=False)))
    lines, truncated = _opened_lines(opener, sealed_lines)
    content = {"job_id": job_id, "entries": lines, "truncated": log.truncated or truncated}
    return JobLog.read({**content, **_marks(session, job_id)})


def _opened_lines(opener: AnswerOpener, sealed_lines: list[JobLogEntry]) -> tuple[list[dict[str, Any]], bool]:
    """Return the lines of all runs, and whether some are missing."""
    lines: list[dict[str, Any]] = []
    truncated = False
    # Each run seals its log as one text, which the coordinator stores in lines.
    for attempt in sorted({entry.attempt for entry in sealed_lines}):
        parts = [entry for entry in sealed_lines if entry.attempt == attempt]
        content = opener.log("".join(entry.text for entry in parts))
        truncated = truncated or bool(content["truncated"])
        lines += [
            {
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(item["time"])),
                "attempt": attempt,
                "source": item["source"],
                "text": item["text"],
            }
            for item in content["entries"]
        ]
        if (failure := content["failure"]) is not None:
            text = f"{failure['message']} ({failure['code']})"
            lines.append({"time": parts[-1].time, "attempt": attempt, "source": "failure", "text": text})
    return lines, truncated


def follow(
    session: Session, /, job_id: str, *, after: int | None = None, timeout: float | None = None
) -> Stream[JobEvent]:
    """Yield the events of a job as `aitbc._http.events.follow` does, those of a sealed job opened."""
    opener = session.sealing.opener(job_id)
    answer: Answer = None
    with closing(events.follow(session, job_id, after=after, timeout=timeout)) as following:
        while True:
            try:
                command = following.send(answer)
            except StopIteration:
                return
            if isinstance(command, Emit):
                event: JobEvent | None = command.item
                # Only now is it clear that the job is sealed, which its id does not say.
                if opener is None and command.item.kind == EVENT_KIND:
                    opener = yield from _described(session, job_id)
                if opener is not None:
                    event = _opened(opener, command.item, is_own=job_id in session.sealing.openers)
                answer = None if event is None else (yield Emit(event))
                continue
            answer = yield command


follow.__doc__ = f"""{events.follow.__doc__}
    Raises `VerificationError` for an event with content that the miner of a job that this client sealed has not sealed.
    """


def _opened(opener: AnswerOpener, event: JobEvent, *, is_own: bool) -> JobEvent | None:
    """Return the event of a sealed job for the caller, None for a repeated one."""
    if event.kind == EVENT_KIND:
        content = opener.event(event.data)
        return None if content is None else JobEvent(content[0], content[1], event.seq, opened=is_own)
    if event.kind == "resync":
        # After a gap the coordinator repeats the outputs so far, which would otherwise be dropped as repeated ones.
        opener.restart()
    if is_own and event.job is None:
        require_sealed(event.kind, event.data)
    return event


def check_receipt(session: Session, job_id: str, receipt: Mapping[str, Any], results: Any = None) -> None:
    """Raise `VerificationError` unless the receipt of a job that this client sealed is about its request, and about the `results`.

    The miner's signature is verified, the coordinator's part of the receipt is not. Other jobs pass.
    """
    opener = session.sealing.opener(job_id)
    if opener is None:
        return
    # The key is the receipt's own, which is enough: the id that follows from it is compared below.
    identity = b64decode(str(receipt["signature"].get("public_key")))
    statement = parse_statement(open_envelope(receipt.get("envelope"), identity, PAYLOAD_TYPE))
    wrong = opener.errors_of(statement, results)
    if miner_id(identity) != statement.miner_id:
        wrong.append("another miner signed it")
    if wrong:
        raise VerificationError(
            f"The receipt of job {job_id} is not about what was sealed: {'; '.join(wrong)}."
        )
