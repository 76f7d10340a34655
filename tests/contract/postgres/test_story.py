"""The examples of the API reference, in sequence, on PostgreSQL."""

from __future__ import annotations

import pytest

from contract.jobs.test_conformance import (
    test_health_responds_like_the_example,
    test_the_examples_of_the_reference_work_in_sequence,
)

pytestmark = pytest.mark.system

__all__ = ["test_health_responds_like_the_example", "test_the_examples_of_the_reference_work_in_sequence"]
