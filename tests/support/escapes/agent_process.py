"""Simulates an agent in whose sandbox a client's model attempts to escape.

Started as `python -m support.escapes.agent_process CONFIGURATION`, where CONFIGURATION is JSON or the path of a JSON file:

    base        an empty directory of this user, in directories that all users may enter
    sandboxes   by name: the settings (`runners.api.Tools`) of each run of the model
    control     whether the model also runs without a sandbox, as an ordinary program of this user

AITBC_SECRET in the environment is the secret. Prints the result of each run as JSON, by the sandbox's name or "control".
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.escapes.bait import (
    Victim,
    join_keyring,
    leave_small_numbers,
    plant,
    plant_key,
    remove_litter,
    remove_segment,
    start_victim,
)
from support.escapes.model.files import MARK

TESTS = Path(__file__).parents[2]
MODEL = Path(__file__).with_name("model") / "model.py"
ENTRYPOINT = str(MODEL.relative_to(TESTS))
DIRECTLY = """
import json, sys
from support.escapes.model.model import predict
with open(sys.argv[1]) as request, open(sys.argv[2], "w") as answer:
    json.dump(predict(None, **json.load(request)), answer)
"""
SECONDS = 60
SURVIVOR = f"aitbc-survivor-{os.getpid()}"
ALONE = ("fork_without_end", "fork_orphans_without_end")
"""Attempts that may end the whole run."""

WATCHED_SECONDS = 3
"""How long too many processes run: if the kernel does not count them, a watcher does, about every 50 ms."""


class Run:
    """A runner's context for one job (`runners.api.Context`)."""

    def __init__(self, directory: Path, source: Path) -> None:
        self.files: Mapping[str, Path] = {"model.source": source, "input.source": source}
        self.resources = {"cpu": "1", "memory": "1Gi"}
        self.timeout_seconds = float(SECONDS)
        self.output, self.work = directory / "output", directory / "work"
        self.adapters: dict[str, Any] = {}
        self.checkpoints: dict[str, Path] = {}
        self.cancel: Callable[[], None] = lambda: None
        for path in (directory, self.output, self.work):
            path.mkdir(mode=0o700)

    def progress(self, *_: Any) -> None:
        """Ignore progress."""

    event = log = checkpoint = check = progress

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """See `Context.on_cancel`."""
        self.cancel = callback


class Agent:
    """The agent's process and its resources."""

    def __init__(self, base: Path, facts: dict[str, Any], victim: Victim) -> None:
        self.base, self.victim = base, victim
        self.source = base / "data" / "model.zip"
        self.facts = {
            **facts,
            "source": str(self.source),
            "survivor": SURVIVOR,
            "watched_seconds": WATCHED_SECONDS,
        }
        self.count = 0
        with zipfile.ZipFile(self.source, "w") as archive:
            for path in sorted(MODEL.parent.glob("*.py")):
                archive.write(path, path.relative_to(TESTS))

    def attacked(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Run the model in a sandbox, after a run that left files behind, and beside another job."""
        with self._neighbour(settings) as neighbour:
            facts = {**self.facts, **neighbour}
            littered, _ = self._run(settings, act="litter", facts=facts)
            result, run = self._run(settings, act="attack", facts=facts, spared=ALONE)
            attempts = dict(result.results["attempts"])
            for name in ALONE:
                attempts[name] = self._alone(settings, name, facts)
        delivered = [file.path for file in result.results.get("files", ())]
        return {"attempts": self._judged(attempts, run.output, delivered), "litter": littered.results["left"]}

    def control(self) -> dict[str, Any]:
        """Run the same model as an ordinary program of this user, with everything that it can inherit."""
        public = self.base / "public"
        output = public / "output"
        output.mkdir(parents=True)
        (public / "input").write_text(self.facts["secret"])
        facts = {
            **self.facts, "neighbour": str(public), "neighbour_process": self.victim.pid, "watched_seconds": 0,
        }  # fmt: skip
        join_keyring()  # each sandboxed run has left it
        left = self._directly(public, act="litter", facts=facts)["left"]
        attempts = self._directly(public, act="attack", facts=facts)["attempts"]
        return {"attempts": self._judged(attempts, output, [output / "stolen"]), "litter": left}

    def _start(self, settings: Mapping[str, Any], **parameters: Any) -> tuple[Callable[[], Any], Run]:
        from runners.api import Device, Tools  # noqa: PLC0415 - after this process has its number
        from runners.python_model import PythonModelRunner  # noqa: PLC0415
        from runners.python_model.request import InferenceRequest  # noqa: PLC0415

        self.count += 1
        run = Run(self.base / "data" / f"run{self.count}", self.source)
        tools = Tools(models_dir=self.base / "models", cache_dir=self.base / "data" / "cache", **settings)
        runner = PythonModelRunner(tools, Device("cpu", "test processor", threads=2))
        request = InferenceRequest.model_validate(
            {"model": {"entrypoint": ENTRYPOINT}, "input": {"type": "file"}, "parameters": parameters}
        )
        return lambda: runner.run(request, run), run

    def _run(self, settings: Mapping[str, Any], **parameters: Any) -> tuple[Any, Run]:
        start, run = self._start(settings, **parameters)
        return start(), run

    def _alone(self, settings: Mapping[str, Any], name: str, facts: dict[str, Any]) -> dict[str, Any]:
        from runners.api import Fail  # noqa: PLC0415

        try:
            result, _ = self._run(settings, act="attack", names=[name], facts=facts)
        except Fail as error:
            return {"out": error.code != "LIMIT_EXCEEDED", "how": f"{error.code}: {error}"}
        answer: dict[str, Any] = result.results["attempts"][name]
        return answer

    @contextmanager
    def _neighbour(self, settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Run another job at the same time."""
        from runners.api import Cancelled  # noqa: PLC0415

        start, run = self._start(settings, act="wait", seconds=SECONDS)
        (run.output / "input").write_text(self.facts["secret"])

        def work() -> None:
            try:
                start()
            except Cancelled:
                return

        thread = threading.Thread(target=work)
        thread.start()
        try:
            until((run.output / "started").exists, "the other job has started")
            yield {"neighbour": str(run.output), "neighbour_process": self._newest_python()}
        finally:
            run.cancel()
            thread.join(SECONDS)

    def _newest_python(self) -> int:
        """Return the id of the other job's process in this namespace."""
        import psutil  # noqa: PLC0415

        found = [
            process.pid
            for process in psutil.Process().children(recursive=True)
            if process.name().startswith("python") and process.pid != self.victim.pid
        ]
        return found[-1]

    def _directly(self, directory: Path, **parameters: Any) -> Any:
        """Run the model without a sandbox, with this process's environment and descriptors."""
        request, answer = directory / "request.json", directory / "answer.json"
        request.write_text(json.dumps(parameters))
        packages = directory / "packages"
        packages.mkdir(exist_ok=True)
        subprocess.run(
            [sys.executable, "-B", "-c", DIRECTLY, request, answer],
            cwd=directory / "output", timeout=SECONDS, check=True, close_fds=False,
            env={**os.environ, "HOME": str(directory), "PYTHONPATH": f"{TESTS}:{packages}"},
        )  # fmt: skip
        return json.loads(answer.read_text())

    def _judged(self, attempts: dict[str, Any], output: Path, delivered: list[Path]) -> dict[str, Any]:
        """Return the attempts, with results that are visible only from outside."""
        self.victim.catch_up()

        def judge(name: str, out: bool, how: str) -> None:
            if name in attempts:
                attempts[name] = {**attempts[name], "out": out, "how": f"{attempts[name]['how']}; {how}"}

        survivors = _named(SURVIVOR)
        judge("outlive_the_run", bool(survivors), f"{len(survivors)} processes are still running")
        for pid in survivors:
            os.kill(pid, signal.SIGKILL)
        program = output / "program"
        gained = program.exists() and program.stat().st_mode & stat.S_ISUID and _everybody_reaches(program)
        judge(
            "leave_a_set_user_id_program",
            bool(gained),
            "others could run it" if gained else "no other user can run it",
        )
        signalled = signal.SIGUSR2 in self.victim.signals()
        judge(
            "signal_as_the_owner_of_a_file",
            signalled,
            "the signal arrived" if signalled else "no signal arrived",
        )
        written = self.base / "data" / MARK
        judge("add_a_file_to_the_data_directory", written.exists(), "checked for the file")
        written.unlink(missing_ok=True)
        stolen = [path for path in delivered if self.facts["secret"] in path.read_text(errors="replace")]
        judge("symbolic_link_as_a_result", bool(stolen), f"delivered with the secret: {len(stolen)}")
        return attempts


def _named(name: str) -> list[int]:
    """Return the processes with this name as their first argument."""
    found = []
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdecimal() and (path / "cmdline").read_bytes().split(b"\0")[0] == name.encode():
                found.append(int(path.name))
        except OSError:
            continue
    return found


def _everybody_reaches(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in path.parents)


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + SECONDS
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.01)


def main() -> None:
    """Entry point."""
    given = sys.argv[1]
    configuration = json.loads(given if given.startswith("{") else Path(given).read_text())
    leave_small_numbers()
    base = Path(configuration["base"])
    secret = os.environ["AITBC_SECRET"]
    keys = plant_key(secret)
    victim = start_victim(base / "signals")
    facts = plant(base, secret, victim, keys)
    os.chdir(base / "data")  # like a service's
    agent = Agent(base, facts, victim)
    answers: dict[str, Any] = {}
    try:
        for name, settings in configuration["sandboxes"].items():
            before = len(victim.signals())
            answers[name] = agent.attacked(settings)
            answers[name]["signals"] = victim.signals()[before:]
            answers[name]["changed"] = victim.changed()
            remove_litter()
        if configuration["control"]:
            answers["control"] = {**agent.control(), "signals": victim.signals(), "changed": victim.changed()}
    finally:
        remove_litter()
        remove_segment(facts["segment"])
        victim.end()
    print(json.dumps(answers))  # noqa: T201 - the result


if __name__ == "__main__":
    main()
