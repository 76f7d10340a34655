"""Results of Python models, compared by another miner."""

from __future__ import annotations

import pytest

from runners.python_model import PythonModelRunner
from runners.python_model.request import InferenceRequest
from support.audited import audited

SOURCE = """
def predict(input, n):
    open("list.txt", "w").write(str(n))
    return {"squares": [n * n, 1.5], "even": n % 2 == 0}
"""

RANDOM = "import random\ndef predict(input, n):\n    return random.random()\n"


@pytest.fixture
def audit(tools, device, make_context, tmp_path):
    """Audit the result of a model; return the comparison."""

    def run(result, *, deterministic=True, **changes):
        model = {"entrypoint": "model.py", "deterministic": deterministic}
        request = InferenceRequest.model_validate({"model": model, "parameters": {"n": 4}})
        context = make_context({"model.source": tmp_path / "source"})
        return PythonModelRunner(tools, device).audit(request, audited(result, **changes), context).comparison

    return run


def test_equal_results_pass_and_others_fail_with_their_path(predict, audit, tmp_path):
    result, _ = predict(SOURCE, parameters={"n": 4})
    assert audit(result).verdict == "pass"
    other = tmp_path / "other"
    other.write_text("5")
    for changes, where in (
        ({"claims": {"squares": [16, 1.6]}}, "results.squares[1]"),
        ({"claims": {"even": 1}}, "results.even"),
        ({"claims": {"more": None}}, "results.more"),
        ({"files": {"list.txt": other}}, "file list.txt"),
        ({"files": {}}, "file list.txt"),
    ):
        found = audit(result, **changes)
        assert (found.verdict, found.where) == ("fail", where)


def test_a_difference_proves_nothing_without_the_same_environment_or_determinism(predict, audit):
    result, _ = predict(SOURCE, parameters={"n": 4})
    wrong = {"claims": {"even": False}}
    assert audit(result, deterministic=False, **wrong).verdict == "unproven"
    for evidence in ({"python": "3.8.0", "packages": {}}, None):
        found = audit(result, evidence=evidence, **wrong)
        assert (found.verdict, found.cause) == ("unproven", "miner")
    drawn, _ = predict(RANDOM, parameters={"n": 4})
    found = audit(drawn)
    assert found.reason == "The model is not deterministic: two runs of the auditor differ."
    assert found.cause == ""


def test_known_results_are_compared_without_a_run(predict, audit):
    result, _ = predict(SOURCE, parameters={"n": 4})
    digest = "9c5574a4e2a8d1f2b6ab7c3c0a6b5e7e"
    answer = {
        "squares": [16, 1.5],
        "even": True,
        "files": [{"name": "list.txt", "artifact_id": f"sha256:{digest}"}],
    }
    assert audit(result, answer=answer).where == "file list.txt"
    assert audit(result, answer={**answer, "even": False}).where == "results.even"
