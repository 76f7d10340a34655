"""The selection of tests for a change."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.scripts import script

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("changed", "needed", "superfluous"),
    [
        ("agent/core/assignment.py", "tests/unit/core/test_assignment.py", "tests/unit/runners/ffmpeg/test_ffmpeg.py"),
        ("agent/coordinator/routes/health.py", "tests/contract/http/test_door.py", "tests/unit/miner/test_bench.py"),
        ("agent/coordinator/store/jobs.py", "tests/contract/jobs/test_leases.py", "tests/unit/cli/test_doctor.py"),
        ("agent/coordinator/features/labels/labels.py", "tests/features/labels/test_labels.py", "tests/contract/http/test_door.py"),
        ("agent/cli/commands/machine/doctor.py", "tests/unit/cli/test_doctor.py", "tests/contract/http/test_door.py"),
        ("agent/coordinator/features/labels/labels.py", "tests/contract/jobs/test_conformance.py", "tests/features/throttling/test_throttling.py"),
        ("runners/whisper/parts.py", "tests/unit/runners/whisper/test_whisper_parts.py", "tests/contract/http/test_door.py"),
        ("tests/support/servers/coordinator.py", "tests/contract/http/test_door.py", "tests/unit/core/test_assignment.py"),
        ("tests/contract/conftest.py", "tests/contract/http/test_door.py", "tests/unit/core/test_assignment.py"),
        ("scripts/gpu_check.py", "tests/unit/test_gpu_check.py", "tests/unit/core/test_assignment.py"),
        ("docs/how-to/gpu.md", "tests/unit/test_gpu_check.py", "tests/unit/core/test_assignment.py"),
    ],
)  # fmt: skip
def test_a_change_needs_the_tests_that_import_it(changed: str, needed: str, superfluous: str) -> None:
    selected = script("testing/changed").select([changed])
    assert ROOT / needed in selected
    assert ROOT / superfluous not in selected


def test_a_change_of_an_unknown_kind_needs_all_tests() -> None:
    tests = script("testing/changed")
    assert tests.select(["strange" + "_file"]) == set(tests._texts())
