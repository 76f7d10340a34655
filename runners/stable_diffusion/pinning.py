"""Keeps weights in page-locked main memory, from which a card copies them while it computes.

torch 2.14 rounds each page-locked block up to a power of two, so that weights one by one take up to twice their size. Here they
share blocks that are powers of two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

BLOCK_BYTES = 256 * 2**20
"""Size of a block; a larger weight gets the next power of two. About one remains unused in a model."""

_ALIGNMENT = 512


def pin(parts: Iterable[Any], allocate: Callable[[int], Any] | None = None) -> int:
    """Move the weights and buffers of a model's parts into page-locked memory, the largest first. Return its bytes.

    What cannot be locked stays where it is.

    `allocate` returns a tensor of so many bytes, by default a page-locked one. Raises nothing.
    """
    blocks: list[_Block] = []
    weights = [weight for part in parts for weight in (*part.parameters(), *part.buffers())]
    # The smaller ones then fill what the larger ones leave.
    for weight in sorted(weights, key=_size, reverse=True):
        if not weight.is_contiguous():
            continue
        block = next((block for block in blocks if block.free >= _size(weight)), None)
        if block is None:
            size = max(BLOCK_BYTES, 1 << (_size(weight) - 1).bit_length())
            try:
                blocks.append(block := _Block((allocate or _locked)(size)))
            except RuntimeError:
                # Where the system limits it. diffusers then locks each group when its turn comes, which is slower.
                break
        # The weight's former memory is free from here on, so that both are needed for one block only.
        weight.data = block.store(weight.data)
    return sum(block.size for block in blocks)


class _Block:
    def __init__(self, memory: Any) -> None:
        self._memory = memory
        self._used = 0

    @property
    def size(self) -> int:
        """The bytes of the block."""
        return int(self._memory.numel())

    @property
    def free(self) -> int:
        """The bytes that are left."""
        return self.size - self._used

    def store(self, values: Any) -> Any:
        """Return a copy of a tensor in this block."""
        size = values.numel() * values.element_size()
        copy = self._memory[self._used : self._used + size].view(values.dtype).view(values.shape)
        self._used += _size(values)
        return copy.copy_(values)


def _size(tensor: Any) -> int:
    """Return the bytes that a tensor takes in a block."""
    return -(-int(tensor.numel()) * int(tensor.element_size()) // _ALIGNMENT) * _ALIGNMENT


def _locked(size: int) -> Any:
    import torch  # noqa: PLC0415 - the coordinator imports this module without the engine

    return torch.empty(size, dtype=torch.uint8, pin_memory=True)
