"""One miner's answers, compared by another: honest ones, and those of other weights, prompts, tokens and seeds."""

from __future__ import annotations

import base64
import json
import math
import shutil
import struct
from decimal import Decimal

import pytest

from agent.miner.honest_limits import honest_limit
from runners.api import Audited, Calibration, Condition, Device, Model, Tools, judge
from runners.audits import HonestRange, run_seed
from runners.llm import LLMRunner
from runners.llm.request import InferenceRequest
from runners.llm.runner import DEFINITION
from support.inputs.language_models import NAME, PERSON, QUESTION

pytestmark = pytest.mark.ship

CPU = {"kind": "cpu", "name": "test processor", "uuid": None}
RANGES = {
    "logprobs": HonestRange(0, 0.01, 10, 0.03),
    "choice": HonestRange(0, 0.01, 10, 0.05),
    "sampling": HonestRange(0, 1, 10, 6),
}


class Audit:
    """Runs a request on one runner and checks it on another."""

    def __init__(self, make_context, miner, auditor, **fields):
        self.make_context, self.auditor = make_context, auditor
        self.request = InferenceRequest(**{"model": NAME, "max_tokens": 24, "prompt": QUESTION, **fields})
        self.nonce = "5e" * 32
        context = make_context()
        context.seed = run_seed("job_1", 4, "miner_1", self.nonce)
        found = miner.run(self.request, context)
        self.results, self.evidence = json.loads(json.dumps([dict(found.results), found.evidence]))
        self.events = context.events

    def check(self, choice="7a", *, fence=4, results=None, evidence=None, **fields):
        request = self.request.model_copy(update=fields)
        predicate = {
            "job_id": "job_1",
            "fence": str(fence),
            "miner_id": "miner_1",
            "model": None,
            "device": CPU,
        }
        engine = self.auditor._engine
        condition = Condition(engine.name, engine.precision, "cpu")
        audited = Audited(
            results or self.results, {"predicate": predicate}, evidence or self.evidence, self.nonce, choice,
            calibrations=[Calibration("llm_inference", condition, condition, RANGES)],
        )  # fmt: skip
        return self.auditor.audit(request, audited, self.make_context())


@pytest.fixture
def audit(make_context, runner):
    return lambda **fields: Audit(make_context, runner, runner, **fields)


@pytest.fixture
def audit_tiny(make_context, tiny_runner):
    return lambda **fields: Audit(make_context, tiny_runner, tiny_runner, model="tiny", **fields)


def test_llama_cpp_an_honest_answer_passes_and_a_changed_one_fails(audit):
    job = audit(temperature=0, max_tokens=32, prompt="Explain what a rainbow is.")
    found = [job.check(choice).comparison for choice in ("1", "2")]
    assert [comparison.verdict for comparison in found] == ["pass"] * 2
    assert all(set(comparison.distances) == {"logprobs", "choice"} for comparison in found)
    other = job.check(prompt="Explain what a rainbow is in French.").comparison
    assert (other.verdict, other.where) == ("fail", "the results")  # its prompt has another length
    system = job.check(prompt="Explain what a mountain is.").comparison
    assert system.verdict == "fail"
    assert system.where.startswith("token ")
    text = job.check(results=job.results | {"text": "A rainbow is grey."}).comparison
    assert (text.verdict, text.reason) == ("fail", "The text of the answer is not that of its tokens.")
    usage = {**job.results["usage"], "completion_tokens": 500}
    assert "500 are metered" in job.check(results=job.results | {"usage": usage}).comparison.reason


def test_transformers_the_tokens_follow_from_the_seed_of_the_run(audit_tiny):
    job = audit_tiny(temperature=0.8, top_p=0.95, presence_penalty=0.5, max_tokens=40)
    honest, other = job.check(), job.check(fence=5)
    assert honest.comparison.verdict == "pass"
    assert honest.comparison.distances == {
        "logprobs": pytest.approx(0, abs=1e-2),
        "choice": pytest.approx(0, abs=1e-3),
    }
    read = job.results["usage"]["prompt_tokens"] + len(tokens_of(job.evidence))
    assert honest.units == Decimal(read) / 10
    assert (other.comparison.verdict, "choice" in other.comparison.reason) == ("fail", True)
    assert other.comparison.distances["logprobs"] == honest.comparison.distances["logprobs"]


def tokens_of(evidence, answer=0):
    packed = base64.b64decode(evidence["answers"][answer]["tokens"])
    return struct.unpack(f"<{len(packed) // 4}I", packed)[::6]


def test_a_client_seed_and_a_schema_are_checked_too(audit_tiny):
    seeded = audit_tiny(temperature=1, seed=7, max_tokens=30)
    assert seeded.check(fence=99).comparison.verdict == "pass"
    assert seeded.check(seed=8).comparison.verdict == "fail"
    form = audit_tiny(temperature=1, response_schema=PERSON, max_tokens=60)
    assert form.check().comparison.verdict == "pass"
    assert form.check(response_schema=None).comparison.verdict == "fail"


def test_one_of_several_answers_is_checked(audit):
    job = audit(temperature=1, n=2, max_tokens=24, prompt="Write a story about 🎉 and 🦊.")
    found = [job.check(choice).comparison for choice in "abcd"]
    assert {comparison.where[:8] for comparison in found} == {"answer 1", "answer 2"}
    assert {comparison.verdict for comparison in found} == {"pass"}
    # Without "sampling" for an answer with a character of several tokens, which have no probabilities.
    assert {*found[0].distances} | {"sampling"} == {"logprobs", "sampling"}


@pytest.mark.parametrize(
    ("distance", "verdict"), [(0.0055, "pass"), (0.017, "fail")], ids=["busy machine", "8-bit weights"]
)
def test_a_calibration_on_a_quiet_machine_accuses_no_busy_one(distance, verdict):
    """The distances were measured with vLLM."""
    quiet = [0.000001] * 8
    limit = honest_limit(quiet, DEFINITION.comparer.least_limits["logprobs"])
    condition = Condition("vllm", "bfloat16", "cpu")
    ranges = {"logprobs": HonestRange(min(quiet), max(quiet), len(quiet), limit)}
    calibration = Calibration("llm_inference", condition, condition, ranges)
    assert judge({"logprobs": distance}, calibration).verdict == verdict


def test_llama_cpp_tokens_that_were_not_drawn_are_found(audit):
    """As of a miner that always chooses the most likely token, and knows the right log-probabilities."""
    honest = audit(temperature=0.8, max_tokens=64, prompt="Explain what a rainbow is.").check().comparison
    assert (honest.verdict, honest.distances["sampling"] < 6) == ("pass", True)
    greedy = audit(temperature=0, max_tokens=64, prompt="Explain what a rainbow is.")
    lie = greedy.check(temperature=0.8).comparison
    assert (lie.verdict, "sampling" in lie.reason) == ("fail", True)
    assert lie.distances["sampling"] > 6 > greedy.check().comparison.distances.get("sampling", 0)


def test_client_sees_only_the_alternatives_that_it_requested(audit):
    job = audit(temperature=0, max_tokens=4, top_logprobs=1)
    assert [len(token["top_logprobs"]) for token in job.results["logprobs"]] == [1] * 4
    assert "logprobs" not in audit(temperature=0, max_tokens=4).results


@pytest.mark.parametrize("raw", [True, False])
def test_a_run_whose_evidence_is_not_used_makes_none(runner, make_context, raw):
    """As sealed ones. The answer and its numbers are the same, and the client's own log-probabilities too."""
    asked = {"model": NAME, "max_tokens": 12, "prompt": QUESTION, "temperature": 0, "raw": raw}
    found = []
    for wanted, more in ((True, {}), (False, {}), (False, {"top_logprobs": 2})):
        context = make_context()
        context.wants_evidence = wanted
        found.append(runner.run(InferenceRequest(**asked, **more), context))
    assert [result.evidence is None for result in found[:2]] == [False, True]
    assert found[0].results == found[1].results
    assert found[0].units == found[1].units
    assert {len(token["top_logprobs"]) for token in found[2].results["logprobs"]} == {2}


def test_tokens_inside_a_character_are_not_lost(audit):
    job = audit(temperature=0, raw=True, prompt="Emoji list: 😀 🎉 🦊 😎 🚀 😀 🎉 🦊", max_tokens=48)
    assert "🎉" in job.results["text"]
    # The last character may be incomplete.
    assert 45 < len(tokens_of(job.evidence)) <= job.results["usage"]["completion_tokens"] == 48
    assert job.check().comparison.verdict == "pass"


def test_requests_that_cannot_be_compared_are_unproven(audit):
    short = audit(temperature=0, max_tokens=3).check().comparison
    assert (short.verdict, "too few" in short.reason) == ("unproven", True)
    tool = {"name": "weather", "parameters": {"type": "object", "properties": {}}}
    called = audit(temperature=0, max_tokens=16, tools=[tool])
    assert called.evidence is None
    assert called.check().comparison.verdict == "unproven"


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: answer | {"tokens": "%%%"},
        lambda answer: answer | {"tokens": answer["tokens"][:-8]},
        lambda answer: answer | {"logprobs": base64.b64encode(struct.pack("<e", math.nan) * 40).decode()},
        lambda _: {},
        lambda answer: [answer],
        lambda answer: answer | {"tokens": 7},
    ],
)
def test_malformed_evidence_fails(audit_tiny, change):
    job = audit_tiny(temperature=0, max_tokens=8)
    answer = job.evidence["answers"][0]
    assert job.check(evidence={**job.evidence, "answers": [change(answer)]}).comparison.verdict == "fail"


def test_other_weights_are_another_model(make_context, tiny, tiny_runner, tmp_path):
    """As a miner has them that saves memory: each matrix has three levels."""
    from transformers import LlamaForCausalLM  # noqa: PLC0415 - ten seconds, only where it runs

    network = LlamaForCausalLM.from_pretrained(tiny)
    for parameter in network.parameters():
        step = parameter.data.abs().max() / 1.5
        parameter.data = (parameter.data / step).round() * step
    network.save_pretrained(tmp_path)
    for file in tiny.iterdir():
        if file.suffix != ".safetensors":
            shutil.copy(file, tmp_path)
    cheat = LLMRunner(Tools(models_dir=tmp_path, batch=1), Device("cpu", "test processor", threads=1))
    cheat.load(Model("tiny", tmp_path, options={"dtype": "float32"}))
    job = Audit(make_context, cheat, tiny_runner, model="tiny", temperature=0.8, max_tokens=60)
    comparison = job.check().comparison
    assert (comparison.verdict, comparison.limits) == ("fail", {"logprobs": 0.03, "choice": 0.05})
    other = job.check(evidence=job.evidence | {"precision": "float16"}).comparison
    assert (other.verdict, other.distances) == ("unproven", comparison.distances)
