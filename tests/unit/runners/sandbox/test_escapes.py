"""A hostile model tries to escape from each sandbox, with an agent of root and with one of a user.

The attempts are in tests/support/escapes/model. All of them run in each sandbox in turn, beside another job and after a job
that left files and objects behind; see tests/support/escapes/agent_process.py. Each attempt is also made without a sandbox, where it must
succeed, so that the sandbox is known to be the cause of its failure.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from support.escapes.judgement import ABSENT, ATTEMPTS, INSIDE_ONLY, NAMED, PAGE, SANDBOXES, got_out
from support.machines.other_user import NOBODY, as_user

TESTS = Path(__file__).parents[3]
PROGRAM = [sys.executable, "-m", "support.escapes.agent_process"]
USERS = ("root", "user")
SECONDS = 600

pytestmark = [pytest.mark.system, pytest.mark.timeout(2 * SECONDS + 60)]


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Any]:
    """The outcomes of all attempts, by user."""
    return {user: _attacked(user) for user in USERS if user == "user" or os.geteuid() == 0}


def _attacked(user: str) -> dict[str, Any]:
    base = Path(tempfile.mkdtemp(prefix="aitbc-escapes-"))
    base.chmod(0o755)
    command = [*PROGRAM, json.dumps({"base": str(base), "sandboxes": SANDBOXES, "control": True})]
    if user == "user" and os.geteuid() == 0:
        os.chown(base, NOBODY, NOBODY)
        command = as_user(NOBODY, command)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, check=False, start_new_session=True,
            env={**os.environ, "AITBC_SECRET": secrets.token_hex(16), "TMPDIR": str(base), "PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.strip().splitlines()[-1]
        answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answers
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _of(outcomes: dict[str, Any], user: str) -> dict[str, Any]:
    if user not in outcomes:
        pytest.skip("this is not root, whose agent this is about")
    return outcomes[user]


@pytest.mark.parametrize("sandbox", SANDBOXES)
@pytest.mark.parametrize("user", USERS)
def test_every_attempt_is_refused(outcomes: dict[str, Any], user: str, sandbox: str) -> None:
    """Unless the documentation names it."""
    attempts = _of(outcomes, user)[sandbox]["attempts"]
    assert attempts.keys() >= set(ATTEMPTS)
    assert got_out(attempts, sandbox) == {}


@pytest.mark.parametrize("sandbox", SANDBOXES)
@pytest.mark.parametrize("user", USERS)
def test_the_agents_processes_are_unchanged(outcomes: dict[str, Any], user: str, sandbox: str) -> None:
    """They received no signal and are unchanged, as observed from outside."""
    seen = _of(outcomes, user)[sandbox]
    assert (seen["signals"], seen["changed"]) == ([], [])


@pytest.mark.skipif(os.geteuid() != 0, reason="most attempts are root's to succeed with")
def test_attempts_succeed_without_a_sandbox(outcomes: dict[str, Any]) -> None:
    """As root or as a user, which shows that the sandbox refuses them. Some exist only in a sandbox, others not on this machine."""
    for name in set(ATTEMPTS) - set(INSIDE_ONLY):
        attempts = [outcomes[user]["control"]["attempts"][name] for user in USERS]
        if any(attempt["out"] for attempt in attempts):
            continue
        if name in ABSENT and all(attempt["absent"] for attempt in attempts):
            print(f"{name} is not tried: {ABSENT[name]}: {attempts[0]['how']}")  # noqa: T201 - pytest shows it with -rP
            continue
        pytest.fail(f"{name} would be refused anyway: {[attempt['how'] for attempt in attempts]}")


@pytest.mark.parametrize(("sandbox", "name"), NAMED)
def test_every_escape_is_named_in_the_documentation(
    outcomes: dict[str, Any], sandbox: str, name: str
) -> None:
    """And every named escape still works, so that the documentation is current."""
    page = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert NAMED[sandbox, name] in page
    assert all(of[sandbox]["attempts"][name]["out"] for of in outcomes.values())
