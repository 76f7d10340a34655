"""Chooses the next token of every row of a batch at once.

A row's choice depends on nothing but its own logits and its own random numbers, so a seed gives the same answer
whatever else is in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

HEAD = 512
"""Tokens that usually hold `top_p` of the probability: finding them is many times faster than sorting all tokens."""

LEAST_TEMPERATURE = 1e-3
"""Below it the likeliest token is all that is left anyway."""


class Row(Protocol):
    """What sampling needs of a sequence.

    `counts` is how often each token was generated, `seen` whether it stands in the prompt or the answer, both by token;
    None where no penalty needs them.
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
        """The row's next random number, from 0 up to 1."""


def choose(logits: Any, rows: Sequence[Row]) -> list[int]:
    """One token for each row. `logits` [rows, tokens] in float32 may be changed; no row may be -inf throughout."""
    import torch  # noqa: PLC0415 - the coordinator has no engine

    for index, row in enumerate(rows):
        if row.seen is not None:
            logits[index] = _penalised(logits[index], row)
    tokens = logits.argmax(-1)
    drawn = [index for index, row in enumerate(rows) if row.temperature > LEAST_TEMPERATURE]
    if drawn:
        places = torch.tensor(drawn, device=logits.device)
        tokens[places] = _draw(logits[places], [rows[index] for index in drawn])
    chosen: list[int] = tokens.tolist()
    return chosen


def _penalised(logits: Any, row: Row) -> Any:
    """The repetition penalty of CTRL (arXiv:1909.05858), and the two of OpenAI's API."""
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
    chances = logits.softmax(-1)
    _keep_top_p(chances, rows)
    sums = chances.double().cumsum(-1)
    total = sums[:, -1:]
    # Below the total by a hair at least: otherwise a token without any chance could follow.
    target = torch.minimum(column([row.draw() for row in rows]).double() * total, total.nextafter(total * 0))
    return torch.searchsorted(sums, target, right=True).squeeze(-1)


def _keep_top_k(logits: Any, rows: Sequence[Row]) -> None:
    for index, row in enumerate(rows):
        if 0 < row.top_k < logits.shape[-1]:
            least = logits[index].topk(row.top_k).values[-1]
            logits[index].masked_fill_(logits[index] < least, float("-inf"))


def _keep_top_p(chances: Any, rows: Sequence[Row]) -> None:
    """Put the chances outside the smallest set that holds `top_p` to 0."""
    for index, row in enumerate(rows):
        if row.top_p < 1:
            ordered = chances[index].topk(min(HEAD, chances.shape[-1])).values
            if ordered.sum() < row.top_p:
                ordered = chances[index].sort(descending=True).values
            # A token stays if those before it do not hold top_p yet.
            kept = int(((ordered.cumsum(-1) - ordered) < row.top_p).sum())
            chances[index].masked_fill_(chances[index] < ordered[kept - 1], 0)
