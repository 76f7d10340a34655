"""How far honest and lying miners are from an auditor, for each service, and what an audit costs.

    .venv/bin/python benchmarks/audits.py [--answers 8] [--service llm_inference ...] [--write | --json]
    .venv/bin/python benchmarks/audits.py --costs [--write]
    .venv/bin/python benchmarks/audits.py --honest FILE [--seconds 3600] [--write]
    .venv/bin/python benchmarks/audits.py --network [--miners 500]

`--service vllm` needs the engine: `aitbc-agent engines install vllm`.
--honest runs small honest jobs of all services and audits them, 2,000 in all, and counts in FILE how many fail. A later run goes on there.
--network simulates miners whose auditors are lazy or accomplices, with the rules alone: the table in docs/explanation/audits.md.
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
from measuring.audits import costs as audit_costs
from measuring.audits import honest as audit_honest
from measuring.audits import language as audit_language
from measuring.audits import network as audit_network
from measuring.audits import speech as audit_speech
from measuring.audits import vllm_language as audit_vllm
from measuring.audits.row import Case

PAGE = Path(__file__).resolve().parent.parent / "docs" / "explanation" / "audits-measured.md"

HEAD = """# Audits: measured distances

`benchmarks/audits.py --write` writes such tables. Those below come from several runs of it, on a machine with two cores and without a GPU, with the models of the demo; the
number of audits in each row is small.

A distance grows with the difference between the audited work and the auditor's own. An audit fails above the limit of the calibration
(`configs/calibrations.toml`, or the owner's own from `aitbc-agent calibrate`): at least one and a half times the greatest honest distance, and six standard deviations above the mean, each of the variant (threads, requests together) with the greatest.

## Language models

The miner returns the numbers of the tokens and the log-probabilities of the five most likely tokens at each. The auditor reads prompt and answer and compares. Three distances follow.

* `logprobs`: at each position, the mean square difference of these log-probabilities; of an answer, the value that a third of the positions exceed. A mean over the positions would be
  decided by few of them: where one token is nearly certain, the log-probabilities of the others differ by much between honest runs.
* `choice`, where the engine can repeat the choice: by how much another token would have been preferred. transformers repeats the choice of each token from the seed of the run, with penalties, biases and schemas. llama.cpp and vLLM do so at temperature 0 only.
* `sampling`, in llama.cpp and vLLM at other temperatures: whether the tokens can have been drawn from the returned log-probabilities, at the temperature, `top_k` and `top_p` of the request. It is the decimal logarithm of a likelihood ratio whose mean is at most 1 in honest runs, so that
  an honest answer exceeds 6 with a probability below 10^-6, at any length (`runners/llm/sampling.py`). Penalties, biases, schemas and characters of several tokens exclude the test.

What this finds and what it does not:

* A miner that lets other weights write the text and the named model read it once is found by `choice` in transformers. In llama.cpp and vLLM it is found by `sampling` if the two models differ enough for the length of the answer: text of Q4_0 weights that Q4_1 read reached 4.5
  in 240 tokens, and text for another system prompt 0.3. Shorter answers and closer models are not found. A miner that always chooses the most likely token is found in about 50 tokens, one that draws at a temperature of 0.4 or 1.3 instead of 0.8 in about 250.
* The evidence is read at random positions only in llama.cpp on a processor, which reads little faster than it writes: a random beginning of the answer, a sixth of a long one on average, at sixteen positions. On a GPU it reads everything.
* llama.cpp computes 4-bit and 8-bit formats with activations of 8 bits. Any difference in the order of its sums, as between one request alone and four together, moves them to another of 256 steps, and thirty layers amplify that. Runs that are computed alike are equal to the last bit; all
  others differ by as much as this rounding, and no choice of kernel changes that (flash attention, repacked weights and other batch sizes were tried). So weights in 8 or 16 bits that were made from the 4-bit ones cannot be distinguished from them: they are the same weights, computed more exactly, and cost the
  miner more. Other 4-bit and 5-bit weights, and other system prompts, lie beyond.
* One of several answers (`n`) is checked. Answers to requests with tools in llama.cpp, to requests for log-probabilities in vLLM, about images, and of fewer than eight tokens are `unproven`. Answers that follow a schema are compared as others are.
* The number of metered tokens must be that of the prompt and the tokens, and the text must be that of the tokens. Calls of tools are not compared with the tokens.
* vLLM's build for processors computes a text in the same way alone and in a batch, on one thread and on two: honest runs are equal but for the rounding of the evidence. Its kernels for GPUs sum in other orders, and no card has been
  measured. Weights rounded to 8 bits have a distance of at least 0.017 here.

## Transcripts

The auditor transcribes a random minute again. `words` is the share of words that differ, by the fewest changes; `seconds` is the mean difference of the times of equal words. With a temperature above 0, the verdict is `unproven`.

Whisper discards a text that its own model finds unlikely or repetitive and draws another one at random, so that two honest transcripts of hardly understandable speech have no word in common. The auditor therefore leaves out the passages where its own first
text is within a tenth of these thresholds, and nothing in them is checked. A known answer is compared in the same way.

## Videos, pictures, renderings and Python models

The distances of videos are by how much more of the input the audited file loses than the auditor's own (`ssim`, `psnr`), by how much more it resembles its own blurred pictures (`detail`), how much of the bitrate is missing, and how far the sound differs. Each row of videos has one audit at the
usual quality and one at 500 kbit/s, of clips that are simple, detailed, or so noisy that they hardly can be encoded. Rows without `detail` were measured before that distance existed. Half of the resolution loses no more of the noise at 500 kbit/s, but its `detail` is 10 decibels there, and at most 1.6 between honest presets; a box in it is found by
`psnr` alone. The bitrate of videos shorter than the window is not compared, because encoders reach it after some seconds only; the auditor's own encoding has the requested one instead. The diffusion model is the demo's, which is untrained. A Python model that is random is `unproven`.

"""


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
    for (service, case, honest), found in groups.items():
        names = sorted({name for row in found for name in row.distances})
        distances = {
            name: tuple(row.distances[name] for row in found if name in row.distances) for name in names
        }
        failed = sum(row.verdict == "fail" and not row.distances for row in found)
        yield Case(service, case, honest, distances, failed, len(found))


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
