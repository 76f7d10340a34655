"""Verifies the demo's receipts from files alone, with the command that a third party would use."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from demo_agent import DemoError, finished
from demo_page import Verified
from demo_work import FOLDER, Work, expect

NOT_VALID = 3
"""The exit status of `aitbc receipts verify` for an invalid receipt."""

LOG_KEY = FOLDER / "log_key.txt"
"""The public key of the coordinator's log, which verification needs besides a receipt."""


def verify_all(works: Sequence[Work]) -> list[Future[Verified]]:
    """Verify the receipts of all works, two at a time. Returns their outcomes."""
    with ThreadPoolExecutor(2) as pool:
        return [pool.submit(verify, work) for work in works]


def verify(work: Work) -> Verified:
    """Verify a receipt and its output files, and check that a falsified copy is refused. Raises `DemoError`."""
    status, outcome = verification(work.bundle, *work.files.values())
    expect(status == 0, f"the receipt of {work.job_id} is not valid: {outcome.get('failures')}")

    falsified = FOLDER / f"{work.name}.falsified.json"
    bundle = json.loads(work.bundle.read_text())
    bundle["results"]["units"] = 1_000_000
    falsified.write_text(json.dumps(bundle))
    status, _ = verification(falsified)
    expect(status == NOT_VALID, f"a falsified receipt was not refused (status {status}).")
    falsified.unlink()
    return Verified(work.bundle, outcome["checks"])


def verification(bundle: Path, *files: Path) -> tuple[int, dict[str, Any]]:
    """Run `aitbc receipts verify` on a bundle and output files. Returns its exit status and its report."""
    command = [str(Path(sys.executable).parent / "aitbc"), "receipts", "verify", str(bundle), "--json"]
    command += ["--log-key", LOG_KEY.read_text().strip()]
    for file in files:
        command += ["--artifact", str(file)]
    done = finished(*command)
    try:
        outcome: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise DemoError(f"aitbc receipts verify ended with status {done.returncode}: {done.stderr}") from None
    return done.returncode, outcome
