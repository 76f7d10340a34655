"""Runs the blocks of documents in order, as a reader would type them.

`python session.py BLOCKS.json REPORT.jsonl`, in a directory with the documents' files in `files`. Console and bash
blocks share one shell, Python blocks one namespace, and each JavaScript block is a module. A command that runs an
agent continues in the background once it is ready; documents that start no agent share a running one.
Placeholders (`JOB`, `aitbc_client_...`) are replaced by real values.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, Final

from support.guides.blocks import PROJECT, commands_of, missing_lines

BLOCK_SECONDS: Final = 150
READY_SECONDS: Final = 180
STAYS: Final = re.compile(
    r"^(?:\$ )?(?:[A-Z_]+=\S+ )*(aitbc-agent (start|coordinator)|make start)\b", re.MULTILINE
)
READY: Final = "is ready at"
FILE_NAME: Final = re.compile(r"^# ([\w./-]+\.\w+)\n")


KEYS: Final = re.compile(r"(?P<word>\byour_key\b|aitbc_(?:client|miner|admin)_\.\.\.)")
WORDS: Final = re.compile(
    rf"(?P<word>\b(?:JOB|OFFER|ACCOUNT|TOKEN|LOG_KEY|MINER)\b|{KEYS.pattern.removeprefix('(?P<word>')}"
)


class BlockFailed(Exception):
    """A block behaved differently than its document shows."""


class Shell:
    """One bash process for all commands of a document."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self._count = 0
        self._busy = False
        self.run("set -o pipefail")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def run(self, command: str) -> tuple[int, str]:
        """Return the exit status and the output of a command. Raises `BlockFailed` after the time limit."""
        assert self._process.stdin is not None
        self._count += 1
        self._busy = True
        mark = f"--- end of command {self._count}: "
        self._process.stdin.write(f"{{ {command}\n}} </dev/null; printf '\\n%s%s\\n' '{mark}' $?\n")
        self._process.stdin.flush()
        output: list[str] = []
        end = time.monotonic() + BLOCK_SECONDS
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise BlockFailed(
                    f"{command}\ntakes longer than {BLOCK_SECONDS} s:\n{''.join(output)}"
                ) from None
            if line is None:
                raise BlockFailed(f"{command}\nended the shell:\n{''.join(output)}")
            if line.startswith(mark):
                self._busy = False
                return int(line.removeprefix(mark)), "".join(output)
            output.append(line)

    def close(self) -> None:
        """End the shell and its background commands."""
        if self._busy:  # a command exceeded its time limit
            self._process.kill()
        else:
            self.run("kill $(jobs -p) 2>/dev/null; wait")

    def start(self, command: str, shown: list[str]) -> tuple[int, str]:
        """Start a background command, and wait until it prints that it is ready, and the shown lines."""
        log = Path(f"background-{self._count}.log").absolute()
        self.run(f"{{ {command}\n}} >{log} 2>&1 &")  # the command may end in a comment
        end = time.monotonic() + READY_SECONDS
        while READY not in (text := log.read_text(encoding="utf-8") if log.exists() else "") or missing_lines(
            shown, text
        ):
            alive, _ = self.run("sleep 0.1; kill -0 $!")
            if alive != 0 or time.monotonic() > end:
                raise BlockFailed(f"{command}\ndid not become ready:\n{text}")
        return 0, text


class Reader:
    """Replaces the placeholders of a document by the current values."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell

    def filled_in(self, text: str, words: re.Pattern[str] = KEYS) -> str:
        """Return the text with real keys; in commands (`WORDS`) also with the newest job, offer and so on."""
        return words.sub(lambda match: self._meaning(match["word"]), text)

    def _meaning(self, word: str) -> str:
        command, pick = {
            "JOB": ("aitbc jobs list --json", lambda answer: answer["jobs"][0]["job_id"]),
            "OFFER": ("aitbc offers list --json", lambda answer: answer["offers"][0]["offer_id"]),
            "ACCOUNT": (
                "aitbc-agent accounts list --json",
                lambda answer: answer[0]["account_id"],
            ),
            "TOKEN": ("aitbc-agent enroll --json", lambda answer: answer["enrolment_token"]),
        }.get(word, ("", None))
        if pick is None:
            name = {"LOG_KEY": "log_key", "MINER": "miner_id", "your_key": "client_key"}.get(word)
            name = name or word.removeprefix("aitbc_").replace("_...", "_key")
            return str(json.loads(agent_file().read_text(encoding="utf-8"))[name])
        status, output = self.shell.run(command)
        if status != 0:
            raise BlockFailed(f"{word} has no value: {command}\n{output}")
        try:
            return str(pick(json.loads(output)))
        except LookupError:
            raise BlockFailed(f"{word} has no value, because `{command}` lists none") from None


def agent_file() -> Path:
    """Return the agent file of the default data directory."""
    return Path(os.environ["XDG_DATA_HOME"]) / "aitbc-agent" / "agent.json"


def run_console(reader: Reader, block: dict[str, Any]) -> None:
    """Run each command, and compare its output with the document."""
    commands = commands_of(block["text"])
    for number, command in enumerate(commands, start=1):
        typed = reader.filled_in(command.text, WORDS)
        typed = re.sub(r"^make\b", f"make -C {PROJECT}", typed)  # the reader is in the clone
        if STAYS.match(command.text):
            status, output = reader.shell.start(typed, command.shown)
        else:
            status, output = reader.shell.run(typed)
        if (status != 0) != (block["fails"] and number == len(commands)):
            raise BlockFailed(f"$ {command.text}\nended with {status}:\n{output}")
        missing = missing_lines(command.shown, output)
        if missing:
            shown = "\n".join(missing)
            raise BlockFailed(f"$ {command.text}\ndid not print:\n{shown}\nbut:\n{output}")


def run_python(reader: Reader, namespace: dict[str, Any], block: dict[str, Any]) -> None:
    """Run the block as in an interactive interpreter that supports `await`."""
    name = f"{block['document']}:{block['line']}"
    written = io.StringIO()
    try:
        code = compile(reader.filled_in(block["text"]), name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        with contextlib.redirect_stdout(written):
            if code.co_flags & inspect.CO_COROUTINE:
                asyncio.run(eval(code, namespace))  # noqa: S307 - the document's own code
            else:
                exec(code, namespace)  # noqa: S102 - the document's own code
    except (Exception, SystemExit):  # noqa: BLE001 - any error is the document's
        raise BlockFailed(f"{traceback.format_exc()}\nafter printing:\n{written.getvalue()}") from None


def run_file(reader: Reader, block: dict[str, Any], number: int) -> None:
    """Run the block as a script or module."""
    suffix, command = {"bash": ("sh", "source"), "javascript": ("mjs", "node")}[block["language"]]
    path = Path(f"block-{number}.{suffix}").absolute()
    path.write_text(reader.filled_in(block["text"]), encoding="utf-8")
    status, output = reader.shell.run(f"{command} {path}")
    if (status != 0) != block["fails"]:
        raise BlockFailed(f"ended with {status}:\n{output}")


def run_block(reader: Reader, namespace: dict[str, Any], block: dict[str, Any], number: int) -> None:
    """Run a block; a block that starts with a file name in a comment is saved as that file instead."""
    named = FILE_NAME.match(block["text"])
    if named:
        path = Path(named[1])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block["text"], encoding="utf-8")
    if block["language"] == "toml":
        path = Path(named[1] if named else f"block-{number}.toml")
        path.write_text(block["text"], encoding="utf-8")
        if path.name not in {"engines.toml", "models.toml", "pyproject.toml"}:
            run_console(reader, {**block, "text": f"$ aitbc-agent config check {path}"})
    elif named:
        return
    elif block["language"] == "console":
        run_console(reader, block)
    elif block["language"] == "python":
        run_python(reader, namespace, block)
    else:
        run_file(reader, block, number)


class Reading:
    """One document, with its own shell, namespace and directory."""

    def __init__(self, document: str, files: Path) -> None:
        directory = Path(document.replace("/", "-")).absolute()
        shutil.copytree(files, directory, symlinks=True)
        os.chdir(directory)
        self._shell = Shell()
        self._reader = Reader(self._shell)
        self._namespace: dict[str, Any] = {"__name__": "__main__"}

    def run(self, block: dict[str, Any], number: int) -> str | None:
        """Run a block. Return the difference from the document, or None."""
        signal.alarm(BLOCK_SECONDS)
        try:
            run_block(self._reader, self._namespace, block, number)
        except BlockFailed as error:
            return str(error)
        finally:
            signal.alarm(0)
        return None

    def close(self) -> None:
        """End the document's processes."""
        self._shell.close()


def _too_long(_: int, __: Any) -> None:
    raise BlockFailed(f"the block takes longer than {BLOCK_SECONDS} s")


def main(blocks: Path, report: Path) -> None:
    """Run all blocks, `{document: [block]}`. Write one line of JSON for each; after a failure, continue with the next document."""
    signal.signal(signal.SIGALRM, _too_long)
    base = Path.cwd()
    documents: dict[str, list[dict[str, Any]]] = json.loads(blocks.read_text(encoding="utf-8"))
    running = None
    if not any(STAYS.search(block["text"]) for read in documents.values() for block in read):
        running = Shell()
        running.start("aitbc-agent start", [])
    with report.open("w", encoding="utf-8") as lines:
        for document, read in documents.items():
            os.chdir(base)
            reading = Reading(document, base / "files")
            for number, block in enumerate(read, start=1):
                began = time.monotonic()
                failure = reading.run(block, number)
                seconds = round(time.monotonic() - began, 1)
                line = {"document": document, "line": block["line"], "seconds": seconds, "failure": failure}
                lines.write(json.dumps(line) + "\n")
                lines.flush()
                if failure is not None:  # later blocks depend on it
                    break
            reading.close()
    if running is not None:
        running.close()
    os._exit(0)  # threads that still read from shells would keep the process alive


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
