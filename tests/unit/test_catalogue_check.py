"""What the script that checks the catalogue reports of a simulated Hub."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from miner_support.hub import COMMIT, SMALL, Hub, running_hub
from support.scripts import script as load_script

WEIGHTS = b"w" * SMALL
DIGEST = hashlib.sha256(WEIGHTS).hexdigest()
ENTRY = {
    "name": '"small"',
    "service": '"llm_inference"',
    "engines": '["llama.cpp"]',
    "repository": '"owner/small"',
    "revision": f'"{COMMIT}"',
    "vram": '"1Gi"',
    "memory": '"1Gi"',
    "licence": '"MIT"',
    "description": '"A model."',
    "size": f'"{SMALL}"',
}
Check = Callable[..., tuple[int, str]]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as running:
        running.put("owner/small", model_gguf=WEIGHTS)
        yield running


@pytest.fixture
def check(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Check one entry with these fields, and return the exit status and the output."""
    script = load_script("catalogue_check")

    def run(**changes: str | None) -> tuple[int, str]:
        fields = {name: value for name, value in (ENTRY | changes).items() if value is not None}
        file = tmp_path / "models.toml"
        file.write_text("[[models]]\n" + "".join(f"{name} = {value}\n" for name, value in fields.items()))
        status = script.main(["--file", str(file), "--endpoint", hub.url])
        return status, capsys.readouterr().out

    return run


def test_an_entry_that_agrees_with_the_hub_is_right(hub: Hub, check: Check) -> None:
    hub.licence = "mit"
    status, out = check(digests=f'{{ "model.gguf" = "{DIGEST}" }}')
    assert (status, out) == (0, "ok      small\n1 ok, 0 wrong, 0 unknown\n")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"revision": '"deadbeef"'}, "owner/small has no revision deadbeef"),
        ({"revision": None}, "no revision is not a commit"),
        ({"repository": '"owner/absent"'}, "owner/absent does not exist"),
        ({"patterns": '["model.gguf", "other.gguf"]'}, "owner/small has no file other.gguf"),
        ({"digests": f'{{ "model.gguf" = "{"0" * 64}" }}'}, f"the Hub says {DIGEST}"),
        ({"digests": f'{{ "absent.gguf" = "{DIGEST}" }}'}, "there is no large file absent.gguf"),
        ({"size": '"200000"'}, f"a download has {SMALL} bytes; the entry says 200000"),
        ({"licence": '"Apache-2.0"'}, "the licence is Apache-2.0; the Hub says mit"),
        ({"licence": '"LicenseRef-Own"'}, "the licence is LicenseRef-Own; the Hub says mit"),
        ({"gated": "true"}, "gated is true; the Hub says false"),
    ],
)
def test_what_differs_is_named(hub: Hub, check: Check, changes: dict[str, str | None], words: str) -> None:
    hub.licence = "mit"
    status, out = check(**changes)
    assert status == 1
    assert out.startswith("wrong   small\n")
    assert words in out


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"model.fp16.safetensors": b"1", "model.safetensors": b"2"}, "model is downloaded in 2 forms"),
        ({"model-Q4_K_M.gguf": b"1", "model-Q8_0.gguf": b"2"}, "2 GGUF files are downloaded"),
    ],
)
def test_weights_that_are_downloaded_twice_are_named(
    hub: Hub, check: Check, files: dict[str, bytes], words: str
) -> None:
    hub.licence = "mit"
    hub.repositories["owner/small"] = files
    status, out = check(size=None)
    assert (status, words in out) == (1, True), out


def test_a_projector_and_parts_of_a_file_are_no_duplicates(hub: Hub, check: Check) -> None:
    hub.licence = "mit"
    names = ("mmproj-f16.gguf", "model-00001-of-00002.gguf", "model-00002-of-00002.gguf")
    hub.repositories["owner/small"] = dict.fromkeys(names, b"1")
    assert check(size=None)[0] == 0


def test_a_plain_file_is_asked_for_without_a_download(hub: Hub, check: Check) -> None:
    hub.plain["model.gguf"] = WEIGHTS
    address = f"{hub.url}/plain/model.gguf"
    script = load_script("catalogue_check")
    report = script.Report()
    with script.httpx.Client() as client:
        script._check_file(script.ModelFile("model.gguf", address, DIGEST, 5), client, report)
        script._check_file(script.ModelFile("absent.gguf", f"{hub.url}/plain/absent", DIGEST), client, report)
    assert report.wrong == [
        f"{address} has {SMALL} bytes instead of 5",
        f"{hub.url}/plain/absent answers 404",
    ]
    assert not hub.served


@pytest.mark.parametrize("reachable", [True, False])
def test_a_hub_that_does_not_answer_makes_an_entry_unknown(check: Check, hub: Hub, reachable: bool) -> None:
    hub.unavailable = True
    if not reachable:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            hub.port = closed.getsockname()[1]
    status, out = check()
    assert status == 3
    assert "owner/small cannot be listed" in out
