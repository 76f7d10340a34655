"""Shell completion: the scripts that shells load, and quick completions from the coordinator."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

SHELLS = ("bash", "zsh", "fish")
OFFER = {"offer_id": "offer_1", "miner_id": "miner_1", "job_type": "llm_inference", "price": "0.1"}


@pytest.fixture
def complete(quick):
    """Return the completions of the last word, with the protocol of a shell."""

    def complete(*words: str, shell: str = "bash", **more: str) -> list[str]:
        line = " ".join(("aitbc", *words))
        variables = {
            "bash": {"COMP_WORDS": line, "COMP_CWORD": str(len(words))},
            "zsh": {"_TYPER_COMPLETE_ARGS": line},
            "fish": {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
        }
        done = quick(**variables[shell], _AITBC_COMPLETE=f"complete_{shell}", **more)
        assert done.stderr == ""
        return [word for word in done.stdout.splitlines() if word]

    return complete


@pytest.mark.parametrize("shell", SHELLS)
def test_jobs_are_completed(complete, shell) -> None:
    """In each shell's format, with a description if the shell shows one."""
    shown = "\n".join(complete("jobs", "show", "job_", shell=shell))
    assert "job_1" in shown
    assert shell == "bash" or "completed ai-inference" in shown


def test_models_offers_and_services_are_completed(complete, coordinator) -> None:
    """For an option and for arguments, only values with the typed prefix."""
    coordinator.registry = {
        "/whisper_transcription": {
            "service_id": "whisper_transcription",
            "models": ["tiny", "tiny.en", "base"],
        },
        "": {"services": [{"service_id": "llm_inference", "name": "Language model"}]},
    }
    coordinator.answers = {"GET /v1/marketplace/offers": {"offers": [OFFER]}}
    assert complete("transcribe", "--model", "ti") == ["tiny", "tiny.en"]
    assert complete("offers", "accept", "of") == ["offer_1"]
    assert complete("offers", "make", "ll") == ["llm_inference"]
    assert complete("jobs", "c") == ["cancel"]


def test_a_silent_coordinator_gives_no_completions_quickly(complete) -> None:
    """The shell does not hang, and nothing is printed."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        assert complete("--base-url", url, "jobs", "show", "job_") == []
        assert time.monotonic() - began < 40  # below the usual timeout, on a busy machine too
    assert complete("jobs", "show", "job_", AITBC_BASE_URL="nonsense") == []


@pytest.mark.parametrize("shell", SHELLS)
def test_shells_load_the_script(environment, tmp_path, shell) -> None:
    """`--show-completion` prints a script that the shell can load; `--install-completion` installs it."""
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} on this machine")
    command = Path(sys.executable).with_name("aitbc")
    home = {**environment, "HOME": str(tmp_path), "ZDOTDIR": str(tmp_path)}
    home |= {name: str(tmp_path / name) for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME")}

    def run(text: str) -> str:
        done = subprocess.run(
            [shell, "-c", text], env=home, capture_output=True, text=True, timeout=120, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    script = tmp_path / "script"
    script.write_text(run(f"{command} --show-completion; true"))
    assert "aitbc" in script.read_text()
    load = "autoload -Uz compinit && compinit -u; " if shell == "zsh" else ""
    run(f"{load}source {script}")
    assert "completion installed" in run(f"{command} --install-completion; true")


@pytest.mark.system
def test_bash_completes_at_the_prompt(environment, tmp_path) -> None:
    """The function that the script defines, called as bash calls it, finds the job."""
    directory = Path(sys.executable).parent
    path = {**environment, "HOME": str(tmp_path), "PATH": f"{directory}{os.pathsep}{os.environ['PATH']}"}
    text = """
        source <(aitbc --show-completion)
        COMP_WORDS=(aitbc jobs show job_) COMP_CWORD=3 COMP_LINE='aitbc jobs show job_' COMP_POINT=20
        $(complete -p aitbc | sed 's/.*-F \\([^ ]*\\).*/\\1/') aitbc job_ show
        echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "-c", text], env=path, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.stdout, done.stderr) == ("job_1\n", "")
