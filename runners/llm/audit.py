"""Audits of language models: the auditor's model reads prompt and answer at once, and its expectations are compared with the miner's."""

from __future__ import annotations

import random
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from runners.api import Audited, AuditResult, Comparer, Comparison, Condition, Context, Device, judge
from runners.audits import failed
from runners.llm.comparison import (
    LEAST_TOKENS,
    SHARE,
    AuditedClaim,
    Malformed,
    check_counts,
    check_text,
    chosen_positions,
    compared,
    read_claim,
)
from runners.llm.engines.base import AnswerTokens, Draw, LanguageEngine
from runners.llm.request import InferenceRequest
from runners.llm.sampling import samples_plainly, sampling_distance

IMAGES = "Answers about images are not compared."

LEAST_LIMITS = {"logprobs": 0.01, "choice": 0.015, "sampling": 6.0}
"""Least limits of the distances. Honest answers of vLLM that differ by 0.000001 on a quiet machine differed by 0.0055 on a busy one, where other
requests share a batch and its sums are rounded in another order. Weights of 8 bits begin at 0.017."""

COMPARER = Comparer(
    "Another machine reads the prompt and the answer, and checks that this model would have written it.",
    cost="prefill",
    least_limits=LEAST_LIMITS,
)


def unprovable(parameters: Mapping[str, Any]) -> str | None:
    """Return why comparing an answer to this request proves nothing and what to change, None if it does."""
    request = InferenceRequest.model_validate(parameters)
    if request.only_tokens:
        return "Numbers of tokens are not compared."
    if request.max_tokens < LEAST_TOKENS:
        return f"Answers of fewer than {LEAST_TOKENS} tokens are not compared. Request a larger `max_tokens`."
    return IMAGES if request.images else None


def audit(
    engine: LanguageEngine, device: Device, request: InferenceRequest, audited: Audited, context: Context
) -> AuditResult:
    """Compare an answer, chosen at random if there are several."""
    if request.images:
        return AuditResult(Comparison("unproven", IMAGES))
    if audited.evidence is None:
        reason = (
            "The miner returned no log-probabilities, because its engine reports none for such a request."
        )
        return AuditResult(Comparison("unproven", reason, cause="miner"))
    prompt = engine.prompt_tokens(request)
    try:
        claim = read_claim(audited.results, audited.evidence or {}, request.n)
        check_counts(claim, request, len(prompt))
        index = random.Random(audited.choice).randrange(request.n)  # noqa: S311 - the seed is the secret
        answer = [token.token for token in claim.answers[index].tokens]
        check_text(claim.results.all_answers[index].model_dump(), engine.text(answer))
    except Malformed as error:
        return AuditResult(failed("the results", str(error)), _units(len(prompt)))
    # Only after the miner has committed to its evidence is the choice known to anybody.
    positions = chosen_positions(audited.choice, claim.answers[index], partly=engine.reads_partly)
    if len(positions) < LEAST_TOKENS:
        reason = f"The answer has fewer than {LEAST_TOKENS} tokens, too few to compare."
        return AuditResult(Comparison("unproven", reason), _units(len(prompt)))
    # A seed of the client comes first, in the run as in the audit.
    seed = str(request.seed) if request.seed is not None else audited.seed
    draw = Draw(seed, index) if engine.seeded and claim.seeded and seed is not None else None
    text = AnswerTokens(prompt, answer, positions, draw)
    return _compare(engine, device, request, audited, context, claim, index, text)


def _compare(
    engine: LanguageEngine,
    device: Device,
    request: InferenceRequest,
    audited: Audited,
    context: Context,
    claim: AuditedClaim,
    index: int,
    text: AnswerTokens,
) -> AuditResult:
    evident, units = claim.answers[index], _units(len(text.prompt) + text.positions[-1] + 1)

    def step() -> None:
        context.check()
        context.progress(50, units)

    difference = compared(text.positions, evident, engine.read(request, text), step)
    calibration = audited.calibration(
        Condition(claim.engine, claim.precision, audited.device),
        Condition(engine.name, engine.precision, device.category),
    )
    distances, tokens = difference.distances(), evident.tokens
    if text.draw is None and samples_plainly(request, tokens):
        distances["sampling"] = sampling_distance(request, tokens)
    location = f"answer {index + 1}, " if request.n > 1 else ""
    comparison = judge(
        distances, calibration, where=location + difference.where(engine.text), of="the answer"
    )
    return AuditResult(comparison, units)


def _units(tokens: int) -> Decimal:
    return Decimal(tokens) / SHARE
