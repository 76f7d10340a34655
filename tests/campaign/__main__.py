"""One campaign: `python -m campaign`, or `scripts/chaos`. Its exit status is 0 when nothing was lost."""

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
"""So many jobs end between two faults."""


def main() -> None:
    """Read the options, run the campaign, print what came of it."""
    options = _options()
    faulthandler.register(signal.SIGUSR1)  # what waits for what
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit("The campaign was ended.")
    )  # and not without clearing up
    folder = Path(tempfile.mkdtemp(prefix="aitbc-chaos-", dir=options.folder))
    print(f"campaign: scripts/chaos {_again(options)}   (in {folder})", flush=True)
    report = Report(options.seed)
    began = time.monotonic()
    try:
        _run(options, folder, report)
    except (CampaignError, AssertionError) as error:
        report.found.append(str(error))
    except Exception:  # noqa: BLE001 - whatever it is, the report says so
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
                report.found += ending.come_to_rest(world)
            report.jobs, report.accepted = world.counts(), len(world.clients.accepted)
            if not report.found:
                report.found += ending.examine_what_is_left(world)
        finally:
            report.lives = sum(agent.lives for agent in world.agents)
            report.points.update(line.split()[0] for agent in world.agents for line in agent.done())
            if report.found or sys.exc_info()[0] is not None:
                world.keep()


def _rounds(options: argparse.Namespace, world: World, report: Report, order: list[str]) -> None:
    chance = random.Random(f"{options.seed}-faults")  # noqa: S311 - a campaign is repeated by its seed
    began = time.monotonic()
    world.clients.start()
    world.wait_ended(PROGRESS_JOBS)
    for number, kind in enumerate(order, 1):
        if options.seconds is not None and time.monotonic() - began > options.seconds:
            return
        at = time.monotonic()
        told = FAULTS[kind](world, chance)
        print(f"{number:4} of {len(order)}  {time.monotonic() - began:7.1f} s  {told}", flush=True)
        world.wait_ended(PROGRESS_JOBS)
        report.faults[kind] += 1
        report.seconds[kind] += time.monotonic() - at
        if found := world.check():
            report.found += [f"after fault {number} ({told}): {fault}" for fault in found]
            return


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/chaos", description="Hurt real processes at random and see that nothing is lost."
    )
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="the same seed draws the same faults"
    )
    parser.add_argument("--faults", default="all", help=f"all, or some of {','.join(FAULTS)}")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument(
        "--others", type=int, help="faults of each other kind; a fifth of the kills if not given"
    )
    parser.add_argument("--seconds", type=float, help="begin no more faults after so long")
    parser.add_argument("--miners", type=int, default=2)
    parser.add_argument("--folder", help="where the campaign's files are while it runs")
    options = parser.parse_args()
    if options.others is None:
        options.others = max(1, options.kills // 5)
    unknown = set(options.faults.split(",")) - {"all", *FAULTS}
    if unknown:
        parser.error(f"there are no faults called {', '.join(sorted(unknown))}")
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
