"""What `gpu_check.py` checks where only torch is installed, not the packages that the project itself needs.

Importing this module does it, and then ends the program.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("pydantic", "structlog", "psutil", "pynvml", "nacl", "httpx", "rfc8785")
"""The packages without which the other checks cannot be declared."""

TOLERANCE = 0.05


def end_without_packages() -> None:
    """If the project's packages are missing, perform the check that needs only torch, and end the program.

    The exit status is 1 if it failed, or if `--require` names a check that was not performed.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if not missing:
        return
    began = time.monotonic()
    status, detail = _torch()
    seconds = time.monotonic() - began
    rest = f"{', '.join(missing)} missing here: pip install nvidia-ml-py pynacl {' '.join(_named(missing))}"
    lines = [("torch", status, seconds, detail), ("all other checks", "not checked", 0.0, rest)]
    for name, outcome, took, words in lines:
        shown = f"{took:8.2f} s" if outcome != "not checked" else " " * 10
        print(f"{name:32} {outcome:12}{shown}  {words}")
    if files := _values("--json"):
        names = ("name", "status", "seconds", "detail")
        Path(files[-1]).write_text(
            json.dumps([dict(zip(names, line, strict=True)) for line in lines], indent=1) + "\n",
            encoding="utf-8",
        )
    counts = {kind: sum(line[1] == kind for line in lines) for kind in ("ok", "failed", "not checked")}
    print(", ".join(f"{count} {kind}" for kind, count in counts.items()))
    sys.exit(
        1
        if counts["failed"] or not all(word in "torch" and status == "ok" for word in _values("--require"))
        else 0
    )


def _named(missing: list[str]) -> list[str]:
    """Return the names under which `pip` knows packages, without those that are named already."""
    return [name for name in missing if name not in ("pynvml", "nacl")]


def _values(option: str) -> list[str]:
    """Return the values of an option among the program's arguments."""
    words = sys.argv[1:]
    return [words[number + 1] for number, word in enumerate(words[:-1]) if word == option]


def _torch() -> tuple[str, str]:
    """Return whether every card computes the same as the processor, and the details."""
    if find_spec("torch") is None:
        return "not checked", "torch is not installed"
    import torch  # noqa: PLC0415 - only where it is installed

    if not torch.cuda.is_available():
        return "not checked", "torch finds no card"
    for number in range(torch.cuda.device_count()):
        made = torch.randn(512, 512)
        right = made @ made
        for kind in (torch.float32, torch.float16, torch.bfloat16):
            card = made.to(f"cuda:{number}", kind)
            if ((card @ card).float().cpu() - right).abs().max() > TOLERANCE * right.abs().max():
                return "failed", f"card {number} computes something else in {kind}"
    names = ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
    return "ok", f"torch {torch.__version__}, CUDA {torch.version.cuda}: {names}"


end_without_packages()
