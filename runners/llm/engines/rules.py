"""What a request asks of the next token beyond transformers' own settings: penalties, biases, a schema, log-probabilities."""

from __future__ import annotations

from collections import deque
from typing import Any

from runners.llm.engines.loading import Loaded
from runners.llm.grammar import grammar
from runners.llm.request import InferenceRequest


class Rules:
    """A logits processor of transformers for one answer."""

    def __init__(self, loaded: Loaded, request: InferenceRequest, prompt: int) -> None:
        self._loaded = loaded
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

        if self._request.top_logprobs is not None:
            self._distributions.append(logits[0].float().log_softmax(-1))
        generated = tokens[0, self._prompt :]
        presence, frequency = self._request.presence_penalty, self._request.frequency_penalty
        if presence or frequency:
            counts = torch.bincount(generated, minlength=logits.shape[-1])
            logits = logits - presence * (counts > 0) - frequency * counts
        for token, value in self._bias.items():
            logits[0, token] += value
        if self._matcher is not None:
            if len(generated):
                self._matcher.consume_token(int(generated[-1]))
            allowed = torch.frombuffer(bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8)
            logits = logits.masked_fill(allowed[: logits.shape[-1]].to(logits.device) == 0, float("-inf"))
        return logits

    def report(self, token: int) -> tuple[dict[str, Any], ...]:
        """Return the log-probabilities of the next token that was generated, as `request.TokenLogprob`; empty if not requested."""
        if not self._distributions:
            return ()
        distribution = self._distributions.popleft()
        best = distribution.topk(self._request.top_logprobs or 1).indices.tolist()
        others = best if self._request.top_logprobs else []
        top = [self._entry(other, distribution) for other in others]
        return (self._entry(token, distribution) | {"top_logprobs": top},)

    def _entry(self, token: int, distribution: Any) -> dict[str, Any]:
        text = self._loaded.tokenizer.decode([token])
        return {"token": text, "logprob": float(distribution[token]), "bytes": [*text.encode()]}

    def _restriction(self) -> Any:
        if self._request.schema_ is None:
            return None
        from llguidance import LLMatcher  # noqa: PLC0415 - the coordinator has no engine

        return LLMatcher(self._loaded.grammar_tokenizer, grammar(self._request.schema_))
