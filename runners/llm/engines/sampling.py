"""Chooses the next token of every row of a batch at once.

A row's token depends only on its own logits and random numbers, so a seed gives the same answer
in any batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

HEAD = 512
"""Tokens that usually cover `top_p` of the probability; selecting them is many times faster than sorting all tokens."""

LEAST_TEMPERATURE = 1e-3
"""Below this temperature only the most likely token is chosen."""


class Row(Protocol):
    """A sequence as sampling sees it.

    `counts` is how often each token was generated, `seen` whether the prompt or the answer contains it, both by token;
    None if no penalty needs them.
    """

    temperature: float
    top_p: float
    top_k: int
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    counts: Any
    seen: Any

    def draw(self) -> float:
        """Return the row's next random number, from 0 up to 1."""


def choose(logits: Any, rows: Sequence[Row]) -> list[int]:
    """Return one token for each row. Changes `logits` ([rows, tokens], float32), in which no row may be entirely -inf."""
    import torch  # noqa: PLC0415 - the coordinator has no engine

    for index, row in enumerate(rows):
        if row.seen is not None:
            logits[index] = _penalised(logits[index], row)
    tokens = logits.argmax(-1)
    drawn = [index for index, row in enumerate(rows) if row.temperature > LEAST_TEMPERATURE]
    if drawn:
        indices = torch.tensor(drawn, device=logits.device)
        tokens[indices] = _draw(logits[indices], [rows[index] for index in drawn])
    chosen: list[int] = tokens.tolist()
    return chosen


def _penalised(logits: Any, row: Row) -> Any:
    """Apply the repetition penalty of CTRL (arXiv:1909.05858) and the two penalties of OpenAI's API."""
    import torch  # noqa: PLC0415 - the coordinator has no engine

    penalty = row.repetition_penalty
    repeated = torch.where(logits > 0, logits / penalty, logits * penalty)
    changed = torch.where(row.seen, repeated, logits)
    return changed - row.presence_penalty * (row.counts > 0) - row.frequency_penalty * row.counts


def _draw(logits: Any, rows: Sequence[Row]) -> Any:
    import torch  # noqa: PLC0415 - the coordinator has no engine

    def column(values: list[float]) -> Any:
        return torch.tensor(values, dtype=torch.float32, device=logits.device)[:, None]

    logits = (logits - logits.amax(-1, keepdim=True)) / column([row.temperature for row in rows])
    _keep_top_k(logits, rows)
    probabilities = logits.softmax(-1)
    _keep_top_p(probabilities, rows)
    sums = probabilities.double().cumsum(-1)
    total = sums[:, -1:]
    # Strictly below the total: otherwise a token with probability 0 could be chosen.
    target = torch.minimum(column([row.draw() for row in rows]).double() * total, total.nextafter(total * 0))
    return torch.searchsorted(sums, target, right=True).squeeze(-1)


def _keep_top_k(logits: Any, rows: Sequence[Row]) -> None:
    for index, row in enumerate(rows):
        if 0 < row.top_k < logits.shape[-1]:
            least = logits[index].topk(row.top_k).values[-1]
            logits[index].masked_fill_(logits[index] < least, float("-inf"))


def _keep_top_p(probabilities: Any, rows: Sequence[Row]) -> None:
    """Set the probabilities outside the smallest set that covers `top_p` to 0."""
    for index, row in enumerate(rows):
        if row.top_p < 1:
            ordered = probabilities[index].topk(min(HEAD, probabilities.shape[-1])).values
            if ordered.sum() < row.top_p:
                ordered = probabilities[index].sort(descending=True).values
            # A token stays if the tokens before it do not cover top_p.
            count = int(((ordered.cumsum(-1) - ordered) < row.top_p).sum())
            probabilities[index].masked_fill_(probabilities[index] < ordered[count - 1], 0)
