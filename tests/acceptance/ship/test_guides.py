"""Every code block of README and guides works as printed: the blocks run in the document's order.

Each document has its own network namespace with loopback only, so that it can use its addresses and ports
literally.
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

pytestmark = pytest.mark.acceptance

SESSION_SECONDS = 1100
DOCUMENTS = (
    "README.md",
    *sorted(str(path.relative_to(PROJECT)) for path in PROJECT.glob("sdk/*/README.md")),
    *sorted(str(path.relative_to(PROJECT)) for path in (PROJECT / "docs").rglob("*.md")),
)
RUN_ELSEWHERE = {
    "docs/reference/contract.md": "tests/acceptance/one_agent/test_javascript_sdk.py",
    "docs/tutorials/write-a-runner.md": "tests/acceptance/ship/test_runner_guide.py",
}
"""Documents whose blocks another test extracts and runs."""


def blocks_to_run(document: str) -> list[Block]:
    return [block for block in blocks_of(PROJECT / document) if block.run_by is None]


BLOCKS = {document: blocks_to_run(document) for document in DOCUMENTS if document not in RUN_ELSEWHERE}
OF_RUNNING_AGENTS = [
    document
    for document, blocks in BLOCKS.items()
    if blocks and not any(STAYS.search(block.text) for block in blocks)
]
"""Documents that need a running agent: they share one."""
OF_THEIR_OWN = [
    document for document, blocks in BLOCKS.items() if blocks and document not in OF_RUNNING_AGENTS
]


@pytest.fixture(scope="module")
def failures_beside_a_running_agent(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    return failures_of(OF_RUNNING_AGENTS, tmp_path_factory.mktemp("guides"))


@pytest.mark.parametrize("document", OF_RUNNING_AGENTS)
def test_every_block_runs_beside_a_running_agent(
    document: str, failures_beside_a_running_agent: dict[str, str | None]
) -> None:
    """Commands succeed and print the shown lines; code runs to its end."""
    failure = failures_beside_a_running_agent[document]
    assert failure is None, failure


@pytest.mark.parametrize("document", OF_THEIR_OWN)
def test_every_block_runs_from_the_start(document: str, tmp_path: Path) -> None:
    """The same for documents that start an agent."""
    failure = failures_of([document], tmp_path)[document]
    assert failure is None, failure


def failures_of(documents: list[str], directory: Path) -> dict[str, str | None]:
    """Run all blocks of some documents. Return the first failure of each, with its position."""
    prepare(directory / "files")
    blocks, report = directory / "blocks.json", directory / "report.jsonl"
    content = {document: [asdict(block) for block in BLOCKS[document]] for document in documents}
    blocks.write_text(json.dumps(content), encoding="utf-8")
    process = subprocess.Popen(
        [*isolation(), sys.executable, PROJECT / "tests/support/guides/session.py", blocks, report],
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
        with suppress(ProcessLookupError):  # processes that the documents left running
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output
    ran = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    failures: dict[str, str | None] = {}
    for document in documents:
        of_it = [block for block in ran if block["document"] == document]
        failure = of_it[-1]["failure"]
        assert failure is not None or len(of_it) == len(BLOCKS[document])
        failures[document] = None if failure is None else f"{document}:{of_it[-1]['line']}\n{failure}"
    return failures


def isolation() -> list[str]:
    """Return the command that leaves a process only loopback."""
    program = shutil.which("bwrap")
    assert program is not None, "install bubblewrap"
    privileges = ["--cap-add", "ALL"] if os.geteuid() == 0 else []
    return [program, "--dev-bind", "/", "/", "--unshare-net", "--die-with-parent", *privileges]


def environment(directory: Path) -> dict[str, str]:
    """Return a reader's environment: both commands on PATH, no configuration, no data."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AITBC_")}
    if "AITBC_MODELS_DIR" in os.environ:
        inherited["AITBC_MODELS_DIR"] = os.environ["AITBC_MODELS_DIR"]
    return {
        **inherited,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT / "tests"),
        "XDG_DATA_HOME": str(directory / ".local"),
        "XDG_STATE_HOME": str(directory / ".state"),
        "TERM": "dumb",
        "COLUMNS": "160",
    }


def test_notes_name_existing_tests() -> None:
    """The test or script that a note names exists; the test of a whole document names it."""
    for document in DOCUMENTS:
        for block in blocks_of(PROJECT / document):
            if block.run_by is None:
                continue
            where = PROJECT / block.run_by
            assert where.is_file(), f"{document}:{block.line}: there is no {block.run_by}"
    for document, where in RUN_ELSEWHERE.items():
        assert Path(document).name in (PROJECT / where).read_text(encoding="utf-8")
