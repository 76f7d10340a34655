"""Runs one campaign: `python -m campaign`, or `scripts/chaos`. The exit status is 0 if nothing was lost."""

from __future__ import annotations

import argparse
import faulthandler
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from campaign import ending
from campaign.faults import FAULTS, draw
from campaign.processes import CampaignError
from campaign.report import Report
from campaign.world import World, can_mount

PROGRESS_JOBS = 2
"""Number of jobs that end between two faults."""


def main() -> None:
    """Read the options, run the campaign, and print the report."""
    options = _options()
    faulthandler.register(signal.SIGUSR1)  # prints the stacks of all threads
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("The campaign was terminated."))  # with cleanup
    folder = Path(tempfile.mkdtemp(prefix="aitbc-chaos-", dir=options.folder))
    print(f"campaign: scripts/chaos {_again(options)}   (in {folder})", flush=True)
    report = Report(options.seed)
    began = time.monotonic()
    try:
        _run(options, folder, report)
    except (CampaignError, AssertionError) as error:
        report.found.append(str(error))
    except Exception:  # noqa: BLE001 - the report shows it
        report.found.append(traceback.format_exc())
    report.duration = time.monotonic() - began
    print("\n".join(report.lines()), flush=True)
    if report.found:
        print(f"Run it again: scripts/chaos {_again(options)}\nIts files are in {folder}.", flush=True)
        sys.exit(1)
    shutil.rmtree(folder)


def _run(options: argparse.Namespace, folder: Path, report: Report) -> None:
    kinds = _kinds(options)
    with World(folder, options.seed, miners=options.miners, mounts=can_mount()) as world:
        try:
            _rounds(options, world, report, draw(kinds, random.Random(options.seed)))  # noqa: S311
            if not report.found:
                report.found += ending.finish_work(world)
            report.jobs, report.accepted = world.counts(), len(world.clients.accepted)
            if not report.found:
                report.found += ending.examine_remains(world)
        finally:
            report.lives = sum(agent.lives for agent in world.agents)
            report.points.update(line.split()[0] for agent in world.agents for line in agent.done())
            if report.found or sys.exc_info()[0] is not None:
                world.save()


def _rounds(options: argparse.Namespace, world: World, report: Report, order: list[str]) -> None:
    chance = random.Random(f"{options.seed}-faults")  # noqa: S311 - a campaign is repeated by its seed
    began = time.monotonic()
    world.clients.start()
    world.wait_ended(PROGRESS_JOBS)
    for number, kind in enumerate(order, 1):
        if options.seconds is not None and time.monotonic() - began > options.seconds:
            return
        at = time.monotonic()
        description = FAULTS[kind](world, chance)
        print(f"{number:4} of {len(order)}  {time.monotonic() - began:7.1f} s  {description}", flush=True)
        world.wait_ended(PROGRESS_JOBS)
        report.faults[kind] += 1
        report.seconds[kind] += time.monotonic() - at
        if found := world.check():
            report.found += [f"after fault {number} ({description}): {problem}" for problem in found]
            return


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/chaos",
        description="Inject random faults into real processes and check that nothing is lost.",
    )
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="the same seed selects the same faults"
    )
    parser.add_argument("--faults", default="all", help=f"all, or a selection of {','.join(FAULTS)}")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument(
        "--others", type=int, help="number of faults of each other kind; default: a fifth of the kills"
    )
    parser.add_argument("--seconds", type=float, help="start no more faults after this time")
    parser.add_argument("--miners", type=int, default=2)
    parser.add_argument("--folder", help="directory for the campaign's files")
    options = parser.parse_args()
    if options.others is None:
        options.others = max(1, options.kills // 5)
    unknown = set(options.faults.split(",")) - {"all", *FAULTS}
    if unknown:
        parser.error(f"there is no fault {', '.join(sorted(unknown))}; the faults are: {', '.join(FAULTS)}")
    return options


def _kinds(options: argparse.Namespace) -> dict[str, int]:
    chosen = list(FAULTS) if options.faults == "all" else options.faults.split(",")
    return {kind: options.kills if kind == "kill" else options.others for kind in chosen}


def _again(options: argparse.Namespace) -> str:
    seconds = "" if options.seconds is None else f" --seconds {options.seconds:g}"
    return (
        f"--seed {options.seed} --faults {options.faults} --kills {options.kills} --others {options.others}"
        f" --miners {options.miners}{seconds}"
    )


if __name__ == "__main__":
    main()
