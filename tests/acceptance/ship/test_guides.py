"""What README and guides show works as it stands there: every block of code is run, in the document's order.

Each document is read in a network of its own, with nothing but loopback, so that its addresses and ports are literally
those that it names.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest

from support.guides.blocks import PROJECT, Block, blocks_of
from support.guides.files import prepare
from support.guides.session import STAYS

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

SESSION_SECONDS = 500
DOCUMENTS = (
    "README.md",
    *sorted(str(path.relative_to(PROJECT)) for path in PROJECT.glob("sdk/*/README.md")),
    *sorted(str(path.relative_to(PROJECT)) for path in (PROJECT / "docs").rglob("*.md")),
)
RUN_ELSEWHERE = {
    "docs/reference/contract.md": "tests/acceptance/test_javascript_sdk.py",
    "docs/tutorials/write-a-runner.md": "tests/acceptance/ship/test_runner_guide.py",
}
"""Documents whose blocks another test takes out and runs."""


def blocks_to_run(document: str) -> list[Block]:
    return [block for block in blocks_of(PROJECT / document) if block.run_by is None]


BLOCKS = {document: blocks_to_run(document) for document in DOCUMENTS if document not in RUN_ELSEWHERE}
OF_RUNNING_AGENTS = [
    document
    for document, blocks in BLOCKS.items()
    if blocks and not any(STAYS.search(block.text) for block in blocks)
]
"""Documents for people who have an agent running: they share one."""
OF_THEIR_OWN = [
    document for document, blocks in BLOCKS.items() if blocks and document not in OF_RUNNING_AGENTS
]


@pytest.fixture(scope="module")
def faults_beside_a_running_agent(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    return faults_of(OF_RUNNING_AGENTS, tmp_path_factory.mktemp("guides"))


@pytest.mark.parametrize("document", OF_RUNNING_AGENTS)
def test_every_block_runs_beside_a_running_agent(
    document: str, faults_beside_a_running_agent: dict[str, str | None]
) -> None:
    """Commands succeed and print what is shown, code runs to its end."""
    fault = faults_beside_a_running_agent[document]
    assert fault is None, fault


@pytest.mark.parametrize("document", OF_THEIR_OWN)
def test_every_block_runs_from_the_start(document: str, tmp_path: Path) -> None:
    """The same for documents that begin with starting an agent."""
    fault = faults_of([document], tmp_path)[document]
    assert fault is None, fault


def faults_of(documents: list[str], directory: Path) -> dict[str, str | None]:
    """Run all blocks of some documents. What went wrong in each, and where."""
    prepare(directory / "files")
    blocks, report = directory / "blocks.json", directory / "report.jsonl"
    content = {document: [asdict(block) for block in BLOCKS[document]] for document in documents}
    blocks.write_text(json.dumps(content), encoding="utf-8")
    process = subprocess.Popen(
        [*walls(), sys.executable, PROJECT / "tests/support/guides/session.py", blocks, report],
        cwd=directory,
        env=environment(directory),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=SESSION_SECONDS)
    finally:
        with suppress(ProcessLookupError):  # whatever the documents left running
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output
    ran = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    faults: dict[str, str | None] = {}
    for document in documents:
        of_it = [block for block in ran if block["document"] == document]
        fault = of_it[-1]["fault"]
        assert fault is not None or len(of_it) == len(BLOCKS[document])
        faults[document] = None if fault is None else f"{document}:{of_it[-1]['line']}\n{fault}"
    return faults


def walls() -> list[str]:
    """Loopback alone."""
    program = shutil.which("bwrap")
    assert program is not None, "install bubblewrap"
    privileges = ["--cap-add", "ALL"] if os.geteuid() == 0 else []
    return [program, "--dev-bind", "/", "/", "--unshare-net", "--die-with-parent", *privileges]


def environment(directory: Path) -> dict[str, str]:
    """A reader's: both commands on PATH, nothing configured, no data yet."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AITBC_")}
    if "AITBC_MODELS_DIR" in os.environ:
        kept["AITBC_MODELS_DIR"] = os.environ["AITBC_MODELS_DIR"]
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT / "tests"),
        "XDG_DATA_HOME": str(directory / ".local"),
        "XDG_STATE_HOME": str(directory / ".state"),
        "TERM": "dumb",
        "COLUMNS": "160",
    }


def test_blocks_that_are_run_elsewhere_are_run_there() -> None:
    """A document may leave a block to a test or script that is there and speaks of that document."""
    for document in DOCUMENTS:
        for block in blocks_of(PROJECT / document):
            if block.run_by is None:
                continue
            where = PROJECT / block.run_by
            assert where.is_file(), f"{document}:{block.line}: there is no {block.run_by}"
    for document, where in RUN_ELSEWHERE.items():
        assert Path(document).name in (PROJECT / where).read_text(encoding="utf-8")
