"""`kill -9` at every step of batches of payouts, for the tests of each adapter."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from agent.coordinator.features.payouts.store import checks as payout_checks
from agent.coordinator.installed import read_database
from agent.coordinator.store import ledger
from agent.fault_points import VARIABLE
from agent.settings import Settings
from aitbc.answers.payouts import PaymentState
from support.payouts.process import EARNED, MINERS, PAYMENTS, miner, read_all
from support.servers import postgres

BATCHES = int(os.environ.get("PAYOUT_BATCHES", "0"))
"""Batches of each adapter; 0: as many as there are steps, so that each step is hit once."""
WRITES = ("_create", "_approve", "_store_prepared", "claim", "_store_answer")
"""The transactions of a batch, at whose commits the process is killed."""
STEPS = [
    *(f"database.{when}_commit:{write}" for write in WRITES for when in ("before", "after")),
    *("payout.prepared", "payout.sending", "payout.sent", "payout.polled"),
]
CHANCES = 3
"""Batches in which a step can be reached."""


@dataclass(frozen=True)
class World:
    """What an adapter pays with, outside the process that is killed.

    `settings` are those of its section, `steps` its own ones, `addresses` those of the miners. `check` examines what has arrived by the
    records of the payments. `hand_in` is that of the process's configuration.
    """

    adapter: str
    currency: str
    rate: str
    settings: dict[str, Any]
    steps: list[str]
    addresses: list[str]
    check: Callable[[list[Any]], None]
    hand_in: str | None = None


class Payer:
    """The process that is killed. It starts again within milliseconds, without importing these modules (`support.payouts.process`)."""

    def __init__(self, directory: Path, *modules: str) -> None:
        self.plan = directory / "plan"
        self.plan.touch()
        self.log = directory / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "support.payouts.process", *modules],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, VARIABLE: str(self.plan), "PYTHONPATH": os.pathsep.join(sys.path)},
            )

    def pay(self, configuration: Path, batches: int, plan: str = "") -> int:
        """Pay until that many batches have ended, or the plan kills the process. Return its exit code."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.plan.write_text(plan)
        self.process.stdin.write(json.dumps({"configuration": str(configuration), "batches": batches}) + "\n")
        self.process.stdin.flush()
        code = int(self.process.stdout.readline() or 1)
        assert code in (0, -signal.SIGKILL), self.log.read_text()[-3000:]
        return code

    @contextmanager
    def running(self) -> Iterator[Self]:
        """End the process at the end of the block."""
        try:
            yield self
        finally:
            assert self.process.stdin is not None
            self.process.stdin.close()
            self.process.wait(60)


def kill_everywhere(world: World, engine: str, payer: Payer, directory: Path) -> None:
    """Pay batches and kill the payer at each step, until each was reached. Checks that nobody was paid twice and nothing is lost."""
    steps = [*STEPS, *world.steps]
    batches = BATCHES or len(steps)
    choose = random.Random(world.adapter)  # noqa: S311 - not a secret
    killed: set[str] = set()
    settings = {
        "data_dir": str(directory / "data"),
        "database": {"url": postgres.shared().new_database() if engine == "postgresql" else None},
        "payouts": {
            "adapters": [world.adapter], "hold_hours": 0, "new_miner_hours": 0, "poll_seconds": 0.02, "retry_seconds": 0.02,
            "max_retry_seconds": 0.1, world.adapter: world.settings,
        },
    }  # fmt: skip
    configuration = directory / "configuration.json"
    values = {
        "settings": settings,
        "adapter": world.adapter,
        "currency": world.currency,
        "hand_in": world.hand_in,
        "addresses": world.addresses,
        "rate": world.rate,
    }
    configuration.write_text(json.dumps(values))
    planned = [
        (steps[number % len(steps)], choose.randint(1, PAYMENTS) if number >= len(steps) else 1)
        for number in range(batches)
    ]
    number = 0
    for _ in range(CHANCES):
        for step, count in planned:
            number += 1
            if payer.pay(configuration, number, f"{step} kill {count}\n"):
                killed.add(step)
                assert payer.pay(configuration, number) == 0
        # A batch can end before the worker polls.
        planned = [(step, 1) for step in steps if step not in killed]
    missed = set(steps) - killed
    assert not missed, f"never reached: {missed}"
    read = Settings(**settings)
    with read_database(read) as connection:
        found = read_all(connection)
        assert ledger.problems(connection) == []
        assert payout_checks.problems(connection) == []
    check_books(found, number)
    world.check(found["payments"])


def check_books(found: dict[str, Any], batches: int) -> None:
    """Check that all money is where the payments say."""
    payments = found["payments"]
    assert len({payment.payout_id for payment in payments}) == len(payments) == batches * PAYMENTS
    rounds = -(-batches // (MINERS // PAYMENTS))
    for number in range(MINERS):
        mine = [payment for payment in payments if payment.miner_id == miner(number)]
        paid = sum(payment.amount for payment in mine if payment.state == PaymentState.CONFIRMED)
        assert found["earned"][miner(number)] == rounds * (EARNED + number) - paid
