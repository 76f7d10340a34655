"""`aitbc-agent models` with a simulated Hub over real HTTP; what is killed or watched on a terminal is the real command."""

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
from huggingface_hub import constants

from agent.catalogue import CatalogueEntry, load_owners_catalogue
from agent.miner.models.locks import ModelDirectory
from miner_support.hub import COMMIT, Hub, running_hub
from support.agents import COMMAND
from support.inputs.gguf_models import write_adapter, write_gguf

CHUNK = 2**18
LARGE = bytes(range(256)) * 4096 * 4  # 4 MiB
SMALL = LARGE[::-1][: 2**20]
REPOSITORY = "somebody/chatty"
SERVICE = "whisper_transcription"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The parent of an empty data directory and an empty models directory."""
    monkeypatch.setenv("AITBC_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("AITBC_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hugging-face"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return tmp_path


@pytest.fixture
def hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with a model of three files, which the owner has added as `chatty`, and `tiny`, a plain file, for `plain`."""
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        # In this process, the library has read the environment already.
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
        )
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "hugging-face" / "token"))
        hub.put(REPOSITORY, config_json=b"{}", a_safetensors=SMALL, b_safetensors=LARGE)
        hub.plain["tiny.pt"] = SMALL
        file = f'{{name = "model.pt", url = "{hub.url}/plain/tiny.pt", sha256 = "{hashlib.sha256(SMALL).hexdigest()}"}}'
        about = f'service = "{SERVICE}"\nengines = ["openai-whisper"]\nlicence = "MIT"\n'
        (home / "data").mkdir()
        (home / "data" / "models.toml").write_text(
            f'[[models]]\nname = "chatty"\nrepository = "{REPOSITORY}"\n{about}'
            f'[[models]]\nname = "plain"\nfiles = [{file}]\n{about}'
        )
        yield hub


def begin(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_size(path: Path, size: int) -> None:
    """Wait until another process has written this many bytes of a file."""
    deadline = time.monotonic() + 60
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def listed(run: Callable[..., Any], name: str) -> dict[str, Any]:
    (model,) = [model for model in json.loads(run("models", "list", "--json").out) if model["name"] == name]
    return model


# Downloading ---------------------------------------------------------------------------------------------------------------


def test_a_pull_prints_plain_lines_and_the_models_path(run: Any, hub: Hub, home: Path) -> None:
    done = run("models", "pull", "plain")
    assert (done.code, done.out) == (0, f"plain was downloaded to {home}/models/plain (1.0 MiB).\n")
    assert "plain: 1.0 of 1.0 MiB, 100 %" in done.err.splitlines()
    assert (home / "models/plain/model.pt").read_bytes() == SMALL
    again = json.loads(run("models", "pull", "plain", "--json").out)
    assert [(model["name"], model["fetched"]) for model in again] == [("plain", False)]
    assert hub.served["tiny.pt"] == len(SMALL)


@pytest.mark.system
def test_a_pull_resumes_after_the_previous_one_was_killed(run: Any, hub: Hub, home: Path) -> None:
    hub.hold["b.safetensors"] = len(LARGE) // 2
    pulling = begin("models", "pull", "chatty")
    wait_for_size(home / "models/.fetching-chatty/b.safetensors.part", len(LARGE) // 2)
    pulling.kill()
    pulling.communicate(timeout=300)
    hub.go_on.set()
    assert not (home / "models" / "chatty").exists()
    assert not ModelDirectory(home / "models").in_use("chatty")
    done = run("models", "pull", "chatty")
    assert done.code == 0, done.err
    assert (home / "models/chatty/b.safetensors").read_bytes() == LARGE
    assert hub.requests_of("b.safetensors")[-1]["range"] == f"bytes={len(LARGE) // 2}-"
    assert hub.served["b.safetensors"] <= len(LARGE) + CHUNK  # in transit when the first one was killed
    assert hub.served["a.safetensors"] == len(SMALL)
    assert hub.served["config.json"] == 2


@pytest.mark.system
def test_ctrl_c_explains_how_to_resume(run: Any, hub: Hub) -> None:
    hub.hold["b.safetensors"] = 2**20
    pulling = begin("models", "pull", "chatty")
    hub.wait_served("b.safetensors", 2**20)
    pulling.send_signal(signal.SIGINT)
    _, err = pulling.communicate(timeout=120)
    assert pulling.returncode == 130
    assert "Run `aitbc-agent models pull chatty` to resume" in err
    assert "Traceback" not in err
    model = listed(run, "chatty")
    assert (model["on_disk"], model["arrived"] > len(SMALL)) == (False, True)


@pytest.mark.system
def test_two_concurrent_pulls_download_once(hub: Hub, home: Path) -> None:
    hub.hold["b.safetensors"] = 2**20
    first = begin("models", "pull", "chatty")
    hub.wait_served("b.safetensors", 2**20)
    second = begin("models", "pull", "chatty")
    assert second.stderr is not None
    assert second.stderr.readline().startswith("chatty: ")  # it waits for the first
    hub.go_on.set()
    for pulling in (first, second):
        _, err = pulling.communicate(timeout=120)
        assert pulling.returncode == 0, err
    assert hub.served["b.safetensors"] == len(LARGE)
    assert sorted(path.name for path in (home / "models").iterdir()) == [".digests.json", ".use", "chatty"]


def test_a_digest_mismatch_is_reported_in_one_sentence(run: Any, hub: Hub, home: Path) -> None:
    hub.corrupt = {"tiny.pt"}
    done = run("models", "pull", "plain")
    assert (done.code, done.out) == (1, "")
    assert "does not match its digest" in done.err
    assert "Traceback" not in done.err
    assert not (home / "models" / "plain").exists()


def test_a_gated_repository_explains_tokens(run: Any, hub: Hub) -> None:
    hub.gated = True
    done = run("models", "pull", "chatty")
    assert (done.code, done.out) == (1, "")
    assert "HF_TOKEN" in done.err
    assert "Traceback" not in done.err


@pytest.mark.system
def test_a_terminal_shows_a_progress_bar(hub: Hub) -> None:
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
        assert pulling.wait(60) == 0
    os.close(controller)
    assert "━" in shown.decode()


# The catalogue ----------------------------------------------------------------------------------------------------------


def test_the_list_shows_all_models_and_which_are_on_disk(run: Any, hub: Hub, home: Path) -> None:
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


def test_an_owners_model_may_be_in_any_directory_and_replaces_a_shipped_one(run: Any, home: Path) -> None:
    (home / "mine").mkdir()
    (home / "mine" / "model.pt").write_bytes(b"weights")
    done = run(
        "models", "add", "tiny.en", "--service", SERVICE, "--path", home / "mine", "--vram", "2Gi", "--licence", "Apache-2.0",
        "--description", 'With "quotes", ä and \\.', "--option", "steps=4", "--option", 'name="x"', "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert json.loads(done.out)["options"] == {"steps": 4, "name": "x"}
    model = listed(run, "tiny.en")
    assert (model["source"], model["on_disk"], model["fetchable"]) == (str(home / "mine"), True, False)
    assert (model["vram"], model["description"]) == (2 * 2**30, 'With "quotes", ä and \\.')
    removed = run("models", "remove", "tiny.en")
    assert removed.out.endswith(f"Its files stay in {home / 'mine'}.\n")
    assert (home / "mine" / "model.pt").exists()
    assert listed(run, "tiny.en")["own"] is False


def test_adding_a_model_keeps_the_owners_comments_and_the_files_mode(run: Any, home: Path) -> None:
    file = home / "data" / "models.toml"
    file.parent.mkdir()
    file.write_text("# My notes.\n")
    file.chmod(0o640)
    words = (
        "--service",
        SERVICE,
        "--repository",
        REPOSITORY,
        "--pattern",
        "*.gguf",
        "--pattern",
        "*.json",
        "--vram",
        "1Gi",
    )
    assert run("models", "add", "chatty", *words).code == 0
    before = f"{file.read_text()}# No line ends this comment."
    file.write_text(before)
    assert (
        run(
            "models",
            "add",
            "other",
            "--service",
            "image_generation",
            *words[2:],
            "--adapter",
            "--engine",
            "mine",
        ).code
        == 0
    )
    assert file.read_text().startswith("# My notes.\n\n[[models]]\n")
    assert file.read_text().startswith(f"{before}\n\n[[models]]\n")
    assert file.stat().st_mode & 0o777 == 0o640
    assert listed(run, "other")["kind"] == "adapter"
    again = run("models", "add", "chatty", *words)
    assert (again.code, "contains 'chatty' twice" in again.err) == (1, True)


def test_a_model_of_several_files_with_nested_options_is_read_back_as_given(run: Any, home: Path) -> None:
    options = {"steps": 4, "nested": {"list": [1, {"two": 2}]}}
    words = [word for name, value in options.items() for word in ("--option", f"{name}={json.dumps(value)}")]
    for number in ("1", "2"):
        words += ["--url", f"https://example.org/{number}.gguf", "--sha256", number * 64]
    assert run("models", "add", "mine", "--service", SERVICE, *words, "--vram", "2Gi").code == 0
    entry = load_owners_catalogue(home / "data")["mine"]
    assert (entry.options, entry.vram) == (options, 2 * 2**30)
    assert [(file.name, file.sha256) for file in entry.files] == [("1.gguf", "1" * 64), ("2.gguf", "2" * 64)]


def test_only_what_can_use_an_adapter_gets_one(run: Any, home: Path) -> None:
    base = write_gguf(home / "parent.gguf")
    other = write_gguf(home / "other.gguf", architecture="qwen3")
    assert run("models", "add", base).code == 0
    adapter = write_adapter(home / "lora.gguf", base)
    words = ("--adapter", "--base", "parent")
    for path, options, message in (
        (adapter, (), "Add it with --adapter and --base"),
        (
            adapter,
            ("--adapter", "--service", "llm_inference"),
            "by --base the language model that it changes",
        ),
        (adapter, ("--adapter", "--base", "nothing"), "There is no language model nothing"),
        (base, words, "is not an adapter (LoRA)"),
        (
            write_adapter(home / "foreign.gguf", other),
            words,
            "another architecture (qwen3) than its base (llama)",
        ),
        (home / "data" / "models.toml", words, "is not a GGUF file. Adapters of PEFT are converted"),
    ):
        refused = run("models", "add", path, *options)
        assert (refused.code, refused.out) == (1, "")
        assert message in refused.err
    refused = run("models", "add", "mine", "--adapter", "--service", "text_embedding", "--repository", "a/b")
    assert (refused.code, "text_embedding has no adapters" in refused.err) == (1, True)
    assert run("models", "add", adapter, *words).code == 0
    model = entry(home, "lora")
    assert (model.base, model.kind, model.engines) == ("parent", "model", ("llama.cpp",))
    assert model.memory == entry(home, "parent").memory + adapter.stat().st_size


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--service", "dancing", "--repository", "a/b"), "There is no service dancing. The installed services are: "),
        (("--service", SERVICE), "The source of the model is missing"),
        (("--service", SERVICE, "--path", "/nonexistent"), "There is no file or directory /nonexistent"),
        (("--service", SERVICE, "--url", "https://x/y.pt", "--sha256", 64 * "a"), "Give --memory and --vram"),
        (("--service", SERVICE, "--repository", "https://x"), "invalid at models.0.repository"),
        (("--service", SERVICE, "--repository", "a/b", "--vram", "lots"), "invalid at models.0.vram"),
        (("--service", SERVICE, "--repository", "a/b", "--pattern", "*.bin"), "may run code when they are loaded"),
        (("--service", SERVICE, "--url", "https://x/y.pt"), "one --sha256 for each --url"),
        (("--service", SERVICE, "--url", "https://x/y.pt", "--sha256", "abc"), "invalid at models.0.files.0.sha256"),
        (("--service", SERVICE, "--repository", "a/b", "--option", "steps"), "write NAME=JSON"),
        (("--service", SERVICE, "--repository", "a/b", "--pattern", "*", "--vram", "1Gi", "--option", "x=NaN"), "The entry cannot be written to"),
        (("--service", SERVICE, "--repository", "a/b", "--pattern", "*", "--vram", "1Gi", "--option", "x=null"), "The entry cannot be written to"),
    ],
)  # fmt: skip
def test_an_invalid_entry_is_not_written(run: Any, home: Path, words: tuple[str, ...], message: str) -> None:
    done = run("models", "add", "mine", *words)
    assert (done.code, done.out) == (1, "")
    assert message in done.err
    assert not (home / "data" / "models.toml").exists()


def test_an_invalid_owners_catalogue_is_reported_by_its_path(run: Any, home: Path) -> None:
    (home / "data").mkdir()
    for text, words in (
        ("[[models", "cannot be read"),
        ("[[models]]\nname = '../x'\n", "is invalid at models.0.name"),
    ):
        (home / "data" / "models.toml").write_text(text)
        done = run("models", "list")
        assert (done.code, done.out) == (1, "")
        assert f"{home}/data/models.toml {words}" in done.err


# Files of this machine, and models of the Hub -----------------------------------------------------------------------------


def entry(home: Path, name: str) -> CatalogueEntry:
    return load_owners_catalogue(home / "data")[name]


def test_a_gguf_file_is_linked_and_described_by_its_header(run: Any, home: Path) -> None:
    file = write_gguf(home / "Tiny Chat-Q4_K_M.gguf", licence="apache-2.0")
    done = run("models", "add", file)
    assert done.code == 0, done.err
    (model,) = load_owners_catalogue(home / "data").values()
    assert (model.name, model.service, model.engines) == ("tiny-chat-q4_k_m", "llm_inference", ("llama.cpp",))
    assert (model.licence, model.lacks) == ("apache-2.0", ("vision",))
    assert min(model.memory, model.vram, model.vram_min) > 2**26
    link = home / "models" / model.name / "model.gguf"
    assert link.readlink() == file
    assert listed(run, model.name)["size"] == file.stat().st_size
    again = run("models", "add", file)
    assert (again.code, "Choose another name by --name" in again.err) == (1, True)
    assert run("models", "remove", model.name).code == 0
    assert file.exists()
    assert not link.parent.exists()
    assert load_owners_catalogue(home / "data") == {}


def test_a_copy_stays_when_the_file_is_deleted(run: Any, home: Path) -> None:
    file = write_gguf(home / "sha256-abc")  # the blob of another program, without a suffix
    assert (
        run("models", "add", "./sha256-abc", "--name", "mine", "--copy").code == 1
    )  # the working directory is another
    assert run("models", "add", file, "--name", "mine", "--copy").code == 0
    file.unlink()
    assert (home / "models" / "mine" / "model.gguf").is_file()
    assert listed(run, "mine")["on_disk"]


def test_all_files_of_a_split_model_are_added_and_a_missing_one_is_named(run: Any, home: Path) -> None:
    for number in (1, 2):
        write_gguf(home / f"big-0000{number}-of-00002.gguf")
    assert run("models", "add", home / "big-00001-of-00002.gguf").code == 0
    assert sorted(path.name for path in (home / "models" / "big").iterdir()) == [
        "big-00001-of-00002.gguf",
        "big-00002-of-00002.gguf",
    ]
    (home / "big-00002-of-00002.gguf").unlink()
    refused = run("models", "add", home / "big-00001-of-00002.gguf", "--name", "other")
    assert (refused.code, "big-00002-of-00002.gguf is missing beside it" in refused.err) == (1, True)


def test_a_file_that_is_no_model_is_refused(run: Any, home: Path) -> None:
    (home / "text.gguf").write_bytes(b"GGUF but nothing else")
    (home / "page.gguf").write_text("<html>")
    whole = write_gguf(home / "whole.gguf").read_bytes()
    (home / "part.gguf").write_bytes(whole[: len(whole) // 3])
    for name, message in (
        ("text.gguf", "version"),
        ("page.gguf", "is not a GGUF file"),
        ("part.gguf", "incomplete"),
        ("none.gguf", "There is no file or directory"),
    ):
        refused = run("models", "add", home / name)
        assert (refused.code, refused.out) == (1, "")
        assert message in refused.err
    assert not (home / "data" / "models.toml").exists()


def test_a_directory_of_safetensors_gets_the_engines_that_load_it(run: Any, home: Path) -> None:
    directory = home / "llama"
    directory.mkdir()
    header = json.dumps(
        {"w": {"dtype": "BF16", "shape": [1000, 1000], "data_offsets": [0, 2_000_000]}}
    ).encode()
    (directory / "model.safetensors").write_bytes(
        len(header).to_bytes(8, "little") + header + bytes(2_000_000)
    )
    (directory / "config.json").write_text(
        '{"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4}'
    )
    assert run("models", "add", directory, "--name", "mine").code == 0
    model = entry(home, "mine")
    assert (model.service, model.engines, model.path) == (
        "llm_inference",
        ("vllm", "transformers"),
        str(directory),
    )
    # Numbers of 16 bits on a GPU, of 32 without one.
    assert 2**30 < model.vram < 2**30 + 2**26
    assert 2**29 < model.memory < 2**29 + 2**26


def test_a_model_of_the_hub_is_pulled_by_its_name_there(run: Any, hub: Hub, home: Path) -> None:
    """It is pinned by commit and digest, so that a pull of the same name later downloads nothing else."""
    hub.licence = "llama3.2"
    contents = {
        f"Tiny-{form}.gguf": write_gguf(home / f"{form}.gguf", layers=2 + number).read_bytes()
        for number, form in enumerate(("Q4_K_M", "Q8_0", "F16"))
    }
    hub.repositories["somebody/Tiny-GGUF"] = contents
    for name, form in (
        ("hf.co/somebody/Tiny-GGUF", "Q4_K_M"),
        ("somebody/Tiny-GGUF:q8_0", "Q8_0"),
        ("https://huggingface.co/somebody/Tiny-GGUF/blob/main/Tiny-F16.gguf", "F16"),
    ):
        file = f"Tiny-{form}.gguf"
        hub.served.clear()
        done = run("models", "pull", name)
        assert done.code == 0, done.err
        assert f": {file}, 0." in done.err
        assert "Licence: llama3.2" in done.err
        model = entry(home, f"somebody-tiny-{form.lower()}")
        assert (model.licence, model.engines, model.revision) == ("llama3.2", ("llama.cpp",), COMMIT)
        assert model.digests == {file: hashlib.sha256(contents[file]).hexdigest()}
        assert model.memory > 2**26
        assert listed(run, model.name)["on_disk"]
        assert hub.served.keys() == {file}
    again = run("models", "pull", "somebody/Tiny-GGUF:q8_0")
    assert (again.code, "is already in" in again.out) == (0, True)


def test_a_pull_says_what_the_repository_has_instead(run: Any, hub: Hub, home: Path) -> None:
    hub.repositories["somebody/chat"] = {"chat-Q4_0.gguf": SMALL, "chat-Q8_0.gguf": SMALL}
    hub.put("somebody/pickles", pytorch_bin=SMALL)
    for name, message in (
        (
            "somebody/chat:Q2_K",
            "has no Q2_K. It has: Q4_0 (1 MiB), Q8_0 (1 MiB). Name one: somebody/chat:Q4_0",
        ),
        ("somebody/pickles", "has no weights that an engine here can load"),
        ("somebody/nothing", "There is no repository somebody/nothing, or it is private"),
        ("hf.co/nothing", "is not in this miner's catalogue"),
    ):
        refused = run("models", "pull", name)
        assert (refused.code, refused.out) == (1, "")
        assert message in refused.err
    # What it is turns out to be no model when its header is here.
    hub.repositories["somebody/broken"] = {"broken-Q4_0.gguf": SMALL}
    refused = run("models", "pull", "somebody/broken")
    assert (refused.code, "is not a GGUF file" in refused.err) == (1, True)
    assert not (home / "models" / "somebody-broken-q4_0").exists()
    assert not {"broken", "somebody-broken-q4_0"} & load_owners_catalogue(home / "data").keys()
    hub.served.clear()
    hub.gated = True
    refused = run("models", "pull", "somebody/chat")
    assert "Accept them at https://huggingface.co/somebody/chat" in refused.err
    assert "HF_TOKEN" in refused.err
    assert hub.served == {}


def test_adding_a_repository_pins_the_best_weights_and_the_engines_that_load_them(
    run: Any, hub: Hub, home: Path
) -> None:
    hub.repositories["somebody/chat-GGUF"] = {"chat-Q4_K_M.gguf": SMALL, "chat-Q8_0.gguf": SMALL}
    done = run("models", "add", "mine", "--service", "llm_inference", "--repository", "somebody/chat-GGUF")
    assert done.code == 0, done.err
    model = entry(home, "mine")
    assert (model.engines, model.patterns) == (("llama.cpp",), ("chat-Q4_K_M.gguf",))
    assert model.memory > 2**30
    assert model.vram > 2**30


# Removing ---------------------------------------------------------------------------------------------------------------


def test_a_model_of_any_origin_is_removed_unless_it_is_in_use(run: Any, hub: Hub, home: Path) -> None:
    directory = home / "models" / "plain"
    directory.mkdir(parents=True)
    (directory / "model.pt").write_bytes(SMALL)
    model_directory = ModelDirectory(home / "models")
    with asyncio.run(model_directory.use("plain", lambda: None)):
        refused = run("models", "remove", "plain")
        assert (refused.code, "is in use" in refused.err) == (1, True)
        assert listed(run, "plain")["in_use"]
    removed = json.loads(run("models", "remove", "plain", "--json").out)
    assert removed == {"name": "plain", "removed": True, "freed": len(SMALL)}
    assert not directory.exists()
    assert run("models", "remove", "tiny.en").err == "aitbc-agent: tiny.en is not on this machine.\n"
    # It was in the owner's catalogue, and no longer is.
    assert "no model 'plain'" in run("models", "remove", "plain").err
    assert load_owners_catalogue(home / "data").keys() == {"chatty"}
    assert "no model 'nothing'" in run("models", "remove", "nothing").err


def test_a_partial_download_can_be_removed(run: Any, hub: Hub, home: Path) -> None:
    part = home / "models" / ".fetching-chatty"
    part.mkdir(parents=True)
    (part / "b.safetensors.part").write_bytes(SMALL)
    assert listed(run, "chatty")["arrived"] == len(SMALL)
    assert run("models", "remove", "chatty").code == 0
    assert not part.exists()
