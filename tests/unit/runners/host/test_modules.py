"""Every module of the package can be imported on a machine without engines."""

from __future__ import annotations

import subprocess
import sys

BLOCKED = """
import importlib, pkgutil, sys

class Blocker:
    names = {"torch", "whisper", "faster_whisper", "ctranslate2", "onnx_asr", "onnxruntime", "ffmpeg", "numpy", "diffusers", "transformers",
             "accelerate", "peft", "safetensors", "PIL", "xllamacpp", "llguidance", "vllm", "bpy"}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
import runners
for module in pkgutil.walk_packages(runners.__path__, "runners."):
    # The others are programs for the interpreters of engines.
    if module.name.endswith((".__main__", "host.isolated", "engine_server.llama_server")):
        continue
    importlib.import_module(module.name)
    print(module.name)
from runners.registry import installed
for service, runner in installed().items():
    print(service, len(runner.definition.input_model.model_json_schema()["properties"]))
    print(len(runner.definition.output_model.model_json_schema()["properties"]), sorted(runner.definition.file_fields()))
"""


def test_every_module_imports_without_any_engine():
    """The coordinator reads the definitions of services whose engines it does not have."""
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in (
        "runners.whisper",
        "runners.ffmpeg",
        "runners.python_model",
        "runners.blender.script",
        "runners.stable_diffusion",
        "runners.host.process",
        "ai_inference",
        "blender_rendering",
    ):
        assert name in done.stdout
    assert "['input.source', 'model.source']" in done.stdout
    assert "['control_url', 'image_url', 'mask_url']" in done.stdout
