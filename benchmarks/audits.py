"""How far honest and lying miners are from an auditor, for each service, and what an audit costs.

    .venv/bin/python benchmarks/audits.py [--answers 8] [--service llm_inference ...] [--write | --json]

--write puts the table into docs/explanation/audits-measured.md. Costs are ratios of processor time in one run, so that other work on
the machine changes them little.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

# Idle threads of one side would otherwise take the processor from the other.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import structlog
from measuring import audit_language, audit_speech
from measuring.audit_row import Case

PAGE = Path(__file__).resolve().parent.parent / "docs" / "explanation" / "audits-measured.md"
RESAMPLED = 2_000_000
"""Audits that are resampled from honest differences."""

HEAD = """# Audits: measured distances

`benchmarks/audits.py --write` writes this page. It ran on a machine with two cores and without a GPU, with the models of the demo. What audits are and prove is in
[Audits](audits.md).

A distance grows with the difference between the audited work and the auditor's own, and fails above the limit of the calibration. An honest case must
stay below all limits; for a lie to be found, one distance must exceed its limit in one of the audited jobs.
"""


def language(folder: Path, answers: int, notes: list[str]) -> Iterator[Case]:
    """Measure language models."""
    llama = audit_language.LlamaCpp(folder, answers)
    llama.learn_prompts()
    yield from llama.cases()
    differences = llama.every_position()
    again = audit_language.resampled(differences, RESAMPLED)
    notes.append(
        f"Honest answers in llama.cpp differ at {len(differences)} positions by {sum(differences) / len(differences):.5f} on average and {max(differences):.5f} at most. "
        f"{RESAMPLED:,} audits of {audit_language.SOME} positions, resampled from these, have distances up to {max(again):.5f}. Resampling assumes that other "
        "answers differ as these do; it says nothing about other machines."
    )
    cost = llama.cost(max(2, answers // 4))
    notes.append(
        f"Returning log-probabilities costs the audited miner {cost['evidence']:+.1%} of the processor time of the job, and an audit costs {cost['audit']:.1%}, with answers of 256 tokens in "
        "llama.cpp. The demo's model is so small that its vocabulary is a large part of the work, and a processor reads its format (Q4_1) in two fifths of the time of "
        "writing it; larger models and GPUs read many times faster than they write."
    )
    yield from audit_language.Transformers(folder, max(2, answers // 2)).cases()


def speech(folder: Path, _: int, __: list[str]) -> Iterator[Case]:
    """Measure transcripts."""
    yield from audit_speech.Speech(folder).cases()


def media(folder: Path, _: int, __: list[str]) -> Iterator[Case]:
    """Measure pictures, videos, renderings and Python models."""
    if importlib.util.find_spec("measuring.audit_media") is None:
        return
    from measuring import audit_media  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - as said

    yield from audit_media.cases(folder)


SERVICES = {"llm_inference": language, "whisper_transcription": speech, "media": media}


def rows(cases: Iterable[Case]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| service | miner | honest | audits | distance | least | mean | greatest |"
    yield "|---|---|---|---|---|---|---|---|"
    for case in cases:
        honest = "yes" if case.honest else "no"
        for name, found in case.distances.items():
            values = " | ".join(f"{value:.4f}" for value in (min(found), sum(found) / len(found), max(found)))
            yield f"| `{case.service}` | {case.case} | {honest} | {len(found)} | {name} | {values} |"
        if case.failed:
            yield f"| `{case.service}` | {case.case} | {honest} | {case.audits} | fails without a distance | {case.failed} | | |"


def main() -> None:
    """Measure, and print or write the table."""
    parser = argparse.ArgumentParser(description="Measure the distances of audits.")
    parser.add_argument("--answers", type=int, default=8)
    parser.add_argument("--service", action="append", choices=[*SERVICES])
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--write", action="store_true")
    output.add_argument("--json", action="store_true")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    cases, notes = list[Case](), list[str]()
    for name in options.service or SERVICES:
        with tempfile.TemporaryDirectory() as folder:
            for case in SERVICES[name](Path(folder), options.answers, notes):
                cases.append(case)
                if not options.json:
                    print(*rows([case]), sep="\n", flush=True)
    if options.json:
        print(json.dumps({"cases": [asdict(case) for case in cases], "notes": notes}))
    elif options.write:
        PAGE.write_text("\n".join([HEAD, *rows(cases), "", *(f"{note}\n" for note in notes)]))
    else:
        print(*notes, sep="\n")


if __name__ == "__main__":
    main()
