"""How transformers chooses the next token: what the request asks for, and the noise that follows from a seed.

A token is drawn by adding Gumbel noise to the logits and taking the greatest sum, which is a draw from their distribution. The noise
depends on the seed, the token's number and the position only, so anybody who knows the seed can repeat the choice.
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Any

from runners.api import Fail
from runners.llm.call_syntax import PLAIN
from runners.llm.engines.base import Draw
from runners.llm.engines.enforcing import answer_grammar
from runners.llm.engines.loading import LoadedNetwork
from runners.llm.evidence import TOP, TokenEvidence
from runners.llm.request import InferenceRequest


def gumbel(draw: Draw, position: int, count: int) -> Any:
    """Return the noise for each token at a position of an answer: the same numbers on every machine.

    Philox is a counter-based generator whose stream NumPy does not change between versions.
    """
    import numpy as np  # noqa: PLC0415 - the coordinator has no engine

    digest = hashlib.sha256(f"{draw.seed} {draw.index} {position}".encode()).digest()
    bits = np.random.Philox(key=int.from_bytes(digest[:16], "little")).random_raw((count + 1) // 2)
    uniform = (bits.view(np.uint32)[:count].astype(np.float32) + np.float32(0.5)) * np.float32(2**-32)
    # Neither logarithm below may become infinite.
    np.clip(uniform, 1e-10, 1 - 6e-8, out=uniform)
    noise: Any = -np.log(-np.log(uniform))
    return noise


class Rules:
    """A logits processor of transformers for one answer, after which the token with the greatest value is the chosen one."""

    def __init__(self, loaded: LoadedNetwork, request: InferenceRequest, prompt: int, draw: Draw) -> None:
        self._loaded = loaded
        self._draw = draw
        self._request = request
        self._prompt = prompt
        self._bias = {
            int(token): value for token, value in request.logit_bias.items() if int(token) < loaded.vocabulary
        }
        self._matcher = self._restriction()
        self._distributions: deque[Any] = deque()

    def __call__(self, tokens: Any, logits: Any) -> Any:
        """Return the logits for the next token; both have one row."""
        import torch  # noqa: PLC0415 - the coordinator has no engine

        # Before any rule changes them: audits compare what the model itself expects.
        self._distributions.append(logits[0].float().log_softmax(-1))
        generated = tokens[0, self._prompt :]
        presence, frequency = self._request.presence_penalty, self._request.frequency_penalty
        if presence or frequency:
            counts = torch.bincount(generated, minlength=logits.shape[-1])
            logits = logits - presence * (counts > 0) - frequency * counts
        for token, value in self._bias.items():
            logits[0, token] += value
        if self._matcher is not None:
            # The matcher follows the answer token by token, and must not read one twice.
            if len(generated):
                self._matcher.consume_token(int(generated[-1]))
            allowed = torch.frombuffer(bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8)
            if self._matcher.is_error():  # its own limits on time and memory
                raise Fail(
                    "The model's engine cannot enforce this form of the answer; simplify its JSON Schema."
                )
            logits = logits.masked_fill(allowed[: logits.shape[-1]].to(logits.device) == 0, float("-inf"))
        if self._request.ignore_eos or len(generated) < self._request.min_tokens:
            logits[0, sorted(self._loaded.ends)] = float("-inf")
        return self._drawn(tokens, logits, len(generated)) if self._request.temperature > 0 else logits

    def _drawn(self, tokens: Any, logits: Any, position: int) -> Any:
        import torch  # noqa: PLC0415 - as above
        from transformers.generation.logits_process import (  # noqa: PLC0415
            MinPLogitsWarper,
            TopKLogitsWarper,
            TopPLogitsWarper,
            TypicalLogitsWarper,
        )

        logits = logits.float() / self._request.temperature
        if self._request.top_k:
            logits = TopKLogitsWarper(self._request.top_k)(tokens, logits)
        if self._request.min_p:
            logits = MinPLogitsWarper(self._request.min_p)(tokens, logits)
        if self._request.typical_p < 1:
            logits = TypicalLogitsWarper(self._request.typical_p)(tokens, logits)
        if self._request.top_p < 1:
            logits = TopPLogitsWarper(self._request.top_p)(tokens, logits)
        noise = torch.from_numpy(gumbel(self._draw, position, logits.shape[-1]))
        return logits + noise.to(logits.device)

    def distribution(self) -> Any:
        """Return the log-probabilities for the oldest token that was not asked for yet."""
        return self._distributions.popleft()

    def report(self, token: int, distribution: Any) -> tuple[dict[str, Any], ...]:
        """Return the log-probabilities of a token as `request.TokenLogprob`; empty if the client requested none."""
        if self._request.top_logprobs is None:
            return ()
        alternatives = (
            distribution.topk(self._request.top_logprobs).indices.tolist()
            if self._request.top_logprobs
            else []
        )
        top = [self._entry(alternative, distribution) for alternative in alternatives]
        return (self._entry(token, distribution) | {"top_logprobs": top},)

    @staticmethod
    def evidence(token: int, distribution: Any) -> TokenEvidence:
        """Return the evidence about a token."""
        best = distribution.topk(TOP)
        return TokenEvidence(token, tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True)))

    def _entry(self, token: int, distribution: Any) -> dict[str, Any]:
        text = self._loaded.tokenizer.decode([token])
        return {"token": text, "logprob": float(distribution[token]), "bytes": [*text.encode()]}

    def _restriction(self) -> Any:
        text = answer_grammar(self._request, PLAIN)
        if text is None:
            return None
        from llguidance import LLMatcher  # noqa: PLC0415 - the coordinator has no engine

        return LLMatcher(self._loaded.grammar_tokenizer, text)
