"""The check of an installed vLLM: the model that it writes, and the cards that it tries. vLLM itself runs in tests/acceptance/ship."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from runners.api import Device, FailureCode, Model, Retry
from runners.llm.engines import vllm_check
from runners.llm.engines.base import Piece
from runners.llm.request import InferenceRequest

Check = Callable[..., list[tuple[str, str | None]]]
BUSY = Retry("on startup is less than desired", code=FailureCode.OUT_OF_MEMORY)
BROKEN = Retry("Failed to find C compiler.", code=FailureCode.MODEL_UNAVAILABLE)


class Cards:
    """vLLM's platform with two cards."""

    device_type = "cuda"

    def device_count(self) -> int:
        return 2

    def get_device_name(self, index: int) -> str:
        return f"card {index}"

    def get_device_uuid(self, index: int) -> str:
        return f"GPU-{index}"

    def get_device_total_memory(self, index: int) -> int:
        return (index + 1) * 2**30


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Check:
    """A function that runs the check with a stand-in for vLLM, and returns the cards that were tried with what CUDA saw."""

    def run(platform: Any, failures: Mapping[str, Retry]) -> list[tuple[str, str | None]]:
        tried: list[tuple[str, str | None]] = []

        class Engine:
            def __init__(self, _python: str, model: Model, device: Device, vram: int | None) -> None:
                assert (model.path / "model.safetensors").is_file()
                assert vram == vllm_check.BUDGET
                tried.append((device.name, os.environ.get("CUDA_VISIBLE_DEVICES")))
                if device.name in failures:
                    raise failures[device.name]

            def submit(self, request: InferenceRequest, _images: object, _options: object) -> Any:
                assert request.max_tokens > 0
                return self

            def pieces(self) -> list[Piece]:
                return [Piece("a", 4, 1, "length")]

            def close(self) -> None:
                pass

        module = ModuleType("vllm.platforms")
        module.current_platform = platform  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "vllm", ModuleType("vllm"))
        monkeypatch.setitem(sys.modules, "vllm.platforms", module)
        monkeypatch.setattr(vllm_check, "VLLMEngine", Engine)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        vllm_check.check_vllm()
        return tried

    return run


def test_a_card_that_other_programs_use_is_not_the_only_one_tried(check: Check) -> None:
    assert check(Cards(), {"card 0": BUSY}) == [("card 0", "GPU-0"), ("card 1", "GPU-1")]


def test_cards_that_are_all_in_use_are_no_fault_of_vllm(check: Check) -> None:
    with pytest.raises(RuntimeError, match="stop what uses it, for example the agent"):
        check(Cards(), {"card 0": BUSY, "card 1": BUSY})


def test_any_other_failure_is_reported_as_it_is(check: Check) -> None:
    with pytest.raises(Retry, match="Failed to find C compiler"):
        check(Cards(), {"card 0": BROKEN})


def test_a_build_for_gpus_is_only_imported_where_there_is_none(check: Check) -> None:
    """As while an image is built."""

    class Nothing:
        device_type = ""

    assert check(Nothing(), {}) == []


def test_the_model_is_complete_and_reads_any_text(tmp_path: Path) -> None:
    """Transformers neither misses nor ignores a weight."""
    from transformers import AutoTokenizer, LlamaForCausalLM  # noqa: PLC0415 - ten seconds, only where it runs

    vllm_check.write_model(tmp_path)
    model, report = LlamaForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokens = tokenizer("é 世", return_tensors="pt")["input_ids"]
    assert tokenizer.decode(tokens[0]) == "é 世"
    assert model.generate(tokens, max_new_tokens=2, do_sample=False).shape[1] > tokens.shape[1]
