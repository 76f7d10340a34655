"""The faults of a campaign. Each is derived from the seed, waits for observable progress, occurs, and is repaired."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import psutil

from campaign.network import Trouble
from campaign.processes import AgentProcess
from campaign.world import LEASE_SECONDS, World, full, wait_for

REACH_SECONDS: Final = 3.0
"""Time limit for passing a planned point. After it the fault is injected from outside."""

TRANSACTIONS: Final = (
    "_insert", "claim", "_complete", "_fail", "_heartbeat", "_cancel", "integrate", "_hold", "_store", "_create", "save",
    "_finish", "_claim", "record",
)  # fmt: skip
"""Database functions of the coordinator that a campaign's work uses."""
COORDINATOR_POINTS: Final = (
    *(f"database.{when}_commit:{name}" for when in ("before", "after") for name in TRANSACTIONS),
    "database.before_commit", "database.after_commit",
    "artifact.writing", "artifact.received", "artifact.stored", "upload.writing", "upload.synced",
    "log.signed", "log.publishing", "webhook.claimed", "webhook.answered",
)  # fmt: skip
MINER_POINTS: Final = (
    "miner.lease_received", "miner.inputs_fetched", "miner.run_finished", "miner.signed",
    *(f"outbox.{when}_commit:{name}" for when in ("before", "after") for name in ("put", "mark_uploaded", "remove")),
    "miner.uploaded", "miner.delivered", "miner.acknowledged", "miner.removed",
)  # fmt: skip
FULL_COORDINATOR: Final = (
    "database.before_commit",
    "artifact.writing",
    "upload.writing",
    "artifact.received",
)
FULL_MINER: Final = ("outbox.before_commit:put", "outbox.before_commit:remove", "miner.inputs_fetched")
JUMPS: Final = (2.0, 10.0, 60.0, 600.0, 3600.0)

Fault = Callable[[World, random.Random], str]
"""Injects and repairs one fault. Returns its description."""


def kill(world: World, chance: random.Random) -> str:
    """SIGKILL of one process, of a runner, or of all at once."""
    way = chance.choices(("point", "outside", "runner", "all", "start"), (60, 14, 10, 10, 6))[0]
    return _KILLS[way](world, chance)


def _kill_at_point(world: World, chance: random.Random) -> str:
    agent = chance.choice(world.agents)
    description = _die_at_point(world, agent, chance)
    agent.start()
    return description


def _die_at_point(world: World, agent: AgentProcess, chance: random.Random) -> str:
    points = COORDINATOR_POINTS if agent is world.coordinator else MINER_POINTS
    point, count = chance.choice(points), chance.randint(1, 3)
    agent.plan(f"{point} kill {count}")
    reached = agent.wait_end(REACH_SECONDS)
    if not reached:
        agent.kill()
    agent.plan()
    return f"kill {agent.name} at {point}, time {count}" + (
        "" if reached else " (not reached; killed from outside)"
    )


def _kill_outside(world: World, chance: random.Random) -> str:
    agent = chance.choice(world.agents)
    more = chance.randint(1, 4)
    world.wait_ended(more)
    agent.kill()
    agent.start()
    return f"kill {agent.name} from outside, {more} jobs later"


def _kill_runner(world: World, chance: random.Random) -> str:
    miner = chance.choice(world.miners)
    world.wait_ended(chance.randint(1, 2))
    children = sorted(miner.children(), key=lambda child: child.pid)
    if not children:
        return _kill_at_point(world, chance)
    child = chance.choice(children)
    with suppress(psutil.NoSuchProcess):
        child.kill()
    return f"kill a child of {miner.name}"


def _kill_all(world: World, chance: random.Random) -> str:
    first = chance.choice(world.agents)
    description = _die_at_point(world, first, chance)
    for agent in world.agents:
        agent.kill()
    order = chance.sample(world.agents, len(world.agents))
    for agent in order:
        agent.start(wait=False)
    for agent in order:
        agent.wait_ready()
    return f"kill all: {description}"


def _kill_while_starting(world: World, chance: random.Random) -> str:
    agent = chance.choice(world.agents)
    point = "database.before_commit" if agent is world.coordinator else "miner.lease_received"
    agent.kill()
    agent.plan(f"{point} kill {chance.randint(1, 2)}")
    agent.start(wait=False)
    reached = agent.wait_end(REACH_SECONDS)
    if not reached:
        agent.kill()
    agent.plan()
    agent.start()
    return f"kill {agent.name}, and again while it starts"


_KILLS: Final[dict[str, Fault]] = {
    "point": _kill_at_point,
    "outside": _kill_outside,
    "runner": _kill_runner,
    "all": _kill_all,
    "start": _kill_while_starting,
}


def stop(world: World, chance: random.Random) -> str:
    """SIGSTOP for longer than a lease."""
    seconds = LEASE_SECONDS + chance.uniform(0.3, 1.5)
    agent = chance.choice(world.agents)
    if agent is not world.coordinator and chance.random() < 0.25 and (children := agent.children()):
        child = chance.choice(sorted(children, key=lambda child: child.pid))
        with suppress(psutil.NoSuchProcess):
            child.suspend()
            time.sleep(seconds)
            child.resume()
        return f"stop a child of {agent.name} for {seconds:.1f} s"
    point = chance.choice(COORDINATOR_POINTS if agent is world.coordinator else MINER_POINTS)
    agent.plan(f"{point} stop {chance.randint(1, 3)}")
    with suppress(Exception):
        wait_for(agent.is_stopped, REACH_SECONDS, "the stop")
    agent.signal(signal.SIGSTOP)
    time.sleep(seconds)
    agent.plan()
    agent.signal(signal.SIGCONT)
    return f"stop {agent.name} at {point} for {seconds:.1f} s"


def disk(world: World, chance: random.Random) -> str:
    """A disk that is full for some time; sometimes the agent is killed in between."""
    agent = chance.choice(world.agents)
    world.wait_ended(chance.randint(1, 2))
    dies = chance.random() < 0.25
    if agent.name in world.mounts and chance.random() < 0.7:
        seconds = chance.uniform(0.4, 1.6)
        with full(world.mounts[agent.name]):
            time.sleep(seconds)
            if dies:
                agent.kill()
        description = f"disk of {agent.name} full for {seconds:.1f} s"
    else:
        point = chance.choice(FULL_COORDINATOR if agent is world.coordinator else FULL_MINER)
        before, times = len(agent.done()), chance.randint(1, 4)
        agent.plan(f"{point} disk_full *")
        with suppress(Exception):
            wait_for(lambda: len(agent.done()) >= before + times, REACH_SECONDS, "the disk")
        if dies:
            agent.kill()
        agent.plan()
        description = f"disk of {agent.name} full at {point}"
    if dies:
        agent.start()
    return description + (", and killed" if dies else "")


def clock(world: World, chance: random.Random) -> str:
    """A clock of one process that jumps forwards or back."""
    agent = chance.choice(world.agents)
    seconds = chance.choice(JUMPS) * chance.choice((-1, 1))
    world.wait_ended(1)
    world.clocks[agent.name].set(seconds)
    return f"clock of {agent.name} {seconds:+g} s from the true time"


def network(world: World, chance: random.Random) -> str:
    """A connection that breaks, stalls, is slow, half closed, or repeated; or no network at all."""
    which = chance.choice(("clients", "miners"))
    proxy = world.for_clients if which == "clients" else world.for_miners
    trouble, upwards = chance.choice(list(Trouble)), chance.random() < 0.6
    after = chance.randint(1, 20_000)
    proxy.arm(trouble, after=after, upwards=upwards)
    if not proxy.troubled.wait(REACH_SECONDS):
        proxy.arm(trouble, after=1, upwards=upwards)
        proxy.troubled.wait(REACH_SECONDS)
    seconds = 0.0
    if trouble in {Trouble.STALL, Trouble.DELAY, Trouble.PARTITION}:
        seconds = chance.uniform(0.3, LEASE_SECONDS + 1)
        time.sleep(seconds)
    proxy.heal()
    way = "to the coordinator" if upwards else "from the coordinator"
    return f"network of the {which}: {trouble} after {after} bytes {way}" + (
        f", {seconds:.1f} s" if seconds else ""
    )


FAULTS: Final[dict[str, Fault]] = {
    "kill": kill,
    "stop": stop,
    "disk": disk,
    "clock": clock,
    "network": network,
}


def draw(kinds: dict[str, int], chance: random.Random) -> list[str]:
    """Return the faults of a campaign in random order."""
    order = [kind for kind, count in kinds.items() for _ in range(count)]
    chance.shuffle(order)
    return order
