"""Judges what the tests of a card have shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

from agent.core.values.quantities import gibibytes
from agent.miner.engines.cuda_start import NO_LIBRARY, remedy
from agent.miner.machine.gpu_observation import Observation
from agent.miner.machine.gpus import Gpu
from agent.miner.machine.selftest_report import Check
from agent.miner.selftest.sandboxed import Results

MUCH_SLOWED: Final = 0.1
"""Share of the load's time in which the hardware may protect the card. More is a fault: its jobs take unpredictably long."""
MUCH_SLOWER: Final = 0.7
"""Of the speed at the load's beginning. Cards become a tenth slower when they are warm."""
GOOD_COPY: Final = 0.5
"""Of what the link can carry. Good machines reach four fifths."""
_OWN_XIDS: Final = frozenset({13, 31, 43, 45})
"""Xid errors that a program's own fault or end causes."""

REPLUG: Final = "Check that it is in the slot that is wired to the processor, and its riser cable and the BIOS setting of the slot."
COOL: Final = (
    "Clean its fans and filters, give it air, or lower its power limit (as root: nvidia-smi -pl WATTS)."
)
MEMORY_DAMAGED: Final = "Its results cannot be trusted. Undo any overclocking of its memory and test again; if it fails again, replace the card."
_RESTART: Final = "Restart the machine; if that does not help, install the driver again."
_REMEDIES: Final[Mapping[int, str]] = {
    2: "Other programs use its memory. End them (nvidia-smi lists them), and test again.",
    46: "Another program uses the card alone. End it, or as root run nvidia-smi -c DEFAULT.",
    802: "Start nvidia-fabricmanager, which this kind of machine needs.",
}
"""What to do after errors of the driver (`CUresult`) that say nothing of the driver itself."""


def cuda(gpu: Gpu, results: Results) -> Check:
    """Return whether CUDA starts on a card in the sandbox."""
    check = partial(Check, name="cuda", card=gpu.uuid)
    facts = results.steps.get("facts")
    if facts is None:
        message = f"CUDA does not start in the sandbox. {_sentence(results)}"
        return check(outcome="fault", message=message, remedy=_remedy(results))
    # A slice of a card has the name of its profile in NVML, and another one in CUDA.
    if gpu.slice is None and facts["capability"] != (gpu.compute_capability or facts["capability"]):
        message = f"CUDA shows another card in the sandbox: {facts['name']}, compute capability {facts['capability']}."
        return check(outcome="fault", message=message, remedy=_RESTART)
    message = f"CUDA {facts['cuda']} starts in the sandbox, with {gibibytes(facts['free'])} of {gibibytes(facts['total'])} free, compute capability {facts['capability']}."
    return check(outcome="ok", message=message, figures={"memory_free": facts["free"]})


def bus(gpu: Gpu, results: Results, observation: Observation | None) -> Iterator[Check]:
    """Yield how fast data reaches a card, and whether its link is as good as it could be."""
    speeds = results.steps.get("bus")
    if speeds is None:
        if "facts" in results.steps:
            yield _failed("bus", gpu, results)
        return
    figures = {name: speeds[name] for name in ("upload", "download")}
    message = f"{_rate(speeds['upload'])} to the card, {_rate(speeds['download'])} from it"
    link, best = (None, None) if observation is None else (observation.link, observation.best_link)
    if link is not None:
        figures |= {"link_generation": link.generation, "link_width": link.width}
        message += f", over PCIe {link.generation} x{link.width}"
    check = partial(Check, name="bus", card=gpu.uuid, figures=figures)
    if link is not None and best is not None and link.speed < best.speed:
        yield check(
            outcome="warning",
            message=f"{message}; card and slot can do PCIe {best.generation} x{best.width}.",
            remedy=f"Models load more slowly than they could. {REPLUG}",
        )
    elif (
        link is not None
        and link.speed
        and min(figures["upload"], figures["download"]) < GOOD_COPY * link.speed
    ):
        yield check(
            outcome="warning",
            message=f"{message}, which could carry {_rate(link.speed)}.",
            remedy="Test again when the machine is idle. In a virtual machine, let its processors be those next to the card.",
        )
    else:
        yield check(outcome="ok", message=f"{message}.")


def memory(card: str | None, results: Results) -> Iterator[Check]:
    """Yield whether the memory returns what was written to it."""
    tested = results.steps.get("memory")
    if tested is None:
        return
    figures = {"memory_checked": tested["checked"], "memory_wrong": tested["wrong"]}
    check = partial(Check, name="memory", card=card, figures=figures)
    if tested["wrong"]:
        bits = sum(example["bits"] for example in tested["examples"])
        detail = f" ({bits} wrong bits in the first of them)" if bits else ""
        message = f"The memory returned something else than was written to it, in {tested['wrong']} of its parts{detail}."
        yield check(outcome="fault", message=message, remedy=MEMORY_DAMAGED)
        return
    rest = (
        "" if tested["complete"] else f"; for the rest of {gibibytes(tested['allocated'])} there was no time"
    )
    message = f"{gibibytes(tested['checked'])} were written and read without an error{rest}."
    yield check(outcome="ok", message=message)


def load(gpu: Gpu, results: Results, observation: Observation | None) -> Iterator[Check]:
    """Yield whether a card computes the same each time, and keeps its speed."""
    computed = results.steps.get("load")
    if computed is None:
        if results.failure is not None:
            yield _failed("load" if "memory" in results.steps else "memory", gpu, results)
        return
    figures = {"load_seconds": computed["seconds"]}
    if not computed["wrong"]:
        figures |= _measured(observation)
    check = partial(Check, name="load", card=gpu.uuid, figures=figures)
    if computed["wrong"]:
        yield check(
            outcome="fault",
            message=f"The card computed different results from the same data, {computed['wrong']} times in {computed['seconds']:.0f} s.",
            remedy="Its results cannot be trusted. Undo any overclocking, check its power cables, and test again; if it fails again, replace the card.",
        )
        return
    message = f"{computed['seconds']:.0f} s of load, always with the same results{_words(observation)}"
    share = (
        0.0 if observation is None or not observation.readings else observation.slowed / observation.readings
    )
    change = computed["last"] / computed["first"] if computed["first"] else 1.0
    if share > MUCH_SLOWED:
        yield check(
            outcome="fault",
            message=f"The card throttles: in {share:.0%} of the time its hardware slowed it down to protect it{_because(observation)}. {message}.",
            remedy=COOL
            if observation is None or "the power supply" not in observation.reasons
            else "Check its power cables and the power supply.",
        )
    elif (observation is not None and "heat" in observation.reasons) or change < MUCH_SLOWER:
        message = f"The card becomes slower under load, to {change:.0%} of its speed{_because(observation)}. {message}."
        yield check(outcome="warning", message=message, remedy=COOL)
    else:
        yield check(outcome="ok", message=f"{message}.")


def errors(gpu: Gpu, after: Gpu | None, observation: Observation | None) -> Check:
    """Return which errors the driver has reported meanwhile. `after` is the card after the test, None if the driver has lost it."""
    check = partial(Check, name="errors", card=gpu.uuid)
    if after is None or observation is None:
        return check(
            outcome="fault",
            message="The driver has lost the card during the test.",
            remedy="Restart the machine, and check the card's power and slot.",
        )
    if after.fault is not None and after.fault != gpu.fault:
        return check(
            outcome="fault",
            message=f"The driver reports a fault of the card: {after.fault}.",
            remedy="Do what it says, and test again. If it comes back, replace the card.",
        )
    if observation.uncorrected:
        message = f"The memory had {observation.uncorrected} errors that could not be corrected."
        return check(outcome="fault", message=message, remedy=MEMORY_DAMAGED)
    xids = [xid for xid in observation.xids if xid not in _OWN_XIDS]
    if not observation.corrected and not xids:
        return check(outcome="ok", message="The driver reports no errors.")
    reported = (
        f"{observation.corrected} corrected errors of the memory"
        if observation.corrected
        else f"Xid {', '.join(map(str, xids))}"
    )
    return check(
        outcome="warning",
        message=f"The driver reports {reported}.",
        remedy='Watch whether they become more: aitbc-agent selftest --minutes 10. NVIDIA\'s page "XID Errors" explains their numbers.',
    )


def _failed(name: str, gpu: Gpu, results: Results) -> Check:
    return Check(
        name=name, outcome="fault", message=f"The test ended early. {_sentence(results)}", remedy=_remedy(results), card=gpu.uuid
    )  # fmt: skip


def _sentence(results: Results) -> str:
    failure = results.failure or "It gave no reason"
    code = "" if results.code is None else f" (error {results.code})"
    return f"{failure.rstrip('.')}{code}."


def _remedy(results: Results) -> str:
    if results.code is not None:
        words = f"CUDA error {results.code}: {results.failure}"
        return _REMEDIES.get(results.code) or remedy(words) or _RESTART
    if "libcuda" in (results.failure or ""):
        return NO_LIBRARY
    return "See aitbc-agent doctor."


def _rate(bytes_per_second: float) -> str:
    return f"{bytes_per_second / 1e9:.1f} GB/s"


def _measured(observation: Observation | None) -> dict[str, float]:
    """Return the figures of an observation."""
    if observation is None:
        return {}
    values = {name: getattr(observation, name) for name in ("clock", "temperature", "power")}
    return {name: value for name, value in values.items() if value is not None}


def _words(observation: Observation | None) -> str:
    if observation is None:
        return ""
    parts = []
    if observation.clock is not None:
        of = "" if observation.clock_maximum is None else f" of {observation.clock_maximum}"
        parts.append(f"{observation.clock}{of} MHz")
    if observation.temperature is not None:
        parts.append(f"at most {observation.temperature} °C")
    if observation.power is not None:
        of = "" if observation.power_limit is None else f" of {observation.power_limit:.0f}"
        parts.append(f"{observation.power:.0f}{of} W")
    return f"; {', '.join(parts)}" if parts else ""


def _because(observation: Observation | None) -> str:
    # The power limit is usual under load.
    reasons = [
        reason for reason in (observation.reasons if observation else ()) if reason != "the power limit"
    ]
    return f" (from {', '.join(reasons)})" if reasons else ""
