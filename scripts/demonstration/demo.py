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
import sys
import time
from collections.abc import Sequence

from rich.markup import escape

import demo_page
from aitbc import AITBCClient, AITBCError
from demo_agent import DemoError, running_agent, stop
from demo_media import Transcoding, Transcription
from demo_models import Answer, Prediction, Vectors
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
    except (DemoError, AITBCError) as error:
        console.print(f"\n[bold red]The demo failed:[/] {escape(str(error))}")
        show_end_of(AGENT_LOG)
        return 1
    except KeyboardInterrupt:
        console.print("\nInterrupted; the agent is stopped.")
        return 130
    return 0


def chosen(services: Sequence[str]) -> list[Work]:
    """Return the jobs of these services, or all jobs if none is given. Raises `DemoError` for an unknown service."""
    known = [work.service for work in WORKS]
    for service in services:
        expect(service in known, f"there is no service {service}. The services are: {', '.join(known)}.")
    return [work() for work in WORKS if work.service in (services or known)]


def run(works: Sequence[Work]) -> None:
    """Run all steps. Raises `DemoError` or the SDK's errors at the first failure."""
    started = time.monotonic()
    headline("An agent: coordinator and miner in one process")
    with running_agent(AGENT_LOG, [work.service for work in works]) as (process, agent):
        LOG_KEY.write_text(agent["log_key"] + "\n")
        fact("address", agent["url"])
        fact("miner", agent["miner_id"])
        fact("sandbox", SANDBOXES.get(agent["sandbox"], agent["sandbox"]))

        headline("A client's input files")
        for work in works:
            if (prepared := work.prepare()) is not None:
                fact(*prepared)

        with AITBCClient(api_key=agent["client_key"], base_url=agent["url"]) as client:
            run_jobs(client, works)
        stop(process)

    headline("The receipts, verified without the agent")
    fact("agent", "stopped, exit status 0")
    receipts = verify_all(works)
    for work, verified in zip(works, receipts, strict=True):
        files = f"{len(work.files)} output file{'' if len(work.files) == 1 else 's'}"
        words = f"{len(verified.checks)} checks, {files}; a falsified copy is refused"
        fact(work.title, f"[bold green]verified[/]: {words}")
    seconds = time.monotonic() - started
    shown = sorted(zip(works, receipts, strict=True), key=lambda pair: ON_PAGE.index(type(pair[0])))
    demo_page.write(PAGE, agent, [(work.exhibit(), verified) for work, verified in shown], seconds)
    console.print(
        f"\n[bold green]All checks passed[/] in {seconds:.1f} s. To see the results with their receipts, open "
        f"{PAGE.relative_to(ROOT)}"
    )


def run_jobs(client: AITBCClient, works: Sequence[Work]) -> None:
    """Submit the jobs, wait for them, and check their results."""
    questions = [work for work in works if isinstance(work, Answer)]
    jobs = [work for work in works if work not in questions]
    if jobs:
        headline("Jobs and their progress")
        for work in jobs:
            work.submit(client)
        watch(client, jobs)
    if questions:
        headline("A question, with the answer as it is generated")
        for work in questions:
            work.submit(client)
    headline("Results")
    for work in works:
        work.collect(client)
        name, words = work.check()
        fact(name, escape(words))


if __name__ == "__main__":
    sys.exit(main())
