"""The checks of `gpu_check.py` that use a card from inside the sandboxes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import cuda_probe
import strace_summary
from gpu_check_report import CHECKS, Failed, Machine, Part, Passed, last_line
from gpu_check_runner import measured
from runners.sandbox import Sandbox, python_prefix
from runners.sandbox.watch import Ended, Limits

BARE: Final = "bare"
LEVELS: Final = (BARE, "landlock", "bubblewrap")
NOBODY: Final = 65534
PROBE_SECONDS: Final = 60.0


@CHECKS.add("sandbox", needs="device", part=Part.FACTS, seconds=45)
def _sandbox(machine: Machine) -> Passed:
    """In both sandboxes, as root and as another user, CUDA's driver does what it does outside; names what is refused."""
    paths = [str(path) for pattern in cuda_probe.DEVICE_FILES for path in sorted(Path("/").glob(pattern[1:]))]
    users = (0, NOBODY) if os.geteuid() == 0 else (os.geteuid(),)
    answers, evidence = {}, []
    for user in users:
        for level in LEVELS:
            answers[user, level], refused = _probed(machine, level, user, paths)
            evidence += [f"{level}, user {user}: {line}" for line in refused]
    problems = list(differences(answers))
    outside = outcome(answers[users[0], BARE])
    if machine.device.kind == "cuda" and not outside[0].startswith("computes,"):
        problems.insert(0, f"outside the sandbox: {outside[0]}")
    if problems:
        raise Failed("; ".join(problems), evidence)
    shown: dict[str, list[str]] = {}
    for (user, level), answer in answers.items():
        shown.setdefault(", ".join(outcome(answer)), []).append(f"{level} as {user}")
    return Passed(
        "; ".join(f"{', '.join(where)}: {words}" for words, where in shown.items()), tuple(evidence)
    )


def differences(answers: Mapping[tuple[int, str], Mapping[str, Any]]) -> Iterator[str]:
    """Yield where a sandbox ended otherwise than the same user outside. A sandbox that does not exist here is none."""
    for (user, level), answer in answers.items():
        outside = outcome(answers[user, BARE])
        changed = [result for result in outcome(answer) if result not in outside]
        if changed and "sandbox" not in answer:
            yield f"{level} as user {user}: {', '.join(changed)}; outside: {', '.join(outside)}"


def outcome(answer: Mapping[str, Any]) -> list[str]:
    """Return how a probe ended, for people: CUDA, and what else it cannot do."""
    if "sandbox" in answer:
        return [f"not tried ({answer['sandbox']})"]
    cuda = answer["cuda"]
    failed = [
        f"{name} returns {status}" for name, status in cuda.items() if name.startswith("cu") and status != 0
    ]
    if "load" in cuda:
        results = [cuda["load"]]
    elif failed:
        results = failed
    else:
        results = [f"computes, sees {cuda['devices']}" if cuda["computed"] else "computes wrongly"]
    return results + ([f"cannot name a thread ({answer['thread_name']})"] if answer["thread_name"] else [])


def _probed(
    machine: Machine, level: str, user: int, paths: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """Run the probe. Returns its answer, and what the system refused: by strace, if there is one, and as the program saw it."""
    inside = (
        []
        if level == BARE
        else ["--in", level, machine.device.uuid or "", ",".join(machine.device.device_files)]
    )
    command = [sys.executable, "-P", cuda_probe.__file__, *inside, *paths]
    if user != os.geteuid():
        command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command]
    log = machine.directory / f"strace-{level}-{user}"
    traced = [
        "strace",
        "-f",
        "-y",
        "-qq",
        "-e",
        "trace=file,ioctl,network",
        "-e",
        "signal=none",
        "-o",
        str(log),
    ]
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": machine.device.uuid or "",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    for prefix in ([traced] if shutil.which("strace") else []) + [[]]:
        done = subprocess.run(
            [*prefix, *command], cwd="/", env=environment, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False
        )  # fmt: skip
        # In a container that forbids ptrace, strace starts nothing.
        if done.stdout:
            break
    if not done.stdout:
        return {"sandbox": f"status {done.returncode}: {last_line(done.stderr)}"}, []
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    refused = [f"{error} open {path}" for path, error in answer.get("refused", {}).items()]
    if log.is_file():
        with log.open(errors="replace") as lines:
            refused += strace_summary.words(strace_summary.refused(strace_summary.summary(lines)))
    return answer, refused


@CHECKS.add("python model, cuda driver", needs="card", part=Part.FACTS, seconds=15)
def _python_model(machine: Machine) -> str:
    """A client's model can use the card from inside the sandbox, and sees no other card."""
    source = machine.directory / "model.py"
    source.write_text(
        "import ctypes\n\n"
        "def predict(input, **parameters):\n"
        "    cuda, count = ctypes.CDLL('libcuda.so.1'), ctypes.c_int()\n"
        "    status = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))\n"
        "    return {'status': status, 'count': count.value}\n"
    )
    with measured("ai_inference", machine) as (child, _):
        child.load(None)
        done = child.run({"model": {"entrypoint": "model.py"}}, {"model.source": source})
    if (done.results["status"], done.results["count"]) != (0, 1):
        raise Failed(
            f"cuInit returns {done.results['status']}, and {done.results['count']} cards are visible"
        )
    return f"one card is visible; {float(done.units):.2f} seconds metered"


@CHECKS.add("torch in the sandbox", needs="device", part=Part.FACTS, seconds=20, modules=("torch",))
def _torch_in_sandbox(machine: Machine) -> str:
    """A client's model that requires torch computes on the card inside the sandbox."""
    limits = Limits(memory=machine.tools.max_memory, output=2**20, seconds=120, cpu_seconds=480)
    sandbox = Sandbox(machine.tools, limits, machine.device)
    folders = [Path(entry).resolve() for entry in sys.path if entry.endswith(("-packages", "/site"))]
    for folder in {python_prefix(), *folders}:
        if not folder.is_relative_to("/usr"):
            sandbox.read(folder, str(folder))
    code = f"import sys; sys.path += {[str(folder) for folder in folders]!r}; import torch; "
    code += f"print(torch.ones(8, device={machine.device.kind!r}).sum().item())"
    printed: list[str] = []
    done = sandbox.run([str(Path(sys.executable).resolve()), "-I", "-c", code], on_line=printed.append)
    if done.ended is not Ended.EXITED or done.exit_code != 0 or printed[-1:] != ["8.0"]:
        raise Failed(f"{done.ended}, status {done.exit_code}: {last_line(done.stderr)}")
    return "8 ones are 8"
