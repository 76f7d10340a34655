"""Sends generated broken requests of every service to a real agent: `scripts/chaos broken`. The exit status is 0 if it stands them.

Most are valid by their schemas and reach an engine: damaged files, strange conversations, programs that kill themselves. No request may
crash or hang a runner, count as the machine's fault, pause a service, or get an answer 5xx; and good requests of every service must
succeed afterwards. The same seed and numbers send the same requests.
"""

from __future__ import annotations

import argparse
import math
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from campaign.broken import good, machine
from campaign.broken.sending import Outcome, Sender, violations, without_ids
from campaign.broken.services import GENERATORS, generate
from support.agents import Agent, running

PORTION = 250
"""Requests after which the agent is examined, and good requests are sent."""
CLIENTS = 8
IDLE_SECONDS = 900.0
START_SECONDS = 1800.0


def main() -> None:
    """Read the options, send the requests, and print the report."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("The campaign was terminated."))  # with cleanup
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a text stream
    warnings.filterwarnings("ignore", "Duplicate name")  # of members of archives
    folder = Path(tempfile.mkdtemp(prefix="aitbc-broken-", dir=options.folder))
    agent = Agent(folder / "data", "start", "--port", "0", **machine.SETTINGS)
    numbers = options.only or range(options.first, options.first + options.count)
    with running(agent, seconds=START_SECONDS):
        found = Campaign(agent, options).run(numbers)
    if found:
        sys.exit(f"FOUND: {len(found)}. The agent's files are in {folder}.")
    shutil.rmtree(folder)
    print("The agent stood them all.", flush=True)


class Campaign:
    """The requests of one campaign and what they led to."""

    def __init__(self, agent: Agent, options: argparse.Namespace) -> None:
        assert agent.process is not None
        self._agent = agent
        self._options = options
        self._log = machine.Log(agent.log)
        self._meter = machine.Meter(agent.process.pid)
        self._ends: Counter[tuple[str, str]] = Counter()
        self._messages: Counter[tuple[str, str, str]] = Counter()
        self._found: list[str] = []
        self._last = 0
        self._began = time.monotonic()
        self._sender = Sender(agent.url, agent.file["client_key"])

    def run(self, numbers: Iterable[int]) -> list[str]:
        """Send the requests in portions. Returns all violations."""
        with self._meter:
            self._add(good.failures(self._sender))
            record, costs = machine.failed_runs(self._agent), self._meter.costs()
            print(
                f"ready after {time.monotonic() - self._began:.0f} s: {record}, {_words(costs)}", flush=True
            )
            waiting = iter(numbers)
            while not self._is_late() and (portion := list(islice(waiting, PORTION))):
                self._send(portion)
                print(
                    f"{sum(self._ends.values())} requests, up to number {self._last}, {time.monotonic() - self._began:.0f} s, {_words(self._meter.costs())}, found {len(self._found)}",
                    flush=True,
                )
            self._report(record, costs)
        return self._found

    def _send(self, numbers: Iterable[int]) -> None:
        """Send a portion, wait until the agent is idle, and examine it."""
        pool = ThreadPoolExecutor(CLIENTS)
        try:
            outcomes = [outcome for outcome in pool.map(self._one, numbers) if outcome is not None]
        finally:
            pool.shutdown(cancel_futures=True)
        if not machine.wait_idle(self._agent, IDLE_SECONDS):
            self._add(["jobs are open though all requests have ended"])
        for outcome in outcomes:
            self._last = outcome.number
            self._ends[outcome.request.service, _end(outcome)] += 1
            if outcome.message:
                self._messages[outcome.request.service, outcome.code, without_ids(outcome.message)] += 1
        self._add(violations(outcomes))
        self._examine(outcomes)
        self._add(good.failures(self._sender))

    def _add(self, found: list[str]) -> None:
        self._found += found
        print("\n".join(f"FOUND {line}" for line in found), end="\n" if found else "", flush=True)

    def _is_late(self) -> bool:
        return time.monotonic() - self._began > self._options.seconds

    def _one(self, number: int) -> Outcome | None:
        if self._is_late():
            return None
        request = generate(self._options.seed, number, self._options.services)
        if any(words in request.kind for words in self._options.omit):
            return None
        outcome = self._sender.send(number, request)
        if outcome.seconds > self._options.slow:
            print(
                f"slow: {outcome.seconds:.1f} s, request {number} ({request.service}: {request.kind}) {_end(outcome)}",
                flush=True,
            )
        return outcome

    def _examine(self, outcomes: list[Outcome]) -> None:
        blamed, harm = self._log.read()
        by_job = {outcome.job_id: outcome for outcome in outcomes if outcome.job_id}
        for run in blamed:
            outcome = by_job.get(run.job_id)
            sent = (
                f"request {outcome.number} ({outcome.request.kind})"
                if outcome
                else "a request whose client left"
            )
            self._add([f"{run.service} {run.code}: {sent}: {machine.reason(self._agent, run.job_id)}"])
        self._add([f"the agent's log: {line}" for line in harm])

    def _report(self, before: dict[str, float], costs: machine.Costs) -> None:
        """Print what the requests led to, and what they cost."""
        for (service, end), number in sorted(self._ends.items()):
            print(f"{service:22} {end:42} {number}")
        if self._options.messages:
            for (service, code, message), number in sorted(self._messages.items()):
                print(f"{number:5} {service} {code} {message}")
        after, now = machine.failed_runs(self._agent), self._meter.costs()
        if after["failed_runs"] != before["failed_runs"] or after["reputation"] < before["reputation"]:
            self._add([f"the miner's record fell from {before} to {after}"])
        spent = now.processor - costs.processor
        print(
            f"{sum(self._ends.values())} requests cost {spent:.0f} processor seconds and {machine.credits_spent(self._agent)} credits."
        )
        for service, seconds in sorted(now.by_service.items(), key=lambda item: -item[1]):
            print(f"{seconds:8.0f} processor seconds since the start: {service}")
        print(f"Memory before: {_words(costs)}. After: {_words(now)}. Record: {after}", flush=True)


def _end(outcome: Outcome) -> str:
    return f"{outcome.ended} {outcome.code}".strip()


def _words(costs: machine.Costs) -> str:
    sizes = " / ".join(f"{size / 2**20:.0f}" for size in (costs.agent, costs.memory, costs.most))
    return f"{costs.processor:.0f} processor seconds, MiB of the agent / all processes / at most: {sizes}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/chaos broken", description="Send generated broken requests to a real agent."
    )
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1, help="the same seed sends the same requests")
    parser.add_argument("--first", type=int, default=1, help="number of the first request")
    parser.add_argument(
        "--seconds", type=float, default=math.inf, help="send no more requests after this time"
    )
    parser.add_argument("--only", type=int, nargs="+", help="numbers of the requests to send again")
    parser.add_argument(
        "--services",
        nargs="+",
        choices=tuple(GENERATORS),
        default=(),
        help="only these; numbers then name other requests",
    )
    parser.add_argument(
        "--omit",
        nargs="+",
        default=(),
        metavar="WORDS",
        help="omit kinds of requests that contain these words",
    )
    parser.add_argument("--slow", type=float, default=40.0, help="print requests that take more seconds")
    parser.add_argument("--messages", action="store_true", help="print all error messages and their number")
    parser.add_argument("--folder", help="directory for the agent's files")
    options = parser.parse_args()
    options.services = tuple(options.services)
    return options


if __name__ == "__main__":
    main()
