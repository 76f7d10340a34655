"""How vLLM's server is started on one GPU and on several. A machine without GPUs cannot run these commands."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from runners.api import Device, FailureCode, Model, Retry
from runners.engine_server import EngineServer, shared_memory
from runners.llm.engines import vllm
from runners.torch_memory import CONTEXT_BYTES

GIBIBYTE = 2**30


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A function that returns the arguments with which vLLM is started, by name."""
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": []}))
    (tmp_path / "config.json").write_text("{}")

    monkeypatch.setattr(shared_memory, "lack", lambda: None)

    class Started:
        def get(self, _path: str) -> Any:
            return {"data": [{"max_model_len": 4096}]}

    def of(device: Device, vram: int | None, **options: Any) -> dict[str, str]:
        commands: list[Sequence[str]] = []

        def start(command: Sequence[str], _environment: Mapping[str, str], *, directory: Path) -> Started:
            directory.rmdir()
            commands.append(command)
            return Started()

        monkeypatch.setattr(EngineServer, "start", start)
        vllm.VLLMEngine("python", Model("model", tmp_path, options=options), device, vram)
        (arguments,) = commands
        return dict(pairwise(arguments))

    return of


def test_one_gpu_is_used_up_to_its_budget_with_cudas_context_in_it(command: Any) -> None:
    """The share of vLLM is taken beyond the context: two models with half of a card each would not fit."""
    arguments = command(Device("cuda", "card", "GPU-0", memory=24 * GIBIBYTE), 12 * GIBIBYTE)
    assert float(arguments["--gpu-memory-utilization"]) * 24 * GIBIBYTE + CONTEXT_BYTES <= 12 * GIBIBYTE
    assert arguments["--gpu-memory-utilization"] == "0.479"
    assert "--tensor-parallel-size" not in arguments


def test_a_model_gets_as_much_context_as_fits_and_vllms_own_number_of_requests(command: Any) -> None:
    """An 8B model's full context does not fit beside its weights on most cards, and vLLM would not start."""
    arguments = command(Device("cuda", "card", "GPU-0", memory=24 * GIBIBYTE), None)
    assert arguments["--max-model-len"] == "-1"
    assert "--max-num-seqs" not in arguments
    assert "--enforce-eager" not in arguments


def test_schemas_need_no_compiler(command: Any) -> None:
    """The default, xgrammar, would compile Triton kernels, for which the image lacks a compiler; guidance works on the processor."""
    arguments = command(Device("cuda", "card", "GPU-0", memory=24 * GIBIBYTE), None)
    assert json.loads(arguments["--structured-outputs-config"]) == {"backend": "guidance"}


def test_the_layers_are_divided_among_several_gpus_each_up_to_its_budget(command: Any) -> None:
    cards = Device("cuda", "card", "GPU-0", memory=24 * GIBIBYTE, others=("GPU-1", "GPU-2", "GPU-3"))
    arguments = command(cards, 18 * GIBIBYTE)
    assert arguments["--tensor-parallel-size"] == "4"
    assert arguments["--gpu-memory-utilization"] == "0.729"


def test_an_entrys_options_become_arguments(command: Any) -> None:
    device = Device("cuda", "card", "GPU-0", memory=24 * GIBIBYTE)
    arguments = command(device, None, context=8192, tool_parser="hermes")
    assert (arguments["--max-model-len"], arguments["--tool-call-parser"]) == ("8192", "hermes")
    assert arguments["--gpu-memory-utilization"] == "0.900"


def test_a_slice_that_vllm_mistakes_for_another_card_is_refused_in_words(command: Any) -> None:
    """It would read the capability of the card whose number the slice has on its own card, or find none."""
    part = Device("cuda", "A100 MIG 1g.5gb", "MIG-0", memory=5 * GIBIBYTE, by_index=False)
    with pytest.raises(Retry, match="cannot use this slice of a card") as refused:
        command(part, None)
    assert refused.value.code == FailureCode.GPU_UNAVAILABLE


@pytest.fixture
def environments(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, str]]:
    """The environments in which vLLM was started."""
    started: list[Mapping[str, str]] = []

    def start(_command: Sequence[str], environment: Mapping[str, str], *, directory: Path) -> None:
        directory.rmdir()
        started.append(environment)

    monkeypatch.setattr(EngineServer, "start", start)
    return started


def test_vllm_compiles_no_kernels_with_nvcc_unless_the_owner_wants_it(
    environments: list[Mapping[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine with a driver alone has no nvcc, and vLLM would not start there."""
    card = Device("cuda", "card", "GPU-0", memory=24 * GIBIBYTE)
    vllm.start_vllm("python", Model("model", tmp_path), card, None)
    monkeypatch.setenv("VLLM_USE_DEEP_GEMM", "1")
    vllm.start_vllm("python", Model("model", tmp_path), card, None)
    names = ("VLLM_USE_FLASHINFER_SAMPLER", "VLLM_ALLREDUCE_USE_FLASHINFER", "VLLM_USE_DEEP_GEMM")
    assert [[environment[name] for name in names] for environment in environments] == [
        ["0", "0", "0"],
        ["0", "0", "1"],
    ]


def test_the_build_for_processors_needs_no_compiler(
    environments: list[Mapping[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VLLM would compile small functions with a C++ compiler at the first request for log-probabilities."""
    monkeypatch.setattr(shared_memory, "lack", lambda: None)
    vllm.start_vllm("python", Model("model", tmp_path), Device("cpu", "processor"), None)
    assert environments[0]["TORCHDYNAMO_DISABLE"] == "1"


@pytest.mark.parametrize(
    ("device", "starts"),
    [
        (Device("cpu", "processor"), False),
        (Device("cuda", "card", "GPU-0", memory=GIBIBYTE, others=("GPU-1",)), False),
        (Device("cuda", "card", "GPU-0", memory=GIBIBYTE), True),
    ],
)
def test_shared_memory_that_is_too_small_is_named_before_the_start(
    environments: list[Mapping[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: Device,
    starts: bool,
) -> None:
    """A container has 64 MiB. Only where vLLM starts a process for each device it needs more."""
    usage = shutil.disk_usage(tmp_path)._replace(free=64 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    if starts:
        vllm.start_vllm("python", Model("model", tmp_path), device, None)
    else:
        with pytest.raises(
            Retry, match=r"256 MiB of shared memory are needed, and 64 MiB are free.*--shm-size=1g"
        ):
            vllm.start_vllm("python", Model("model", tmp_path), device, None)
    assert bool(environments) == starts


@pytest.mark.parametrize(
    ("capability", "config", "computed"),
    [
        ("7.5", {"dtype": "bfloat16"}, "float16"),
        ("7.5", {"torch_dtype": "bfloat16", "model_type": "llama"}, "float16"),
        ("7.5", {"dtype": "bfloat16", "model_type": "gemma2"}, "float32"),
        ("7.5", {"dtype": "float32"}, "float16"),
        ("7.5", {"dtype": "float16"}, "float16"),
        ("8.0", {"dtype": "bfloat16"}, "bfloat16"),
        ("8.9", {"dtype": "float32"}, "bfloat16"),
        ("9.0", {"dtype": "float16", "model_type": "gemma2"}, "bfloat16"),
        (None, {"dtype": "bfloat16"}, "bfloat16"),
        (None, {"dtype": "float32"}, "bfloat16"),
        ("7.5", {}, "auto"),
        ("7.5", {"dtype": "bfloat16", "quantization_config": {"quant_method": "fp8"}}, "fp8-w8a16"),
        ("8.9", {"dtype": "bfloat16", "quantization_config": {"quant_method": "fp8"}}, "fp8"),
    ],
)
def test_the_evidence_names_the_numbers_that_are_computed_with(
    tmp_path: Path, capability: str | None, config: dict[str, Any], computed: str
) -> None:
    """Turing has no bfloat16: vLLM takes float16 there, although the model's files say bfloat16."""
    (tmp_path / "config.json").write_text(json.dumps(config))
    kind: Any = "cpu" if capability is None else "cuda"
    device = Device(kind, "card", compute_capability=capability)
    assert vllm._precision(Model("model", tmp_path), device) == computed


MEASURING = "Error in memory profiling. Initial free memory 8.1 GiB, current free memory 9.2 GiB."


@pytest.mark.parametrize(
    ("failures", "starts"),
    [
        ([(MEASURING, FailureCode.NO_MEMORY)], 2),
        ([(MEASURING, FailureCode.NO_MEMORY)] * 2, 2),
        ([("No available memory for the cache blocks.", FailureCode.OUT_OF_MEMORY)], 1),
    ],
)
def test_a_start_during_which_others_freed_memory_is_repeated_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failures: list[tuple[str, FailureCode]], starts: int
) -> None:
    """An assertion of vLLM fails then; that says nothing about the model."""
    directories: list[Path] = []

    def start(_command: Sequence[str], _environment: Mapping[str, str], *, directory: Path) -> str:
        directory.rmdir()  # as the real one does after a failure
        directories.append(directory)
        if len(directories) <= len(failures):
            message, code = failures[len(directories) - 1]
            raise Retry(message, code=code)
        return "server"

    monkeypatch.setattr(EngineServer, "start", start)
    device = Device("cuda", "card", "GPU-0", memory=24 * GIBIBYTE)
    if starts > len(failures):
        assert vllm.start_vllm("python", Model("model", tmp_path), device, None) == "server"
    else:
        with pytest.raises(Retry):
            vllm.start_vllm("python", Model("model", tmp_path), device, None)
    assert len(set(directories)) == starts
