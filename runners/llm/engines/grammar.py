"""Restricts answers to a JSON schema with xgrammar, which removes the next tokens that the schema does not allow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runners.api import Fail, FailureCode, Retry
from runners.llm.engines.loading import Loaded

CACHE_BYTES = 64 * 2**20
"""Size of the cache of compiled schemas."""


class Grammars:
    """Compiles schemas for one model. Safe to use from several threads."""

    def __init__(self, loaded: Loaded) -> None:
        try:
            import xgrammar  # noqa: PLC0415 - the coordinator has no engine
        except ImportError as error:
            raise Retry(f"{error}; install the extra llm.", code=FailureCode.ENGINE_MISSING) from None
        described = xgrammar.TokenizerInfo.from_huggingface(
            loaded.tokenizer, vocab_size=loaded.vocabulary, stop_token_ids=sorted(loaded.ends)
        )
        # A control token's text would match any string of the answer, but decoding omits it; a token without bytes never matches.
        control = {token for token, added in loaded.tokenizer.added_tokens_decoder.items() if added.special}
        words = [b"" if token in control else word for token, word in enumerate(described.decoded_vocab)]
        described = xgrammar.TokenizerInfo(
            words,
            xgrammar.VocabType.RAW,
            vocab_size=loaded.vocabulary,
            stop_token_ids=sorted(loaded.ends),
            add_prefix_space=described.add_prefix_space,
        )
        self._compiler = xgrammar.GrammarCompiler(described, max_threads=1, cache_limit_bytes=CACHE_BYTES)

    def matcher(self, schema: str) -> Any:
        """Return the matcher of one answer. Raises `Fail` if the schema cannot be compiled."""
        import xgrammar  # noqa: PLC0415 - the coordinator has no engine

        try:
            # Without free whitespace, a small model cannot fill its answer with blanks.
            compiled = self._compiler.compile_json_schema(schema, any_whitespace=False)
        except (RuntimeError, ValueError) as error:
            # "[time] /path/file.cc:123: reason": the client gets only the last part.
            reason = str(error).strip().splitlines()[0].rpartition(".cc:")[2].partition(" ")[2]
            raise Fail(f"response_schema cannot be enforced: {reason}"[:500]) from None
        return xgrammar.GrammarMatcher(compiled)


def restrict(logits: Any, matchers: Sequence[Any]) -> list[int]:
    """Set the logits that each row's matcher does not allow to -inf; None means a row without a matcher.

    Returns the rows for which no token is allowed.
    """
    rows = [index for index, matcher in enumerate(matchers) if matcher is not None]
    if not rows:
        return []
    import xgrammar  # noqa: PLC0415 - the coordinator has no engine

    allowed = xgrammar.allocate_token_bitmask(*logits.shape)
    for row in rows:
        matchers[row].fill_next_token_bitmask(allowed, row)
    xgrammar.apply_token_bitmask_inplace(logits, allowed.to(logits.device), indices=rows)
    best: list[float] = logits.amax(-1).tolist()
    return [row for row in rows if best[row] == float("-inf")]
