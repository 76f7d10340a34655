"""Rows of different lengths that the model processes together.

All rows end in the same column. Shorter rows have padding on the left, which the attention mask hides, and every token
has the position that it would have alone. Therefore batches can be joined and rows removed between any two steps.
This works with any decoder whose cache consists of keys and values.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar


class Tokens(Protocol):
    """A sequence as a batch sees it."""

    @property
    def prompt(self) -> Sequence[int]:
        """The tokens of the prompt, at least one."""


SequenceT = TypeVar("SequenceT", bound=Tokens)


class Batch(Generic[SequenceT]):
    """Sequences, their unread tokens, and the model's cache of the tokens that it has read."""

    def __init__(self, model: Any, sequences: Sequence[SequenceT]) -> None:
        import torch  # noqa: PLC0415 - the coordinator has no engine
        from transformers import DynamicCache  # noqa: PLC0415 - as above

        self.sequences = list(sequences)
        width = max(len(sequence.prompt) for sequence in sequences)
        rows = [[0] * (width - len(sequence.prompt)) + list(sequence.prompt) for sequence in sequences]
        mask = [[column >= width - len(sequence.prompt) for column in range(width)] for sequence in sequences]
        self._model = model
        self._unread = torch.tensor(rows, device=model.device)
        self._mask = torch.tensor(mask, device=model.device).long()
        # Without the model's settings every layer caches all columns, even one with a limited window.
        self._cache: Any = DynamicCache()

    @property
    def unread(self) -> int:
        """Columns that the model has not yet read."""
        return int(self._unread.shape[1])

    @property
    def columns(self) -> int:
        """Columns of the cache after all tokens are read."""
        return int(self._mask.shape[1])

    def read(self, most: int) -> Any:
        """Let the model read up to `most` columns; return the logits after them, [rows, tokens] in float32."""
        end = self.columns - self.unread + min(most, self.unread)
        tokens, self._unread = self._unread[:, :most], self._unread[:, most:]
        mask = self._mask[:, :end]
        positions = (mask.cumsum(-1) - 1).clamp_(min=0)[:, -tokens.shape[1] :]
        out = self._model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            logits_to_keep=1,
            **{_cache_argument(self._model): self._cache},
        )
        return out.logits[:, -1].float()

    def append(self, tokens: Sequence[int]) -> None:
        """Append the next token of each row. All earlier tokens must have been read."""
        from torch.nn.functional import pad  # noqa: PLC0415 - the coordinator has no engine

        self._unread = self._unread.new_tensor(tokens)[:, None]
        self._mask = pad(self._mask, (0, 1), value=1)

    def keep(self, rows: Sequence[int]) -> None:
        """Remove all rows but these, of which there is at least one, and the columns that only the others needed."""
        if len(rows) == len(self.sequences):
            return
        indices = self._unread.new_tensor(rows)
        self.sequences = [self.sequences[row] for row in rows]
        self._unread, self._mask = self._unread[indices], self._mask[indices]
        # The columns that were read and contain no token in any row.
        empty = min(int(self._mask.amax(0).argmax()), self.columns - self.unread)
        self._mask = self._mask[:, empty:]
        for layer in self._cache.layers:
            layer.keys = layer.keys[indices, :, empty:]
            layer.values = layer.values[indices, :, empty:]

    def join(self, other: Batch[SequenceT]) -> None:
        """Add the rows of another batch; both must have the same number of unread columns."""
        import torch  # noqa: PLC0415 - the coordinator has no engine
        from torch.nn.functional import pad  # noqa: PLC0415 - as above

        def beside(mine: Any, theirs: Any, dimension: int) -> Any:
            """Concatenate rows; pad the narrower tensor at the beginning of `dimension`, counted from the last."""
            more = theirs.shape[-dimension] - mine.shape[-dimension]
            before = (0, 0) * (dimension - 1)
            return torch.cat(
                [pad(mine, (*before, max(more, 0), 0)), pad(theirs, (*before, max(-more, 0), 0))]
            )

        self._unread = torch.cat([self._unread, other._unread])
        self._mask = beside(self._mask, other._mask, 1)
        for mine, theirs in zip(self._cache.layers, other._cache.layers, strict=True):
            mine.keys, mine.values = beside(mine.keys, theirs.keys, 2), beside(mine.values, theirs.values, 2)
        self.sequences += other.sequences


def _cache_argument(model: Any) -> str:
    """Return the name of the cache argument of a model's `forward` in this version of transformers."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
