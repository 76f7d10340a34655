"""What a support bundle leaves out, and that none of its parts can prevent it."""

from __future__ import annotations

import base64
import os
import time
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import pytest

from agent.cli import agent_file
from agent.cli.support import bundle, records
from agent.cli.support.agent import state
from agent.cli.support.readme import diagnostics
from agent.cli.support.redaction import Redactor
from agent.cli.support.workplace import Content, Part, Workplace, find

KNOWN = "correct-horse/battery+staple"


@pytest.mark.parametrize(
    "text",
    [
        f"key {KNOWN} refused",
        "key correct-horse%2Fbattery%2Bstaple refused",
        base64.b64encode(f"user:{KNOWN}".encode()).decode(),
        base64.urlsafe_b64encode(f"x{KNOWN}y".encode()).decode(),
        KNOWN.encode().hex(),
    ],
)
def test_a_known_secret_is_removed_in_every_form(text: str) -> None:
    """Here it follows no word that would betray it."""
    redacted = Redactor([KNOWN]).text(text)
    assert "removed" in redacted
    for form in (KNOWN, "battery", base64.b64encode(KNOWN.encode()).decode()[4:20], KNOWN.encode().hex()):
        assert form not in redacted


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer abc.def-123", "abc.def"),
        ('{"x-api-key": "short1"}', "short1"),
        ("psql postgresql://me:pa/ss@host/db", "pa/ss"),
        ("aitbc-agent start --enroll plainword", "plainword"),
        ('command = ["curl", "-u", "me:plainword"]', "plainword"),
        ("https://bucket.example.org/a?X-Amz-Signature=abc", "abc"),
        ("https://hooks.slack.com/services/T0/B0/abc", "T0/B0"),
        ("-----BEGIN PRIVATE KEY-----\nMIIabc\n-----END PRIVATE KEY-----", "MIIabc"),
        ("from owner@example.org", "owner"),
        ("client 93.184.216.34 and 2606:4700::1111", "93.184"),
        ("client 93.184.216.34 and 2606:4700::1111", "2606"),
        ("/home/alice/file", "alice"),
        ("AITBC1" + "MZXW6YTB" * 20, "MZXW6YTB"),
        ("key hf_abcdefghijklmnop", "abcdefgh"),
        ("nonsense Ab3dEf5hIj7lMn9pQr1tUv", "Ef5hIj"),
    ],
)
def test_unknown_secrets_are_known_by_their_form(text: str, secret: str) -> None:
    """Of addresses and names, those of other people are removed."""
    assert secret not in Redactor([]).text(text)


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens = 256",
        '"job_id": "job_06h33fuv6qsl74sulsbaj4k7cc"',
        "GPU-5d2fa1b0-6c7e-4f3a-9b1d-0a1b2c3d4e5f: NVIDIA GeForce RTX 4090",
        "model qwen2.5-7b-instruct-q4_K_M.gguf at 192.168.1.7, 127.0.0.1:8420, 2026-12-01T13:17:45.011Z",
        "CUDA error: out of memory (driver 570.124.06)",
        "miner.enrolment_token = (not set)",
    ],
)
def test_what_helps_stays(text: str) -> None:
    """A bundle in which everything looks like a secret is worth nothing."""
    assert Redactor([KNOWN]).text(text) == text


def test_of_an_engines_log_only_what_is_about_the_engine_stays() -> None:
    """All else may be a prompt or a result."""
    log = "llama version 5\nOnce upon a time\nand so on\nerror: cannot parse 'write a story'\n  File \"/x/y.py\", line 3 in run\n"
    assert records.about_engine(log).splitlines() == [
        "llama version 5",
        "[2 lines left out, which may be clients' data]",
        "error: cannot parse '...'",
        '  File "/x/y.py", line 3 in run',
    ]


def test_a_part_that_fails_hangs_or_is_too_large_is_named_and_the_others_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part by itself: the machine is broken."""

    def broken(_: Workplace) -> Content:
        raise PermissionError(13, "Permission denied", "secret/file")

    def hanging(_: Workplace) -> Content:
        time.sleep(3600)
        return ""

    parts = [
        Part("broken.json", "", broken),
        Part("hanging.json", "", hanging),
        Part("sound.json", "", lambda _: {"sound": True}),
        Part("large.txt", "", lambda _: "large line\n" * 20_000),
    ]
    monkeypatch.setattr(bundle, "PARTS", parts)
    (tmp_path / "agent.toml").write_text('[support]\nmax_seconds = 1\nmax_size = "64Ki"\n')
    files = unpacked(bundle.collect(find(tmp_path, None)).packed())
    missing = files["README.txt"].partition("WHAT IS MISSING")[2].partition("WHAT IS INSIDE")[0]
    assert "broken.json: PermissionError: [Errno 13] Permission denied" in missing
    assert "hanging.json: it took longer than 1 s" in missing
    assert "large.txt: only its end" in missing
    assert "true" in files["sound.json"]
    assert sum(map(len, files.values())) < 70_000


def test_a_coordinator_without_a_miner_is_no_fault(tmp_path: Path) -> None:
    settings = find(tmp_path, None).settings
    with agent_file.exclusive(settings):
        agent_file.write(
            settings, agent_file.AgentFile("http://127.0.0.1:1", os.getpid(), None, "", None, None, None)
        )
        workplace = find(tmp_path, None)
        assert diagnostics({"state.json": state(workplace)}, workplace) == []


def unpacked(content: bytes) -> Mapping[str, str]:
    with zipfile.ZipFile(BytesIO(content)) as archive:
        return {name.partition("/")[2]: archive.read(name).decode() for name in archive.namelist()}
