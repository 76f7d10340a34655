"""The weights of a model whose blocks take turns, in page-locked memory. Without a card, other memory stands for it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from runners.stable_diffusion import pinning
from runners.stable_diffusion.memory import Savings
from runners.stable_diffusion.placement import move

pytestmark = pytest.mark.system

WIDE = 3072


class Locked:
    """An allocator with torch 2.14's rounding, which records what it gave, and may have a limit."""

    def __init__(self, limit: int | None = None) -> None:
        self.rounded = 0
        self.sizes: list[int] = []
        self._limit = limit

    def __call__(self, size: int) -> torch.Tensor:
        if self._limit is not None and self.rounded + size > self._limit:
            raise RuntimeError("CUDA error: out of memory")
        self.rounded += 1 << (size - 1).bit_length()
        self.sizes.append(size)
        return torch.empty(size, dtype=torch.uint8)


def blocks(number: int = 12) -> torch.nn.Module:
    """Layers as FLUX.1 has them: 19, 75 and 19 MB, of which torch would make 33, 134 and 33."""
    torch.manual_seed(0)
    sizes = (WIDE, 4 * WIDE, WIDE)
    layers = [torch.nn.Linear(WIDE, size, dtype=torch.bfloat16) for _ in range(number) for size in sizes]
    return torch.nn.ModuleList(layers).requires_grad_(requires_grad=False)


def weight_bytes(part: torch.nn.Module) -> int:
    return sum(weight.numel() * weight.element_size() for weight in part.parameters())


@pytest.mark.ship
def test_the_weights_take_hardly_more_than_their_size() -> None:
    part = blocks()
    before = {name: value.clone() for name, value in part.state_dict().items()}
    needed = weight_bytes(part)
    one_by_one = sum(
        1 << (weight.numel() * weight.element_size() - 1).bit_length() for weight in part.parameters()
    )
    locked = Locked()
    assert pinning.pin([part], locked) == locked.rounded
    assert locked.rounded <= needed + pinning.BLOCK_BYTES < one_by_one
    after = part.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_weights_of_every_form_are_copied_bit_for_bit() -> None:
    """Scalars, bytes, 8-bit floats, and what has another order of its elements, which stays where it is."""
    part = torch.nn.Module()
    values = {
        "scalar": torch.tensor(3.5),
        "bytes": torch.arange(7, dtype=torch.uint8),
        "small": torch.randn(5, 3).to(torch.float8_e4m3fn),
        "flags": torch.tensor([True, False]),
        "turned": torch.randn(4, 6).t(),
    }
    for name, value in values.items():
        part.register_buffer(name, value.clone(memory_format=torch.preserve_format))
    address = part.turned.data_ptr()
    pinning.pin([part], Locked())
    for name, value in values.items():
        assert torch.equal(getattr(part, name).float(), value.float()), name
        assert getattr(part, name).shape == value.shape
    assert part.turned.data_ptr() == address


def test_a_weight_larger_than_a_block_leaves_its_rest_to_smaller_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pinning, "BLOCK_BYTES", 4096)
    part = torch.nn.Module()
    for name, size in {"large": 5000, "small": 2000, "tiny": 600}.items():
        part.register_buffer(name, torch.zeros(size, dtype=torch.uint8))
    locked = Locked()
    pinning.pin([part], locked)
    assert locked.sizes == [8192]


@pytest.mark.ship
def test_where_memory_cannot_be_locked_the_rest_stays() -> None:
    """As under a limit of a container. The model works, more slowly."""
    part = blocks(4)
    before = {name: value.clone() for name, value in part.state_dict().items()}
    addresses = [weight.data_ptr() for weight in part.parameters()]
    pinning.pin([part], Locked(limit=pinning.BLOCK_BYTES))
    unmoved = [
        weight.data_ptr() == address for weight, address in zip(part.parameters(), addresses, strict=True)
    ]
    assert any(unmoved)
    assert not all(unmoved)
    assert all(torch.equal(part.state_dict()[name], value) for name, value in before.items())


def test_diffusers_makes_no_copies_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams need a card: what diffusers is asked for is recorded."""
    import diffusers.hooks  # noqa: PLC0415 - ten seconds, only where it runs

    asked: dict[str, Any] = {}
    pinned: list[Any] = []

    class Pipeline:
        components = {"transformer": blocks(1), "vae": blocks(1)}  # noqa: RUF012 - of one test

    def record(part: Any, _device: Any, **options: Any) -> None:
        name = next(name for name, value in Pipeline.components.items() if value is part)
        asked[name] = (options["use_stream"], options["low_cpu_mem_usage"])

    monkeypatch.setattr(diffusers.hooks, "apply_group_offloading", record)
    monkeypatch.setattr(pinning, "_locked", lambda size: pinned.append(size) or Locked()(size))
    assert move(Pipeline(), Savings("blocks"), "cuda") == pinning.BLOCK_BYTES
    assert asked == {"transformer": (True, True), "vae": (False, False)}
    assert sum(pinned) == pinning.BLOCK_BYTES, "the decoder is not streamed"
    assert move(Pipeline(), Savings("blocks"), "cpu") == 0
    assert len(pinned) == 1
