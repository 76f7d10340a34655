"""Which model directories are loaded, what the probe reports, and a whole run in a child process."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from runners.api import Device, Model, Retry
from runners.embedding import EmbeddingRunner
from runners.host.protocol import Cancel, Load, Run
from runners.llm import LLMRunner
from runners.llm.request import InferenceRequest
from support.inputs.language_models import QUESTION


@pytest.fixture
def run_in(tmp_path):
    """Return a run with directories of its own."""

    def made(run_id, parameters):
        directory = tmp_path / run_id
        output, work = directory / "output", directory / "work"
        output.mkdir(parents=True)
        work.mkdir()
        return Run(run_id=run_id, parameters=parameters, output=output, work=work, timeout_seconds=60)

    return made


@pytest.mark.system
def test_a_directory_with_safetensors_is_loaded(tiny, tools, device, make_context):
    runner = LLMRunner(tools, device)
    model = Model("tiny", tiny)
    names = [path.name for path in runner.weights(model)]
    assert names[:2] == ["model.safetensors", "config.json"]
    assert {"generation_config.json", "tokenizer.json", "tokenizer_config.json"} <= set(names)
    runner.load(model)
    request = InferenceRequest(model="tiny", prompt="Hello", max_tokens=4, temperature=0)
    assert runner.run(request, make_context()).results["usage"]["completion_tokens"] == 4
    runner.close()
    with pytest.raises(Retry, match="not loaded"):
        runner.run(request, make_context())


def test_the_demo_model_takes_little_memory_and_no_torch(start_child, model, tools, device, run_in):
    """The runner's process and llama.cpp's, after an answer, take less than 300 MiB together."""
    child = start_child("llm_inference")
    child.configure(tools, device)
    child.send(Load(model=model))
    assert child.until("loaded", "error").type == "loaded"
    child.send(run_in("one", {"model": model.name, "prompt": QUESTION, "max_tokens": 16, "temperature": 0}))
    done = child.until("done", "error")
    assert done.results["text"] == "The capital of France is Paris."
    parent = psutil.Process(child.process.pid)
    processes = [parent, *parent.children(recursive=True)]
    assert len(processes) == 2
    assert sum(process.memory_full_info().pss for process in processes) < 300 * 2**20
    mapped = {part.path for process in processes for part in process.memory_maps()}
    assert any("xllamacpp" in path for path in mapped)
    assert not [path for path in mapped if "torch" in path or "numpy" in path]


def test_a_pickle_is_never_loaded(tiny, tools, device, tmp_path):
    directory = tmp_path / "pickled"
    directory.mkdir()
    for file in tiny.glob("*.json"):
        (directory / file.name).write_bytes(file.read_bytes())
    import torch  # noqa: PLC0415 - ten seconds, only where it runs

    torch.save({"weight": torch.zeros(1)}, directory / "pytorch_model.bin")
    runner = LLMRunner(tools, device)
    assert runner.weights(Model("pickled", directory)) == ()
    with pytest.raises(Retry) as caught:
        runner.load(Model("pickled", directory))
    assert caught.value.code == "MODEL_UNAVAILABLE"
    assert "models pull pickled" in str(caught.value)


@pytest.mark.parametrize("kind", ["safetensors", "gguf"])
def test_a_damaged_model_is_a_machine_fault(tiny, model, tools, device, tmp_path, kind):
    directory = tmp_path / "damaged"
    directory.mkdir()
    for file in tiny.iterdir() if kind == "safetensors" else model.path.glob("*.gguf"):
        (directory / file.name).write_bytes(file.read_bytes()[:200])
    with pytest.raises(Retry) as caught:
        LLMRunner(tools, device).load(Model("damaged", directory))
    assert caught.value.code == "MODEL_UNAVAILABLE"


@pytest.mark.parametrize("runner", [LLMRunner, EmbeddingRunner])
def test_an_engine_without_a_gpu_is_never_taken_for_one(model, tools, runner):
    """The build for processors says so when it is probed, and refuses a card with what to install."""
    (kinds,) = runner.probe(tools).kinds.values()
    assert kinds == ("cpu",)
    subject = runner(tools, Device("cuda", "NVIDIA H100", "GPU-1", threads=1))
    with pytest.raises(Retry, match="engines install llama") as caught:
        subject.load(model)
    assert caught.value.code == "GPU_UNSUPPORTED"


def test_probe_imports_no_engine(tools):
    code = (
        "import sys\nfrom runners.api import Tools\nfrom runners.llm import LLMRunner\n"
        "probe = LLMRunner.probe(Tools(batch=5))\nassert probe.available, probe.reasons\nassert probe.concurrency == 5\n"
        "assert not {'torch', 'transformers', 'numpy', 'llguidance', 'xllamacpp', 'vllm'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.ship
def test_a_killed_engine_ends_its_requests_and_the_process_is_replaced(model, tools, device, make_context):
    """ENGINE_DIED makes the parent replace the runner's process."""
    runner = LLMRunner(tools, device)
    runner.load(model)
    context = make_context()
    server = runner._engine._server._process
    context.on_progress = lambda: context.events and server.kill()
    with pytest.raises(Retry) as caught:
        runner.run(InferenceRequest(model=model.name, prompt="Write a story.", max_tokens=500), context)
    assert caught.value.code == "ENGINE_DIED"
    runner.close()


@pytest.mark.ship
def test_the_engine_ends_with_the_runners_process(start_child, model, tools, device):
    child = start_child("llm_inference")
    child.configure(tools, device)
    child.send(Load(model=model))
    assert child.until("loaded", "error").type == "loaded"
    (server,) = psutil.Process(child.process.pid).children()
    child.process.kill()
    server.wait(60)


@pytest.mark.ship
def test_through_the_child_process(start_child, tiny, tools, device, run_in):
    """Two concurrent runs in one child; cancelling one does not end the other."""
    child = start_child("llm_inference")
    child.configure(tools, device)
    child.send(Load(model=Model("tiny", tiny)))
    assert child.until("loaded", "error").type == "loaded"
    for run_id, tokens in (("long", 200), ("short", 5)):
        child.send(run_in(run_id, {"model": "tiny", "prompt": "Hello", "max_tokens": tokens, "seed": 1}))
    child.send(Cancel(run_id="long"))
    ended = {
        message.run_id: message for message in (child.until("done", "error"), child.until("done", "error"))
    }
    assert ended["short"].type == "done", ended
    assert ended["short"].results["usage"]["completion_tokens"] <= 5
    assert ended["short"].weights[0].name == "model.safetensors"
    assert getattr(ended["long"], "kind", "done") in {"cancelled", "done"}
