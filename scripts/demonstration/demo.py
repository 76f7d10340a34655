"""Shows the whole life of six real jobs on one machine, and that nobody has to be trusted about them afterwards.

An agent is started as its owner would start it. A client has a video transcoded, a spoken sentence transcribed, a
picture made from words, a scene rendered, a picture classified by a model of its own and a question answered, one job of
each service, and looks at what came back. Then the agent is stopped, and with nothing left running but this script all
receipts are verified from files, by the command that a stranger would use. Whatever is not as it should be ends the demo
with status 1. The names of services as arguments choose some of the jobs.

Inputs, results, receipts and the agent's log stay in build/demo.
"""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections.abc import Sequence

from rich.markup import escape

from aitbc import AITBCClient, AITBCError
from demo_agent import DemoError, running_agent, stop
from demo_media import Transcoding, Transcription
from demo_models import Answer, Prediction
from demo_pictures import Picture, Render
from demo_receipts import LOG_KEY, verify
from demo_screen import console, fact, headline, show_end_of, watch
from demo_work import FOLDER, ROOT, Work, expect

WORKS: tuple[type[Work], ...] = (Transcoding, Transcription, Picture, Render, Prediction, Answer)
SANDBOXES = {
    "landlock": "Landlock, since bubblewrap does not work here; the demo allows its own model in it (docs/explanation/sandbox.md)"
}
AGENT_LOG = FOLDER / "agent.log"


def main() -> int:
    """Run the demo: 0 if everything is as it should be, 1 if not."""
    # Ended from outside, the demo still stops its agent.
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
    """The jobs of these services, all if none is named. Raises `DemoError` for a name that is none."""
    known = [work.service for work in WORKS]
    for service in services:
        expect(service in known, f"{service} is none of the services: {', '.join(known)}.")
    return [work() for work in WORKS if work.service in (services or known)]


def run(works: Sequence[Work]) -> None:
    """All steps, one after the other. Raises `DemoError` or the SDK's errors at the first that fails."""
    started = time.monotonic()
    headline("An agent: coordinator and miner in one process")
    with running_agent(AGENT_LOG, [work.service for work in works]) as (process, agent):
        LOG_KEY.write_text(agent["log_key"] + "\n")
        fact("address", agent["url"])
        fact("miner", agent["miner_id"])
        fact("sandbox", SANDBOXES.get(agent["sandbox"], agent["sandbox"]))

        headline("A client, with something to send")
        for work in works:
            if (made := work.prepare()) is not None:
                fact(*made)

        with AITBCClient(api_key=agent["client_key"], base_url=agent["url"]) as client:
            do(client, works)
        stop(process)

    headline("The receipts, with the agent gone")
    fact("agent", "stopped, exit status 0")
    for work in works:
        fact(work.title, f"[bold green]verified[/]: {verify(work)}")
    console.print(
        f"\n[bold green]All is as it should be[/] after {time.monotonic() - started:.1f} s; "
        f"inputs, results and receipts are in {FOLDER.relative_to(ROOT)}."
    )


def do(client: AITBCClient, works: Sequence[Work]) -> None:
    """Have the jobs done, and look at what came back."""
    questions = [work for work in works if isinstance(work, Answer)]
    jobs = [work for work in works if work not in questions]
    if jobs:
        headline("Jobs, and how they get on")
        for work in jobs:
            work.submit(client)
        watch(client, jobs)
    if questions:
        headline("A question, and the answer as it is written")
        for work in questions:
            work.submit(client)
    headline("What came back")
    for work in works:
        work.collect(client)
        name, words = work.check()
        fact(name, escape(words))


if __name__ == "__main__":
    sys.exit(main())
