"""The codes of failed runs: each is used, and with the kind of error that its fault implies."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from runners.errors import TOO_LARGE, Fail, FailureCode, Fault, Retry

ROOT = Path(__file__).parents[3]
FINAL_OR_NOT = {FailureCode.INPUT_UNAVAILABLE}
"""Raised for addresses that are wrong, and for servers that may be back later."""

FILES = sorted([*(ROOT / "runners").rglob("*.py"), *(ROOT / "agent").rglob("*.py")])
INSIDE_BLENDER = ROOT / "runners" / "blender" / "script.py"


def raised() -> Iterator[tuple[str, FailureCode, str]]:
    """Each construction of an error with a literal code: the error's class, the code and the location."""
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            for keyword in node.keywords:
                value = keyword.value
                if (
                    keyword.arg == "code"
                    and isinstance(value, ast.Attribute)
                    and ast.unparse(value.value) == "FailureCode"
                ):
                    location = f"{file.relative_to(ROOT)}:{node.lineno}"
                    yield node.func.id, FailureCode[value.attr], location


def test_an_error_with_a_code_of_an_input_fault_is_final_and_any_other_is_retried():
    found = [(kind, code, location) for kind, code, location in raised() if code not in FINAL_OR_NOT]
    assert len(found) > 60
    final = {"Fail", "InputRefused"}
    assert [location for kind, code, location in found if (kind in final) == code.retried] == []


def test_every_code_is_used_and_none_is_written_as_a_string():
    texts = {file: file.read_text(encoding="utf-8") for file in FILES if file.name != "errors.py"}
    used = "\n".join(texts.values())
    assert [
        code for code in FailureCode if f"FailureCode.{code}" not in used and f'"{code}"' not in used
    ] == [FailureCode.RUNNER_ERROR]
    written = [
        f"{file.relative_to(ROOT)}: {code}"
        for file, text in texts.items()
        for code in FailureCode
        if f'code="{code}"' in text and file != INSIDE_BLENDER
    ]
    assert written == []


@pytest.mark.parametrize("code", FailureCode)
def test_a_codes_wire_value_is_its_name_and_it_has_a_meaning(code):
    assert code == code.name == f"{code}"
    assert code.meaning.endswith(".")


def test_a_code_of_another_package_is_a_machine_fault_and_its_message_is_not_logged():
    assert (Retry("x", code="COOLING_FAILED").fault, Retry("x", code="COOLING_FAILED").own_message) == (
        Fault.MACHINE,
        False,
    )
    assert Fail("x", code="BAD_SHADER").fault is Fault.INPUT
    assert Retry("x").fault is Fault.MACHINE


def test_faults_and_loggable_messages_are_those_that_miners_and_reputation_depend_on():
    """Codes that do not count against a machine, and those whose messages may be logged."""
    spared = {code for code in FailureCode if code.retried and code.fault is not Fault.MACHINE}
    assert spared == {
        "INPUT_UNAVAILABLE", "LEASE_EXPIRED", "MODEL_UNAVAILABLE", "MODEL_UNKNOWN", "NO_MEMORY", "OUT_OF_MEMORY",
        "REQUIREMENTS_UNAVAILABLE", "SPEC_MISMATCH", "SERVICE_NOT_OFFERED", "ENGINE_OUTDATED", "ENGINE_UNAVAILABLE",
        "ENCODER_UNAVAILABLE", "DENOISER_UNAVAILABLE", "GPU_UNAVAILABLE", "HARDWARE_UNAVAILABLE", "SEALED_MINER_AWAY", "LEASE_MALFORMED",
        "GPU_UNSUPPORTED",
    }  # fmt: skip
    logged = {code for code in FailureCode if code.own_message}
    assert logged == {
        "DISK_FULL", "DISK_FAULT", "NO_MEMORY", "NODE_LOST", "MODEL_UNAVAILABLE", "MODEL_UNKNOWN", "SEALED_INVALID",
        "SEALED_KEY_EXPIRED", "SEALED_MINER_AWAY", "SEALED_REPLAYED", "GPU_UNSUPPORTED",
    }  # fmt: skip
    assert {"NO_MEMORY", "OUT_OF_MEMORY"} == TOO_LARGE
