"""How far honest and lying miners are from an auditor, for each service, and what an audit costs.

    .venv/bin/python benchmarks/audits.py [--answers 8] [--service llm_inference ...] [--write | --json]
    .venv/bin/python benchmarks/audits.py --costs [--write]
    .venv/bin/python benchmarks/audits.py --honest FILE [--seconds 3600] [--write]
    .venv/bin/python benchmarks/audits.py --network [--miners 500]

`--service vllm` needs the engine: `aitbc-agent engines install vllm`.
--honest runs small honest jobs of all services and audits them, 2,000 in all, and counts in FILE how many fail. A later run goes on there.
--network simulates miners whose auditors are lazy or accomplices, with the rules alone: the table in docs/explanation/audits.md.
--write puts the table into benchmarks/audits.md. Costs are ratios of processor time in one run, so that other work on
the machine changes them little.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

# Idle threads of one side would otherwise take the processor from the other.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import structlog
from measuring.audits import costs as audit_costs
from measuring.audits import honest as audit_honest
from measuring.audits import language as audit_language
from measuring.audits import network as audit_network
from measuring.audits import speech as audit_speech
from measuring.audits import vllm_language as audit_vllm
from measuring.audits.row import Case

PAGE = Path(__file__).with_suffix(".md")


def language(folder: Path, answers: int, notes: list[str]) -> Iterator[Case]:
    """Measure language models."""
    llama = audit_language.LlamaCpp(folder, answers)
    llama.learn_prompts()
    yield from llama.cases()
    cost = llama.cost(max(2, answers // 4))
    notes.append(
        f"Returning log-probabilities costs the audited miner {cost['evidence']:+.1%} of the processor time of the job, and an audit costs {cost['audit']:.1%}, with answers of 256 tokens in "
        "llama.cpp. The demo's model is so small that its vocabulary is a large part of the work, and a processor reads its format (Q4_1) in two fifths of the time of "
        "writing it; larger models and GPUs read many times faster than they write."
    )
    yield from audit_language.Transformers(folder, max(2, answers // 2)).cases()


def vllm(folder: Path, answers: int, _: list[str]) -> Iterator[Case]:
    """Measure language models in vLLM, which must be installed."""
    yield from audit_vllm.VLLM(folder, answers).cases()


def speech(folder: Path, _: int, __: list[str]) -> Iterator[Case]:
    """Measure transcripts."""
    yield from audit_speech.Speech(folder).cases()


def media(folder: Path, _: int, __: list[str]) -> Iterator[Case]:
    """Measure pictures, videos, renderings and Python models."""
    if importlib.util.find_spec("measuring.audits.media") is None:
        return
    audit_media = importlib.import_module("measuring.audits.media")
    groups = defaultdict[tuple[str, str, bool], list[Any]](list)
    for row in audit_media.rows(folder):
        groups[row.service, row.case, row.honest].append(row)
    for (service, case, honest), audits in groups.items():
        names = sorted({name for row in audits for name in row.distances})
        distances = {
            name: tuple(row.distances[name] for row in audits if name in row.distances) for name in names
        }
        failed = sum(row.verdict == "fail" and not row.distances for row in audits)
        yield Case(service, case, honest, distances, failed, len(audits))


HONEST = {
    "llm_inference": 900,
    "image_generation": 500,
    "ai_inference": 300,
    "video_transcoding": 150,
    "whisper_transcription": 100,
    "blender_rendering": 50,
}
"""Honest audits of each service: most of those that cost least."""


def honest(file: Path, seconds: float) -> str:
    """Audit honest miners, and return the section of the page."""
    with tempfile.TemporaryDirectory() as folder:
        record = audit_honest.measure(Path(folder), file, HONEST, seconds)
    return "\n".join(audit_honest.table(record))


def costs() -> str:
    """Return the section of the page about costs."""
    with tempfile.TemporaryDirectory() as folder:
        return "\n".join(audit_costs.table(audit_costs.measure(Path(folder))))


SERVICES = {"llm_inference": language, "whisper_transcription": speech, "media": media, "vllm": vllm}
USUAL = ("llm_inference", "whisper_transcription", "media")
"""What is measured unless services are named: what needs no engine in an environment of its own."""


def table(cases: Iterable[Case]) -> Iterator[str]:
    """Yield the lines of a table: a miner a row, with the least and the greatest of each distance."""
    yield "| miner | honest | audits | distances |"
    yield "|---|---|---|---|"
    for case in cases:
        distances = [f"`{name}` {_range(values)}" for name, values in case.distances.items()]
        if case.failed:
            distances.append(f"{case.failed} fail without one")
        yield f"| {case.case} | {'yes' if case.honest else 'no'} | {case.audits} | {', '.join(distances)} |"


def _range(values: Sequence[float]) -> str:
    least, greatest = (f"{value:.4f}".rstrip("0").rstrip(".") for value in (min(values), max(values)))
    return least if least == greatest else f"{least} to {greatest}"


def write(sections: Mapping[str, str]) -> None:
    """Replace these sections of the page; the others stay."""
    page = PAGE.read_text()
    for name, text in sections.items():
        section = f"## `{name}`\n\n{text.strip()}\n"
        begin, heading, body = page.partition(f"## `{name}`\n")
        _, following, end = body.partition("\n## ")
        page = f"{begin}{section}{following}{end}" if heading else f"{page}\n{section}"
    PAGE.write_text(page)


def main() -> None:
    """Measure, and print or write the tables."""
    parser = argparse.ArgumentParser(description="Measure the distances of audits.")
    parser.add_argument("--answers", type=int, default=8)
    parser.add_argument("--service", action="append", choices=[*SERVICES])
    parser.add_argument("--costs", action="store_true")
    parser.add_argument("--honest", type=Path, metavar="FILE")
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--network", action="store_true")
    parser.add_argument("--miners", type=int, default=500)
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--write", action="store_true")
    output.add_argument("--json", action="store_true")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    if options.network:
        print(*audit_network.table(options.miners), sep="\n")
        return
    if options.costs or options.honest is not None:
        text = costs() if options.costs else honest(options.honest, options.seconds)
        if options.write:
            write({"costs" if options.costs else "honest": text})
        else:
            print(text)
        return
    everything = list[dict[str, Any]]()
    for name in options.service or USUAL:
        notes = list[str]()
        cases = defaultdict[str, list[Case]](list)
        with tempfile.TemporaryDirectory() as folder:
            for case in SERVICES[name](Path(folder), options.answers, notes):
                cases[case.service].append(case)
                everything.append(asdict(case))
                print(case.case, dict(case.distances), file=sys.stderr, flush=True)
        sections = {
            service: "\n".join([*table(rows), "", *(f"{note}\n" for note in notes)])
            for service, rows in cases.items()
        }
        if options.write:
            write(sections)
        elif not options.json:
            print(*(f"{service}\n\n{text}" for service, text in sections.items()), sep="\n")
    if options.json:
        print(json.dumps(everything))


if __name__ == "__main__":
    main()
