"""Collects the tests when it is imported: pytest finds their modules imported in each process that is forked afterwards."""

from __future__ import annotations

import json
import os
from contextlib import redirect_stdout

import pytest

# Errors of the collection are reported by the forked processes.
with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):  # noqa: PTH123 - a device
    pytest.main([*json.loads(os.environ.pop("TESTS_ARGUMENTS")), "--collect-only", "-n0"])
