"""Clients' Python models in the real sandbox."""

from __future__ import annotations

import dataclasses

import pytest

from runners.python_model import PythonModelRunner
from runners.python_model.request import InferenceRequest


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Environments are made once for all tests, as on a miner."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def tools(tools, cache):
    return dataclasses.replace(tools, cache_dir=cache, max_memory=2**30, max_output=20 * 2**20)


@pytest.fixture
def predict(tools, device, make_context, tmp_path):
    """Run a model given as text; return the result and the context."""

    def run(source, *, input_file=None, entrypoint="model.py", requirements=(), parameters=None, **context):
        if isinstance(source, str):
            path = tmp_path / "source"
            path.write_text(source)
        else:
            path = source
        files = {"model.source": path}
        request = {"model": {"entrypoint": entrypoint, "requirements": list(requirements)}}
        if input_file is not None:
            files["input.source"] = input_file
            request["input"] = {"type": "image", "format": "jpeg"}
        if parameters is not None:
            request["parameters"] = parameters
        made = make_context(files, **context)
        runner = PythonModelRunner(tools, device)
        return runner.run(InferenceRequest.model_validate(request), made), made

    return run
