"""What the checks of a receipt add up to: an answer to each of the four questions that people have about it.

The JavaScript SDK has the same in `conclusions.ts`; `tests/vectors/receipts.json` fixes the sentences of both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from aitbc._verification.report import Check, Verification
from aitbc.statement import Statement, decimal_text, money

Question = Literal["who", "what", "price", "log"]
Verdict = Literal["proven", "failed", "unchecked"]

QUESTIONS: Final[tuple[Question, ...]] = ("who", "what", "price", "log")

_QUESTION_OF: Final[Mapping[str, Question]] = {
    **dict.fromkeys(
        (
            *("signature", "miner signature", "miner_id", "statement", "attestations", "assignment"),
            *("completion", "attestation"),
        ),
        "who",
    ),
    **dict.fromkeys(("price", "units"), "price"),
    **dict.fromkeys(("origin", "proof", "checkpoint", "inclusion", "witnesses"), "log"),
}
"""The question that a check belongs to, by the check's name; all other checks are about what the job was."""

_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "assignment": ("Assignment", "The coordinator signed that it gave this job to this miner"),
    "attestation": ("Attestation", "What the machine proves about its memory is right"),
    "attestations": ("Confirmations", "The coordinator confirmed the job's beginning and its end"),
    "bundle": ("File", "The file has the form of an exported receipt"),
    "checkpoint": ("Log", "The state of the log is signed with the log's key"),
    "completion": ("Completion", "The coordinator signed that it accepted this result"),
    "created_at": ("Date", "The receipt's date is the one that the coordinator signed"),
    "files": ("Output files", "The output files are the ones that the miner signed"),
    "inclusion": ("Entry", "The log contains this receipt"),
    "job_id": ("Job", "The receipt's job is the signed one"),
    "miner signature": ("Miner's signature", "The miner's signature is valid"),
    "miner_id": ("Miner", "The miner's name follows from its key"),
    "origin": ("Network", "The receipt is for the network whose key was used"),
    "price": ("Price", "The price is at most what was metered"),
    "proof": ("Proof", "The proof can be read"),
    "receipt": ("Receipt", "The receipt can be read"),
    "receipt_id": ("Receipt", "The receipt's number belongs to the job"),
    "results": ("Result", "The result is the one that the miner signed"),
    "sealed": ("Sealed", "The sealed answer belongs to this client's request"),
    "sealed request": ("Sealed request", "The sealed request is this client's"),
    "sealed results": (
        "Sealed result",
        "The result opens with your key, and is the one that the miner signed",
    ),
    "signature": ("Copy of the signature", "The copy of the miner's signature is the same"),
    "statement": ("Statement", "The statement names the miner that signed it"),
    "times": ("Times", "The job ran between its assignment and its completion"),
    "units": ("Units", "The metered units are those of the result"),
    "witnesses": ("Witnesses", "As many witnesses signed the log's state as the policy requires"),
}
"""By the check's name: its subject, and a sentence for when it passed."""


_FAILURES: Final[Mapping[Question, Sequence[tuple[frozenset[str], str]]]] = {
    "who": (
        (
            frozenset({"attestations", "assignment", "completion"}),
            "The miner {miner} signed it, but the coordinator's confirmation is not valid.",
        ),
        (frozenset({"attestation"}), "What the machine claims about its memory is not proven."),
        (frozenset(), "The receipt names somebody else than the miner that signed it."),
    ),
    "what": (
        (frozenset({"results", "sealed results"}), "The result is not the one that the miner signed."),
        (frozenset({"files", "artifact "}), "An output file is not one that the miner signed."),
        (
            frozenset({"sealed", "sealed request"}),
            "It does not answer the request that this client sealed.",
        ),
        (frozenset({"job_id", "receipt_id"}), "It contradicts what the miner signed about the job."),
        (frozenset(), "Its times contradict each other."),
    ),
    "price": (
        (frozenset({"price"}), "The price is higher than the metered work allows."),
        (frozenset(), "The metered work is not that of the result."),
    ),
    "log": (
        (
            frozenset({"proof", "checkpoint", "inclusion"}),
            "The log of {network} does not prove that it contains this receipt.",
        ),
        (frozenset(), "Too few witnesses have signed the state of the log."),
    ),
}
"""What a failed check means, by its name: the first that fits, of which the last is without names."""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The answer to one question about a receipt, with the `checks` behind it.

    `question` is who (signed it), what (ran), price or log. `verdict` is `unchecked` where nothing contradicts the receipt but
    something needed for a proof is absent. `sentence` states the answer to a person.
    """

    question: Question
    verdict: Verdict
    sentence: str
    checks: tuple[Check, ...]


def other_network(outcome: Verification) -> str | None:
    """Return the name of the network whose receipt this is, if it is signed by a miner but the log key used is another network's."""
    foreign = any(check.name == "origin" and not check.ok for check in outcome.checks)
    return outcome.statement.origin if foreign and outcome.statement else None


def check_words(check: Check) -> str:
    """Return a check as a sentence. That of a failed one has its subject and what is wrong."""
    subject, passed = _words_of(check.name)
    return f"{passed}." if check.ok else f"{subject}: {check.message}"


def _words_of(name: str) -> tuple[str, str]:
    prefix, is_file, file = name.rpartition("artifact ")
    if is_file:
        return f"{prefix.capitalize()}File {file}", f"The file {file} is an output that the miner signed"
    return _WORDS.get(name, (name.capitalize(), f"{name.capitalize()} is right"))


def conclusions(outcome: Verification) -> tuple[Conclusion, ...]:
    """Return what the checks prove, one conclusion for each question: who, what, price, log."""
    by_question: dict[Question, list[Check]] = {question: [] for question in QUESTIONS}
    for check in outcome.checks:
        by_question[_QUESTION_OF.get(check.name, "what")].append(check)
    return tuple(_conclusion(question, tuple(by_question[question]), outcome) for question in QUESTIONS)


def _conclusion(question: Question, checks: tuple[Check, ...], outcome: Verification) -> Conclusion:
    statement = outcome.statement
    failed = {check.name for check in checks if not check.ok}
    passed = {check.name for check in checks if check.ok}
    verdict: Verdict
    if statement is None:
        verdict, sentence = _unreadable(question, failed, signed=outcome.miner_signature_valid)
    elif other_network(outcome) is not None:
        # Without its coordinator's key, the signature only shows that some key signed some words.
        verdict, sentence = "unchecked", _foreign(question, statement)
    elif failed:
        verdict, sentence = "failed", _failure(question, failed, statement)
    elif question == "what" and "results" not in passed:
        verdict, sentence = (
            "unchecked",
            f"{_run(statement)}. The file lacks the result, so only the statement was checked.",
        )
    elif question == "log" and "inclusion" not in passed:
        verdict = "unchecked"
        sentence = (
            "The file lacks the proof that the log contains the receipt. Export the receipt again to get it."
        )
    else:
        verdict, sentence = "proven", _proof(question, statement, outcome.log_index)
    return Conclusion(question, verdict, sentence, checks)


def _unreadable(question: Question, failed: Iterable[str], *, signed: bool) -> tuple[Verdict, str]:
    if question == "who" and failed:
        reason = "its statement cannot be read" if signed else "the miner's signature is not valid"
        return "failed", f"Nobody vouches for this receipt: {reason}."
    if question == "what" and failed:
        return "failed", "The file is not a receipt that can be read."
    return "unchecked", "Not checked, because the receipt has no valid statement of a miner."


def _foreign(question: Question, statement: Statement) -> str:
    return {
        "who": f"A miner, {statement.miner_id}, signed it for the network {statement.origin}. The key of that network is needed to "
        "check who confirmed it.",
        "what": f"{_run(statement)}, according to the miner.",
        "price": f"{_price(statement)}, according to the miner.",
        "log": f"The log of {statement.origin} was not checked, because its key is needed.",
    }[question]


def _failure(question: Question, failed: set[str], statement: Statement) -> str:
    for causes, sentence in _FAILURES[question]:
        if not causes or any(name in causes or name.rpartition("artifact ")[1] in causes for name in failed):
            return sentence.format(miner=statement.miner_id, network=statement.origin)
    raise AssertionError(question)  # each list ends with a sentence for all causes


def _proof(question: Question, statement: Statement, log_index: int | None) -> str:
    outputs = len(statement.subject) - 1
    files = f" and {outputs} output file{'' if outputs == 1 else 's'}" if outputs else ""
    return {
        "who": f"The miner {statement.miner_id} signed it, and the coordinator of {statement.origin} confirmed it.",
        "what": f"{_run(statement)}. Its result{files} {'are' if files else 'is'} unchanged since the miner signed.",
        "price": f"{_price(statement)}.",
        "log": f"The public log of {statement.origin} contains it for good, as entry {log_index}.",
    }[question]


def _run(statement: Statement) -> str:
    return f"The job {statement.job_id} ({statement.service}) was done at {statement.finished_at}"


def _price(statement: Statement) -> str:
    return (
        f"{money(statement.price)} credits, for {decimal_text(statement.units)} of the unit {statement.unit}"
    )
