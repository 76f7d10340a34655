"""`aitbc-agent models`: the real command, and models from a stand-in for the Hub over real HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.miner.models.locks import ModelDirectory
from miner_support.hub import Hub, running_hub
from support.agents import COMMAND

CHUNK = 2**18
LARGE = bytes(range(256)) * 4096 * 4  # 4 MiB
SMALL = LARGE[::-1][: 2**20]
REPOSITORY = "somebody/chatty"
SERVICE = "whisper_transcription"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with its own models directory."""
    monkeypatch.setenv("AITBC_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("AITBC_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hugging-face"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return tmp_path


@pytest.fixture
def hub(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with a model of three files, which the owner has added as `chatty`, and `tiny`, a plain file, for `plain`."""
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.put(REPOSITORY, config_json=b"{}", a_safetensors=SMALL, b_safetensors=LARGE)
        hub.plain["tiny.pt"] = SMALL
        file = f'{{name = "model.pt", url = "{hub.url}/plain/tiny.pt", sha256 = "{hashlib.sha256(SMALL).hexdigest()}"}}'
        about = f'service = "{SERVICE}"\nengines = ["openai-whisper"]\nlicence = "MIT"\n'
        (place / "data").mkdir()
        (place / "data" / "models.toml").write_text(
            f'[[models]]\nname = "chatty"\nrepository = "{REPOSITORY}"\n{about}'
            f'[[models]]\nname = "plain"\nfiles = [{file}]\n{about}'
        )
        yield hub


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *words], capture_output=True, text=True, timeout=60, check=False)


def begin(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until_size(path: Path, size: int) -> None:
    """Wait until another process has written so much of a file."""
    deadline = time.monotonic() + 30
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def listed(run: Callable[..., Any], name: str) -> dict[str, Any]:
    (model,) = [model for model in json.loads(run("models", "list", "--json").out) if model["name"] == name]
    return model


# Fetching ---------------------------------------------------------------------------------------------------------------


def test_a_pull_shows_plain_lines_and_says_where_the_model_is(run: Any, hub: Hub, place: Path) -> None:
    done = run("models", "pull", "plain")
    assert (done.code, done.out) == (0, f"plain was fetched into {place}/models/plain (1.0 MiB).\n")
    assert "plain: 1.0 of 1.0 MiB, 100 %" in done.err.splitlines()
    assert (place / "models/plain/model.pt").read_bytes() == SMALL
    again = json.loads(run("models", "pull", "plain", "--json").out)
    assert [(model["name"], model["fetched"]) for model in again] == [("plain", False)]
    assert hub.served["tiny.pt"] == len(SMALL)


def test_a_killed_pull_goes_on_where_it_ended(hub: Hub, place: Path) -> None:
    hub.hold["b.safetensors"] = len(LARGE) // 2
    pulling = begin("models", "pull", "chatty")
    until_size(place / "models/.fetching-chatty/b.safetensors.part", len(LARGE) // 2)
    pulling.kill()
    pulling.communicate(timeout=10)
    hub.go_on.set()
    assert not (place / "models" / "chatty").exists()
    assert not ModelDirectory(place / "models").in_use("chatty")
    done = command("models", "pull", "chatty")
    assert done.returncode == 0, done.stderr
    assert (place / "models/chatty/b.safetensors").read_bytes() == LARGE
    assert hub.requests_of("b.safetensors")[-1]["range"] == f"bytes={len(LARGE) // 2}-"
    assert hub.served["b.safetensors"] <= len(LARGE) + CHUNK  # what was on its way to the killed one
    assert hub.served["a.safetensors"] == len(SMALL)
    assert hub.served["config.json"] == 2


def test_ctrl_c_says_how_to_go_on(run: Any, hub: Hub) -> None:
    hub.hold["b.safetensors"] = 2**20
    pulling = begin("models", "pull", "chatty")
    hub.wait_served("b.safetensors", 2**20)
    pulling.send_signal(signal.SIGINT)
    _, err = pulling.communicate(timeout=20)
    assert pulling.returncode == 130
    assert "models pull chatty` goes on where this ended" in err
    assert "Traceback" not in err
    model = listed(run, "chatty")
    assert (model["on_disk"], model["arrived"] > len(SMALL)) == (False, True)


def test_two_pulls_at_once_fetch_once(hub: Hub, place: Path) -> None:
    hub.hold["b.safetensors"] = 2**20
    first = begin("models", "pull", "chatty")
    hub.wait_served("b.safetensors", 2**20)
    second = begin("models", "pull", "chatty")
    assert second.stderr is not None
    assert second.stderr.readline().startswith("chatty: ")  # it watches the first
    hub.go_on.set()
    for pulling in (first, second):
        _, err = pulling.communicate(timeout=30)
        assert pulling.returncode == 0, err
    assert hub.served["b.safetensors"] == len(LARGE)
    assert sorted(path.name for path in (place / "models").iterdir()) == [".digests.json", ".use", "chatty"]


def test_a_wrong_digest_ends_with_one_sentence(run: Any, hub: Hub, place: Path) -> None:
    hub.corrupt = {"tiny.pt"}
    done = run("models", "pull", "plain")
    assert (done.code, done.out) == (1, "")
    assert "does not match its digest" in done.err
    assert "Traceback" not in done.err
    assert not (place / "models" / "plain").exists()


def test_a_gated_repository_explains_tokens(hub: Hub) -> None:
    hub.gated = True
    done = command("models", "pull", "chatty")
    assert (done.returncode, done.stdout) == (1, "")
    assert "HF_TOKEN" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_terminal_gets_a_bar(hub: Hub) -> None:
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [COMMAND, "models", "pull", "plain"], stderr=terminal, stdout=subprocess.PIPE
    ) as pulling:
        os.close(terminal)
        shown = b""
        try:
            while data := os.read(controller, 4096):
                shown += data
        except OSError:  # the other end has closed
            pass
        assert pulling.wait(30) == 0
    os.close(controller)
    assert "━" in shown.decode()


# The catalogue ----------------------------------------------------------------------------------------------------------


def test_the_list_tells_what_there_is_and_what_is_here(run: Any, hub: Hub, place: Path) -> None:
    before = listed(run, "plain")
    assert (before["on_disk"], before["size"], before["fetchable"], before["own"]) == (
        False,
        None,
        True,
        True,
    )
    assert listed(run, "tiny.en")["own"] is False
    assert run("models", "pull", "plain").code == 0
    after = listed(run, "plain")
    digest = hashlib.sha256(SMALL).hexdigest()
    assert (after["on_disk"], after["fetched"], after["in_use"], after["digest"]) == (
        True,
        True,
        False,
        digest,
    )
    assert after["size"] >= len(SMALL)
    assert after["last_used"].endswith("Z")
    lines = run("models", "list", "--on-disk").out.splitlines()
    assert len(lines) == 2
    assert digest[:12] in lines[1]
    assert run("models", "list", "--service", "none", "--json").out == "[]\n"


def test_a_model_of_ones_own_may_lie_anywhere_and_wins(run: Any, place: Path) -> None:
    (place / "mine").mkdir()
    (place / "mine" / "model.pt").write_bytes(b"weights")
    done = run(
        "models", "add", "tiny.en", "--service", SERVICE, "--path", place / "mine", "--vram", "2Gi", "--licence", "Apache-2.0",
        "--description", 'With "quotes", ä and \\.', "--option", "steps=4", "--option", 'name="x"', "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert json.loads(done.out)["options"] == {"steps": 4, "name": "x"}
    model = listed(run, "tiny.en")
    assert (model["source"], model["on_disk"], model["fetchable"]) == (str(place / "mine"), True, False)
    assert (model["vram"], model["description"]) == (2 * 2**30, 'With "quotes", ä and \\.')
    refused = run("models", "remove", "tiny.en")
    assert (refused.code, "remove it by hand" in refused.err) == (1, True)
    assert (place / "mine" / "model.pt").exists()


def test_adding_leaves_what_the_owner_wrote(run: Any, place: Path) -> None:
    file = place / "data" / "models.toml"
    file.parent.mkdir()
    file.write_text("# My notes.\n")
    words = ("--service", SERVICE, "--repository", REPOSITORY, "--pattern", "*.gguf", "--pattern", "*.json")
    assert run("models", "add", "chatty", *words).code == 0
    assert run("models", "add", "other", *words, "--adapter", "--engine", "mine").code == 0
    assert file.read_text().startswith("# My notes.\n\n[[models]]\n")
    assert listed(run, "other")["kind"] == "adapter"
    again = run("models", "add", "chatty", *words)
    assert (again.code, "contains 'chatty' twice" in again.err) == (1, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--service", "dancing", "--repository", "a/b"), "There is no service dancing. There are: "),
        (("--service", SERVICE), "Say where the model comes from"),
        (("--service", SERVICE, "--path", "/nonexistent"), "There is no directory /nonexistent"),
        (("--service", SERVICE, "--repository", "https://x"), "invalid at models.0.repository"),
        (("--service", SERVICE, "--repository", "a/b", "--vram", "lots"), "invalid at models.0.vram"),
        (("--service", SERVICE, "--repository", "a/b", "--pattern", "*.bin"), "may run code when they are loaded"),
        (("--service", SERVICE, "--url", "https://x/y.pt"), "one --sha256 for each --url"),
        (("--service", SERVICE, "--url", "https://x/y.pt", "--sha256", "abc"), "invalid at models.0.files.0.sha256"),
        (("--service", SERVICE, "--repository", "a/b", "--option", "steps"), "write NAME=JSON"),
        (("--service", SERVICE, "--repository", "a/b", "--option", "x=NaN"), "could not be read with this entry"),
    ],
)  # fmt: skip
def test_an_entry_that_is_wrong_is_not_written(
    run: Any, place: Path, words: tuple[str, ...], message: str
) -> None:
    done = run("models", "add", "mine", *words)
    assert (done.code, done.out) == (1, "")
    assert message in done.err
    assert not (place / "data" / "models.toml").exists()


def test_a_broken_catalogue_of_the_owner_is_named(run: Any, place: Path) -> None:
    (place / "data").mkdir()
    for text, words in (
        ("[[models", "cannot be read"),
        ("[[models]]\nname = '../x'\n", "is invalid at models.0.name"),
    ):
        (place / "data" / "models.toml").write_text(text)
        done = run("models", "list")
        assert (done.code, done.out) == (1, "")
        assert f"{place}/data/models.toml {words}" in done.err


# Removing ---------------------------------------------------------------------------------------------------------------


def test_a_model_is_removed_whoever_brought_it_unless_it_is_used(run: Any, hub: Hub, place: Path) -> None:
    directory = place / "models" / "plain"
    directory.mkdir(parents=True)
    (directory / "model.pt").write_bytes(SMALL)
    model_directory = ModelDirectory(place / "models")
    with asyncio.run(model_directory.use("plain", lambda: None)):
        refused = run("models", "remove", "plain")
        assert (refused.code, "is being used" in refused.err) == (1, True)
        assert listed(run, "plain")["in_use"]
    removed = json.loads(run("models", "remove", "plain", "--json").out)
    assert removed == {"name": "plain", "removed": True, "freed": len(SMALL)}
    assert not directory.exists()
    assert run("models", "remove", "plain").err == "aitbc-agent: plain is not on this machine.\n"
    assert "no model 'nothing'" in run("models", "remove", "nothing").err


def test_what_is_there_in_part_can_be_removed_too(run: Any, hub: Hub, place: Path) -> None:
    part = place / "models" / ".fetching-chatty"
    part.mkdir(parents=True)
    (part / "b.safetensors.part").write_bytes(SMALL)
    assert listed(run, "chatty")["arrived"] == len(SMALL)
    assert run("models", "remove", "chatty").code == 0
    assert not part.exists()
