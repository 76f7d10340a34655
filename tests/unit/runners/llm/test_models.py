"""Which model directories are loaded, what the probe reports, and a whole run in a child process."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
import torch

from runners.api import Fail, Model, Retry
from runners.host.protocol import Cancel, Load, Run
from runners.llm import LLMRunner
from runners.llm.request import InferenceRequest


def test_a_directory_with_safetensors_is_loaded(tiny, tools, device, make_context):
    runner = LLMRunner(tools, device)
    model = Model("tiny", tiny)
    names = [path.name for path in runner.weights(model)]
    assert names == [
        "model.safetensors",
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    runner.load(model)
    request = InferenceRequest(model="tiny", prompt="Hello", max_tokens=4, temperature=0)
    assert runner.run(request, make_context()).results["usage"]["completion_tokens"] == 4
    talk = InferenceRequest(model="tiny", messages=[{"role": "user", "content": "Hello"}])
    with pytest.raises(Fail, match="no chat template; send a prompt"):
        runner.run(talk, make_context())
    runner.close()
    with pytest.raises(Retry, match="not loaded"):
        runner.run(request, make_context())


def test_a_pickle_is_never_loaded(tiny, tools, device, tmp_path):
    directory = tmp_path / "pickled"
    directory.mkdir()
    for file in tiny.glob("*.json"):
        (directory / file.name).write_bytes(file.read_bytes())
    torch.save({"weight": torch.zeros(1)}, directory / "pytorch_model.bin")
    runner = LLMRunner(tools, device)
    assert runner.weights(Model("pickled", directory)) == ()
    with pytest.raises(Retry) as caught:
        runner.load(Model("pickled", directory))
    assert caught.value.code == "MODEL_UNAVAILABLE"
    assert "models pull pickled" in str(caught.value)


def test_a_damaged_model_is_a_machine_fault(tiny, tools, device, tmp_path):
    directory = tmp_path / "damaged"
    directory.mkdir()
    for file in tiny.iterdir():
        (directory / file.name).write_bytes(file.read_bytes()[:200])
    with pytest.raises(Retry) as caught:
        LLMRunner(tools, device).load(Model("damaged", directory))
    assert caught.value.code == "MODEL_UNAVAILABLE"


def test_probe_imports_no_engine(tools):
    code = (
        "import sys\nfrom runners.api import Tools\nfrom runners.llm import LLMRunner\n"
        "probe = LLMRunner.probe(Tools(batch=5))\nassert probe.available, probe.reasons\nassert probe.concurrency == 5\n"
        "assert not {'torch', 'transformers', 'numpy', 'xgrammar', 'vllm'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_through_the_child_process(start_child, tiny, tools, device, tmp_path):
    """Two concurrent runs in one child on two threads; cancelling one does not end the other."""
    child = start_child("llm_inference")
    child.configure(tools, dataclasses.replace(device, threads=2))
    child.send(Load(model=Model("tiny", tiny)))
    assert child.until("loaded", "error").type == "loaded"
    for run_id, tokens in (("long", 100), ("short", 5)):
        directory = tmp_path / run_id
        (directory / "output").mkdir(parents=True)
        (directory / "work").mkdir()
        parameters = {"model": "tiny", "prompt": "Hello", "max_tokens": tokens, "seed": 1}
        child.send(
            Run(
                run_id=run_id, parameters=parameters, output=directory / "output", work=directory / "work",
                timeout_seconds=60,
            )
        )  # fmt: skip
    child.send(Cancel(run_id="long"))
    ended = {
        message.run_id: message for message in (child.until("done", "error"), child.until("done", "error"))
    }
    assert ended["short"].type == "done", ended
    assert ended["short"].results["usage"]["completion_tokens"] == 5
    assert ended["short"].weights[0].name == "model.safetensors"
    assert getattr(ended["long"], "kind", "done") in {"cancelled", "done"}
