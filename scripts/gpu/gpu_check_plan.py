"""The plan of `gpu_check.py --plan`: what to do on a machine with a card that is at hand for 45 minutes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gpu_check_report import Check, Machine, Part

MINUTES: Final = 45
UNPACK: Final = 'eval "$(python3 build/carry/agent/use_carried.py)"'


@dataclass(frozen=True, slots=True)
class Call:
    """Commands that are started together. The last one, the checks of the same part, may take `seconds` of `minutes`."""

    title: str
    loads: str
    minutes: int
    seconds: int
    commands: tuple[str, ...] = ()


CALLS: Final = {
    Part.FACTS: Call(
        "facts and sandbox",
        "agent",
        6,
        300,
        (
            "nvidia-smi -q > $OUT/nvidia-smi.txt; ls -l /dev/nvidia* /dev/nvidia-caps /proc/driver/nvidia > $OUT/devices.txt 2>&1",
            "cat /sys/kernel/security/lsm; ldconfig -p | grep -E 'libcuda|nvidia-ml|nvcuvid|encode'",
            "python3 scripts/gpu/nvml_record.py $OUT/nvml.json",
        ),
    ),
    Part.ENGINES: Call("engines", "agent, engines, video, whisper, openai-whisper", 9, 500),
    Part.LANGUAGE_AND_VIDEO: Call("language models and video", "agent, engines, llama, video", 9, 500),
    Part.LONG: Call(
        "engines that compile for minutes, Blender", "agent, engines, vLLM and Blender by other means", 9, 500
    ),
}
"""Each load is a folder of scripts/gpu/carry.py."""


def lines(checks: Sequence[Check], machine: Machine, budget: float | None) -> Iterator[str]:
    """Yield the lines of the plan for the chosen checks."""
    total = sum(CALLS[part].minutes for part in {check.part for check in checks})
    yield (
        f"The checks for {MINUTES} minutes on a machine with a card, without network; {total} minutes are used, the rest is for what they"
        " show. Prepare what to carry with scripts/gpu/carry.py; $OUT is a folder to bring back."
    )
    for part, call in CALLS.items():
        chosen = [check for check in checks if check.part == part]
        if not chosen:
            continue
        yield ""
        yield f"{part.value}. {call.title}: at most {call.minutes} minutes; carry: {call.loads}"
        yield f"   {UNPACK}"
        yield from (f"   {command}" for command in call.commands)
        yield (
            f"   python3 scripts/gpu_check.py --part {part.value} --seconds {call.seconds} --models $CARRIED/models "
            f"--json $OUT/part-{part.value}.json"
        )
        yield ""
        width = max(len(check.requirements) for check in chosen)
        yield f"   {'check':28} {'seconds':>7}  {'needs':{width}}  on this machine"
        for check in chosen:
            here = "; ".join(check.lacking(machine))
            words = f"not checked: {here}" if here else "would run"
            yield f"   {check.name:28} {check.seconds:7.0f}  {check.requirements:{width}}  {words}"
        yield f"   {'together':28} {sum(check.seconds for check in chosen):7.0f}"
    if budget is not None:
        yield ""
        yield from _within(checks, machine, budget)


def _within(checks: Sequence[Check], machine: Machine, budget: float) -> Iterator[str]:
    """Yield what a single run with this budget would do on this machine, if each check takes as long as expected."""
    left, names = budget, []
    for check in checks:
        if not check.lacking(machine) and check.seconds <= left:
            left -= check.seconds
            names.append(check.name)
    yield f"In {budget:.0f} s on this machine: {', '.join(names) or 'nothing'}."
