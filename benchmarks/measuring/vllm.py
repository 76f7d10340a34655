"""Language models in vLLM: the runner in its child process, with the interpreter of vLLM's environment, compared with vLLM's server alone.

Needs the engine: `aitbc-agent engines install vllm`. The model is the demo's, converted to the format that vLLM loads.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.configuring.reading import load_settings
from agent.miner.engines.catalogue import InstallableEngine, load_engines
from agent.miner.engines.environments import EngineEnvironment, engines_directory
from agent.miner.engines.interpreters import installed_environments, of_environment
from measuring.child import Child, models_directory
from measuring.llm import MODEL, compared
from measuring.row import Row
from runners.api import Device, Model
from runners.llm.engines.vllm import SERVED, start_vllm
from runners.llm.runner import LLMRunner


def installed_vllm() -> tuple[InstallableEngine, EngineEnvironment]:
    """Return vLLM as an engine, and its environment. Ends the program with a message if it is not installed."""
    settings = load_settings()
    installed = installed_environments(engines_directory(settings), load_engines(settings.data_dir))
    found = [(engine, environment) for engine, environment in installed if engine.name == "vllm"]
    if not found:
        sys.exit("vLLM is not installed. Run `aitbc-agent engines install vllm`, or name the other engines.")
    return found[0]


def measure(folder: Path, rounds: int) -> list[Row]:
    """Compare one request, and eight at the same time."""
    engine, environment = installed_vllm()
    variant = engine.variants.get(environment.record.variant)
    model = Model(MODEL, folder / "model", options={"context": 2048})
    write_safetensors(model.path)
    device = Device("cpu", "processor", threads=os.cpu_count() or 1)
    with Child("llm_inference", folder, of_environment(environment, variant, LLMRunner)) as child:
        child.load(model)
        server = start_vllm(str(environment.python), model, device, None)
        try:
            return compared("vLLM", child, server, rounds, model=SERVED)
        finally:
            server.close()


def write_safetensors(directory: Path, change: Callable[[Any], None] | None = None) -> None:
    """Convert the demo's model, which is 4-bit GGUF, to 16-bit safetensors. `change` changes the network before."""
    import torch  # noqa: PLC0415 - engines are optional
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM  # noqa: PLC0415 - as above

    source = models_directory() / MODEL
    loaded = AutoModelForCausalLM.from_pretrained(source, gguf_file="model.gguf", dtype=torch.bfloat16)
    settings = loaded.config
    del settings.quantization_config
    model = LlamaForCausalLM(settings).to(torch.bfloat16)
    model.load_state_dict({name: value.clone() for name, value in loaded.state_dict().items()}, strict=False)
    model.tie_weights()
    if change is not None:
        change(model)
    model.save_pretrained(directory)
    AutoTokenizer.from_pretrained(source, gguf_file="model.gguf").save_pretrained(directory)
