"""How far honest and lying miners are from an auditor, for each service, and what an audit costs.

    .venv/bin/python benchmarks/audits.py [--answers 8] [--service llm_inference ...] [--write | --json]
    .venv/bin/python benchmarks/audits.py --honest FILE [--seconds 3600] [--write]

--honest runs small honest jobs of all services and audits them, 2,000 in all, and counts in FILE how many fail. A later run goes on there.
--write puts the table into docs/explanation/audits-measured.md. Costs are ratios of processor time in one run, so that other work on
the machine changes them little.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

# Idle threads of one side would otherwise take the processor from the other.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import structlog
from measuring import audit_honest, audit_language, audit_speech
from measuring.audit_row import Case

from runners.llm.comparison import SOME

PAGE = Path(__file__).resolve().parent.parent / "docs" / "explanation" / "audits-measured.md"
RESAMPLED = 2_000_000
"""Audits that are resampled from honest differences."""

HEAD = """# Audits: measured distances

`benchmarks/audits.py --write` writes such tables. Those below come from several runs of it, on a machine with two cores and without a GPU, with the models of the demo; the
number of audits in each row is small.

A distance grows with the difference between the audited work and the auditor's own. An audit fails above the limit of the calibration
(`configs/calibrations.toml`, or the owner's own from `aitbc-agent calibrate`): at least one and a half times the greatest honest distance, and six standard deviations above the mean.

## Language models

The miner returns the numbers of the tokens and the log-probabilities of the five most likely tokens at each. The auditor reads prompt and answer and compares. `logprobs` is the mean difference of these log-probabilities; `choice` is by how much another token would have been preferred.

* In **transformers** the auditor reads the whole answer in one step and repeats the choice of each token from the seed of the run, with penalties, biases and schemas. Tokens that another model chose are found even if the log-probabilities are right.
* In **llama.cpp** and **vLLM** the choice is checked at temperature 0 only, since their samplers do not reveal it. At other temperatures, a miner that lets a cheaper model write the text, and the named model read it once for the log-probabilities, is not found. vLLM's part has not been tried on a machine with vLLM.
* llama.cpp on a processor reads little faster than it writes. So an audit reads a random beginning of the answer, a fifth of a long one on average, and compares eight positions. On a GPU it reads everything.
* llama.cpp computes some formats differently when four or more requests run together (Q4_1 on a processor does, F16 does not), which moves log-probabilities further than 8-bit weights do. The calibration contains such runs, so with Q4_1 only greater lies are found.
* One of several answers (`n`) is checked. Answers to requests with tools in llama.cpp, to requests for log-probabilities in vLLM, about images, and of fewer than eight tokens are `unproven`. Answers that follow a schema are compared as others are.
* The number of metered tokens must be that of the prompt and the tokens, and the text must be that of the tokens. Calls of tools are not compared with the tokens.

## Transcripts

The auditor transcribes a random minute again. `words` is the share of words that differ, by the fewest changes; `seconds` is the mean difference of the times of equal words. With a temperature above 0, the verdict is `unproven`.

## Videos, pictures, renderings and Python models

The distances of videos are by how much more of the input the audited file loses than the auditor's own (`ssim`, `psnr`), how much of the bitrate is missing, and how far the sound differs. Each row of videos has one audit at the usual quality and one at 500 kbit/s, of clips that are simple, detailed, or so noisy that they hardly can be encoded.
Half of the resolution is not found in the noisy clip at 500 kbit/s, since it loses no more of the input there; a box in it is found by `psnr` alone. The diffusion model is the demo's, which is untrained. A Python model that is random is `unproven`.

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
        f"{RESAMPLED:,} audits of {SOME} positions, resampled from these, have distances up to {max(again):.5f}. Resampling assumes that other "
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
    audit_media = importlib.import_module("measuring.audit_media")
    groups = defaultdict[tuple[str, str, bool], list[Any]](list)
    for row in audit_media.rows(folder):
        groups[row.service, row.case, row.honest].append(row)
    for (service, case, honest), found in groups.items():
        names = sorted({name for row in found for name in row.distances})
        distances = {
            name: tuple(row.distances[name] for row in found if name in row.distances) for name in names
        }
        failed = sum(row.verdict == "fail" and not row.distances for row in found)
        yield Case(service, case, honest, distances, failed, len(found))


HONEST = {
    "llm_inference": 1650,
    "image_generation": 120,
    "video_transcoding": 80,
    "ai_inference": 70,
    "whisper_transcription": 60,
    "blender_rendering": 20,
}
"""Honest audits of each service: most of those that cost least."""


def honest(file: Path, seconds: float) -> str:
    """Audit honest miners, and return the section of the page."""
    with tempfile.TemporaryDirectory() as folder:
        record = audit_honest.measure(Path(folder), file, HONEST, seconds)
    return "\n".join(audit_honest.table(record))


SERVICES = {"llm_inference": language, "whisper_transcription": speech, "media": media}


def table(cases: Iterable[Case]) -> Iterator[str]:
    """Yield the lines of a table."""
    yield "| miner | honest | audits | distance | least | mean | greatest |"
    yield "|---|---|---|---|---|---|---|"
    for case in cases:
        honest = "yes" if case.honest else "no"
        for name, found in case.distances.items():
            values = " | ".join(f"{value:.4f}" for value in (min(found), sum(found) / len(found), max(found)))
            yield f"| {case.case} | {honest} | {len(found)} | {name} | {values} |"
        if case.failed:
            yield f"| {case.case} | {honest} | {case.audits} | none: {case.failed} fail without one | | | |"


def write(sections: Mapping[str, str]) -> None:
    """Replace these sections of the page; the others stay."""
    old = PAGE.read_text() if PAGE.is_file() else ""
    parts = dict(re.findall(r"^## `(\w+)`\n\n(.*?)(?=^## |\Z)", old, re.MULTILINE | re.DOTALL))
    known = {name: text.strip() for name, text in (parts | dict(sections)).items()}
    body = "\n\n".join(f"## `{name}`\n\n{known[name]}" for name in sorted(known))
    PAGE.write_text(f"{HEAD}\n{body}\n")


def main() -> None:
    """Measure, and print or write the tables."""
    parser = argparse.ArgumentParser(description="Measure the distances of audits.")
    parser.add_argument("--answers", type=int, default=8)
    parser.add_argument("--service", action="append", choices=[*SERVICES])
    parser.add_argument("--honest", type=Path, metavar="FILE")
    parser.add_argument("--seconds", type=float, default=3600)
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--write", action="store_true")
    output.add_argument("--json", action="store_true")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    if options.honest is not None:
        text = honest(options.honest, options.seconds)
        write({"honest": text}) if options.write else print(text)
        return
    everything = list[dict[str, Any]]()
    for name in options.service or SERVICES:
        notes = list[str]()
        cases = defaultdict[str, list[Case]](list)
        with tempfile.TemporaryDirectory() as folder:
            for case in SERVICES[name](Path(folder), options.answers, notes):
                cases[case.service].append(case)
                everything.append(asdict(case))
                print(case.case, dict(case.distances), file=sys.stderr, flush=True)
        sections = {
            service: "\n".join([*table(found), "", *(f"{note}\n" for note in notes)])
            for service, found in cases.items()
        }
        if options.write:
            write(sections)
        elif not options.json:
            print(*(f"{service}\n\n{text}" for service, text in sections.items()), sep="\n")
    if options.json:
        print(json.dumps(everything))


if __name__ == "__main__":
    main()
