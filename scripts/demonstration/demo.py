"""Runs seven real jobs on one machine and verifies their receipts without trusting the agent.

Starts an agent as its owner would. As a client, has a video transcoded, a spoken sentence transcribed, an image
generated from a prompt, a scene rendered, an image classified by a model of its own, sentences compared by meaning and a question answered: one job of
each service. Checks the results and stops the agent. Then, with no agent running, it verifies all receipts from files,
with the command that a third party would use. The exit status is 1 if any check fails. The names of services as arguments
select some of the jobs.

Inputs, results, receipts and the agent's log are stored in build/demo, with a page that shows them: index.html.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.markup import escape

import demo_page
from aitbc import AITBCClient, AITBCError
from demo_agent import DemoError, running_agent, stop
from demo_media import Transcoding, Transcription
from demo_models import Answer, Prediction, Vectors
from demo_page import Verified
from demo_pictures import Picture, Render
from demo_receipts import LOG_KEY, verify_all
from demo_screen import console, fact, headline, show_end_of, watch
from demo_work import FOLDER, ROOT, Work, expect

WORKS: tuple[type[Work], ...] = (Transcoding, Transcription, Picture, Render, Prediction, Vectors, Answer)
SANDBOXES = {
    "landlock": "Landlock, since bubblewrap does not work on this machine; the demo allows its own model in it (docs/explanation/sandbox.md)"
}
ON_PAGE: tuple[type[Work], ...] = (Render, Answer, Transcription, Transcoding, Vectors, Prediction, Picture)
"""The jobs in the order of the page, the most beautiful one first."""
PAGE = FOLDER / "index.html"
AGENT_LOG = FOLDER / "agent.log"


def main() -> int:
    """Run the demo. Returns 0 if all checks pass, otherwise 1."""
    # On SIGTERM, the demo still stops its agent.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        works = chosen(sys.argv[1:])
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(parents=True)
        run(works)
    except KeyboardInterrupt:
        console.print("\nInterrupted; the agent is stopped.")
        return 130
    except Exception as error:  # noqa: BLE001 - a demo always ends with a sentence
        console.print(f"\n[bold red]The demo failed:[/] {escape(_sentence(error))}")
        show_end_of(AGENT_LOG)
        return 1
    return 0


def _sentence(error: Exception) -> str:
    known = isinstance(error, DemoError | AITBCError)
    return str(error) if known else f"{type(error).__name__}: {error}"


def chosen(services: Sequence[str]) -> list[Work]:
    """Return the jobs of these services, or all jobs if none is given. Raises `DemoError` for an unknown service."""
    known = [work.service for work in WORKS]
    for service in services:
        expect(service in known, f"there is no service {service}. The services are: {', '.join(known)}.")
    return [work() for work in WORKS if work.service in (services or known)]


class Demo:
    """The steps of the demo. A job that fails is left out of the later ones; `failures` has the reasons, by title."""

    def __init__(self, works: Sequence[Work]) -> None:
        self.works = list(works)
        self.failures: dict[str, str] = {}

    @contextmanager
    def attempt(self, work: Work) -> Iterator[None]:
        """Do a step of one job. An error is shown, and leaves the job out of the later steps."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the other jobs' results are shown nevertheless
            self.failures[work.title] = _sentence(error)
            self.works.remove(work)
            fact(work.title, f"[bold red]failed[/]: {escape(_sentence(error))}")

    def prepare(self) -> None:
        """Create the input files."""
        headline("A client's input files")
        for work in list(self.works):
            with self.attempt(work):
                if (prepared := work.prepare()) is not None:
                    fact(*prepared)

    def run_jobs(self, client: AITBCClient) -> None:
        """Submit the jobs, wait for them, and check their results."""
        jobs = [work for work in self.works if not isinstance(work, Answer)]
        if jobs:
            headline("Jobs and their progress")
            self._submit(client, jobs)
            watch(client, [work for work in jobs if work in self.works], self.attempt)
        if questions := [work for work in self.works if isinstance(work, Answer)]:
            headline("A question, with the answer as it is generated")
            self._submit(client, questions)
        headline("Results")
        for work in list(self.works):
            with self.attempt(work):
                work.collect(client)
                name, words = work.check()
                fact(name, escape(words))

    def _submit(self, client: AITBCClient, works: Sequence[Work]) -> None:
        for work in works:
            with self.attempt(work):
                work.submit(client)

    def stop(self, process: subprocess.Popen[bytes]) -> str:
        """Stop the agent. Returns how it ended."""
        try:
            stop(process)
        except DemoError as error:
            self.failures["the agent"] = str(error)
            return str(error)
        return "stopped, exit status 0"

    def verify(self) -> list[tuple[Work, Verified]]:
        """Verify the receipts."""
        verified = []
        outcomes = verify_all(self.works)
        for work, outcome in zip(list(self.works), outcomes, strict=True):
            with self.attempt(work):
                verified.append((work, outcome.result()))
                files = f"{len(work.files)} output file{'' if len(work.files) == 1 else 's'}"
                words = f"{len(outcome.result().checks)} checks, {files}; a falsified copy is refused"
                fact(work.title, f"[bold green]verified[/]: {words}")
        return verified


def run(works: Sequence[Work]) -> None:
    """Run all steps, and show what succeeded. Raises `DemoError` if a job failed, or if nothing could be shown."""
    started = time.monotonic()
    demo = Demo(works)
    headline("An agent: coordinator and miner in one process")
    with running_agent(AGENT_LOG, [work.service for work in works]) as (process, agent):
        LOG_KEY.write_text(agent["log_key"] + "\n")
        fact("address", agent["url"])
        fact("miner", agent["miner_id"])
        fact("sandbox", SANDBOXES.get(agent["sandbox"], agent["sandbox"]))
        demo.prepare()
        with AITBCClient(api_key=agent["client_key"], base_url=agent["url"]) as client:
            demo.run_jobs(client)
        stopped = demo.stop(process)

    headline("The receipts, verified without the agent")
    fact("agent", stopped)
    verified = demo.verify()
    seconds = time.monotonic() - started
    shown = sorted(verified, key=lambda pair: ON_PAGE.index(type(pair[0])))
    if shown:
        exhibits = [(work.exhibit(), receipt) for work, receipt in shown]
        demo_page.write(PAGE, agent, exhibits, seconds, tuple(demo.failures))
        console.print(
            f"\nAfter {seconds:.1f} s: to see the results with their receipts, open {PAGE.relative_to(ROOT)}"
        )
    if demo.failures:
        reasons = " ".join(f"{title}: {reason}" for title, reason in demo.failures.items())
        raise DemoError(f"Not everything succeeded. {reasons}")
    console.print("[bold green]All checks passed[/].")


if __name__ == "__main__":
    sys.exit(main())
