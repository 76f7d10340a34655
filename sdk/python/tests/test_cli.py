"""The command `aitbc` as its users run it: a real process against a real server, and offline."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections import deque

import pytest
from typer.testing import CliRunner

from aitbc.cli import app
from aitbc.cli._output import print_text
from aitbc.cli.jobs import free_path
from aitbc.keys import COSIGNATURE_TYPE, format_vkey
from aitbc.outputs import OutputFile

from .conftest import ORIGIN, VIDEO
from .stand_in import error

SUBTITLES = {"srt": b"1\n00:00:00,000 --> 00:00:03,500\nThank you.\n\n", "vtt": b"WEBVTT\n", "json": b"{}"}

TRANSCRIPT = {
    "text": " Please transcribe this. Thank you.",
    "language": "en",
    "duration": 3.5,
    "segments": [{"start": 0.0, "end": 3.5, "text": " Please transcribe this. Thank you."}],
    "files": [
        {
            "artifact_id": f"sha256:{hashlib.sha256(content).hexdigest()}",
            "url": f"/v1/artifacts/sha256:{hashlib.sha256(content).hexdigest()}",
            "media_type": "text/plain",
            "size": len(content),
            "name": f"transcript.{form}",
        }
        for form, content in SUBTITLES.items()
    ],
    "units": 3.5,
}


@pytest.fixture
def quick(environment, monkeypatch):
    """Runs the command in this process: the same code without the start of an interpreter."""
    for name in ("AITBC_BASE_URL", "AITBC_API_KEY", "AITBC_DATA_DIR"):
        monkeypatch.setenv(name, environment[name])

    def quick(*arguments: str):
        return CliRunner().invoke(app, arguments, catch_exceptions=False)

    return quick


def test_jobs_list(quick) -> None:
    outcome = quick("jobs", "list", "--limit", "1")
    assert (
        outcome.stdout == "JOB\tSTATUS\tTYPE\tCREATED\njob_1\tcompleted\tai-inference\t2026-11-24T15:00:00Z\n"
    )
    assert json.loads(quick("jobs", "list", "--json").stdout)["jobs"][0]["job_id"] == "job_1"


def test_jobs_show_and_cancel(quick, coordinator) -> None:
    assert json.loads(quick("jobs", "show", "job_1", "--json").stdout) == {
        "job_id": "job_1", "status": "completed", "progress": 100,
    }  # fmt: skip
    assert "status    completed" in quick("jobs", "show", "job_1").stdout
    assert json.loads(quick("jobs", "cancel", "job_1", "--json").stdout)["status"] == "cancelled"
    assert coordinator.cancelled.is_set()


def test_jobs_watch(run, coordinator) -> None:
    running = b'event: job_update\ndata: {"job_id": "job_1", "status": "running", "progress": 40}\n\n'
    token = b'event: job_event\ndata: {"job_id": "job_1", "kind": "token", "text": "Hi"}\n\n'
    failed = (
        b'event: job_update\ndata: {"job_id": "job_1", "status": "failed", "progress": 40, '
        b'"error": {"code": "INPUT_INVALID", "message": "No."}}\n\n'
    )
    coordinator.streams.extend([[running, token, failed]] * 2)
    outcome = run("jobs", "watch", "job_1")
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert outcome.stderr.splitlines() == [
        "job_1 running 40%",
        "job_1 failed 40%",
        "aitbc: Job job_1 has failed: No (INPUT_INVALID)",
    ]
    outcome = run("jobs", "watch", "job_1", "--json")
    assert outcome.returncode == 1
    events = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert [event["kind"] for event in events] == ["job_update", "token", "job_update"]
    assert events[1]["data"] == {"job_id": "job_1", "kind": "token", "text": "Hi"}


def test_jobs_results_fetches_files(quick, coordinator, signed, tmp_path) -> None:
    coordinator.results = signed.results
    coordinator.store(VIDEO)
    outcome = quick("jobs", "results", "job_1", "--output", str(tmp_path / "out"))
    assert json.loads(outcome.stdout) == signed.results
    assert (tmp_path / "out" / "video.mp4").read_bytes() == VIDEO


@pytest.mark.parametrize(
    ("name", "written"),
    [("a.png", "a.png"), ("../../etc/passwd", "passwd"), ("C:\\x\\b.txt", "b.txt"), ("..", "output-2"), ("", "output-2"),
     ("a\x1b[2J", "output-2"), ("taken", "2-taken")],
)  # fmt: skip
def test_names_of_output_files_cannot_leave_the_directory(tmp_path, name: str, written: str) -> None:
    (tmp_path / "taken").touch()
    assert free_path(tmp_path, OutputFile("sha256:" + "0" * 64, name, "a/b", 1), 2) == tmp_path / written


def test_transcribe_writes_everything(run, coordinator, signed) -> None:
    coordinator.states = deque(
        [{"status": "running", "progress": 40}, {"status": "completed", "progress": 100}]
    )
    coordinator.results, coordinator.receipt = TRANSCRIPT, signed.receipt
    coordinator.proofs.append(signed.proof)
    for content in SUBTITLES.values():
        coordinator.store(content)
    (run.place / "speech.wav").write_bytes(b"RIFF")
    outcome = run(
        *("transcribe", "speech.wav", "--model", "tiny.en", "--word-timestamps", "--max-cost", "0.5"),
        *("--srt", "s.srt", "--vtt", "s.vtt", "--json-file", "s.json", "--receipt", "r.json"),
    )
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout == "Please transcribe this. Thank you.\n"
    assert outcome.stderr.splitlines()[:2] == ["job_1 running 40%", "job_1 completed 100%"]
    address = f"artifact:sha256:{hashlib.sha256(b'RIFF').hexdigest()}"
    assert coordinator.bodies == [
        {
            "audio_url": address,
            "model": "tiny.en",
            "word_timestamps": True,
            "output_formats": ["srt", "vtt", "json"],
            "pricing": {"max_cost": "0.5"},
        }
    ]
    assert {form: (run.place / f"s.{form}").read_bytes() for form in SUBTITLES} == SUBTITLES
    assert json.loads((run.place / "r.json").read_text())["receipt"] == signed.receipt


def test_transcribe_to_a_file_leaves_stdout_empty(quick, coordinator, tmp_path) -> None:
    coordinator.results = TRANSCRIPT
    outcome = quick("transcribe", "https://example.com/a.mp3", "-o", str(tmp_path / "t.txt"))
    assert outcome.stdout == ""
    assert (tmp_path / "t.txt").read_text() == "Please transcribe this. Thank you.\n"


def test_transcode_writes_the_file(quick, coordinator, signed, tmp_path) -> None:
    coordinator.results = signed.results
    coordinator.store(VIDEO)
    out = tmp_path / "small.MP4"
    outcome = quick(
        "transcode", "https://example.com/v.mkv", str(out), "--fps", "30", "--audio-codec", "none", "--json"
    )
    assert out.read_bytes() == VIDEO
    assert json.loads(outcome.stdout)["results"] == signed.results
    expected = {
        "input_url": "https://example.com/v.mkv",
        "output_format": "mp4",
        "fps": 30,
        "audio_codec": "none",
    }
    assert coordinator.bodies == [expected]


def test_wrong_usage_exits_with_two(quick, tmp_path) -> None:
    same = tmp_path / "a.mp4"
    same.touch()
    assert quick("transcode", "in.mp4", "out").exit_code == 2
    assert quick("transcode", str(same), str(same)).exit_code == 2
    assert quick("jobs", "show").exit_code == 2
    assert quick("receipts", "verify", str(same)).exit_code == 2


def test_errors_are_one_line_and_exit_with_one(run, coordinator) -> None:
    outcome = run("jobs", "show", "job_2")
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert outcome.stderr == "aitbc: There is no such job. (JOB_NOT_FOUND)\n"
    coordinator.faults.append(error(422, "VALIDATION_ERROR", "Two\nlines \x1b[2J"))
    assert run("jobs", "list").stderr == "aitbc: Two lines \N{REPLACEMENT CHARACTER}[2J (VALIDATION_ERROR)\n"
    assert run("transcribe", "none.wav").stderr == "aitbc: [Errno 2] No such file or directory: 'none.wav'\n"
    outcome = run("jobs", "list", AITBC_BASE_URL="")
    assert outcome.returncode == 1
    assert "AITBC_BASE_URL" in outcome.stderr


def test_failed_job_says_why(run, coordinator) -> None:
    coordinator.states[0] = {
        "status": "failed",
        "error": {"code": "INPUT_INVALID", "message": "No audio stream."},
    }
    outcome = run("transcribe", "https://example.com/a.mp3")
    assert outcome.returncode == 1
    assert outcome.stderr.splitlines()[-1] == "aitbc: Job job_1 has failed: No audio stream (INPUT_INVALID)"


def test_interrupt_cancels_the_job(environment, coordinator) -> None:
    coordinator.states[0] = {"status": "running", "progress": 1}
    process = subprocess.Popen(
        [sys.executable, "-m", "aitbc.cli", "transcribe", "https://example.com/a.mp3"],
        env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert coordinator.looked_at.wait(30)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert coordinator.cancelled.is_set()
    assert process.returncode == 130
    assert stderr.splitlines()[-1] == "aitbc: interrupted; job job_1 is cancelled"


def test_bar_on_a_terminal(environment, coordinator) -> None:
    coordinator.states = deque(
        [{"status": "running", "progress": 40}, {"status": "completed", "progress": 100}]
    )
    coordinator.results = TRANSCRIPT
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "aitbc.cli", "transcribe", "https://example.com/a.mp3"],
        env={**environment, "TERM": "xterm"}, stdout=subprocess.PIPE, stderr=theirs, text=True,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:
        pass  # what reading a terminal says when its other end was closed
    os.close(ours)
    stdout, _ = process.communicate(timeout=30)
    assert stdout == "Please transcribe this. Thank you.\n"
    assert "100%" in shown.decode()
    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" in shown.decode()


def test_text_of_others_cannot_steer_the_terminal(capsys, monkeypatch) -> None:
    text = "a\x1b]0;title\x07\tb\r\nc"
    print_text(text)
    assert capsys.readouterr().out == text + "\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_text(text)
    assert capsys.readouterr().out == "a\ufffd]0;title\ufffd\tb\ufffd\nc\n"


def test_receipts_show_and_export(quick, coordinator, signed, tmp_path) -> None:
    coordinator.receipt, coordinator.results = signed.receipt, signed.results
    coordinator.proofs.append(signed.proof)
    assert json.loads(quick("receipts", "show", "job_1", "--json").stdout) == signed.receipt
    outcome = quick("receipts", "export", "job_1", "-o", str(tmp_path / "r.json"), "--json")
    assert json.loads(outcome.stdout)["receipt_id"] == signed.receipt["receipt_id"]
    assert json.loads((tmp_path / "r.json").read_text()) == signed.bundle


@pytest.fixture
def exported(run, signed):
    (run.place / "r.json").write_text(json.dumps(signed.bundle))
    (run.place / "video.mp4").write_bytes(VIDEO)
    (run.place / "renamed.mp4").write_bytes(VIDEO)
    (run.place / "other.mp4").write_bytes(b"other")
    return run


def test_verify_works_without_a_coordinator(exported, signed, free_address) -> None:
    arguments = ("receipts", "verify", "r.json", "--log-key", signed.log_key)
    outcome = exported(
        *arguments, "--artifact", "video.mp4", "--artifact", "renamed.mp4", AITBC_BASE_URL=free_address
    )
    assert outcome.returncode == 0, outcome.stdout
    assert "ok    artifact video.mp4: has the" in outcome.stdout
    assert "ok    artifact renamed.mp4: has the" in outcome.stdout
    assert outcome.stdout.splitlines()[-1].startswith("valid: miner_")


def test_verify_takes_the_log_key_of_the_local_agent(exported, signed, tmp_path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "agent.json").write_text(
        json.dumps({"url": "http://127.0.0.1:1", "log_key": signed.log_key})
    )
    outcome = exported("receipts", "verify", "r.json", "--json")
    answer = json.loads(outcome.stdout)
    assert (outcome.returncode, answer["valid"], answer["coordinator_attestations"]) == (0, True, 2)


def test_verify_names_what_is_wrong_and_exits_with_three(exported, signed, signing_log_key) -> None:
    arguments = ("receipts", "verify", "r.json", "--log-key")
    outcome = exported(*arguments, signed.log_key, "--artifact", "other.mp4")
    assert outcome.returncode == 3
    assert "FAIL  artifact other.mp4: the signed statement has no such output." in outcome.stdout
    assert outcome.stdout.splitlines()[-1] == "NOT valid"
    (exported.place / "video.mp4").write_bytes(b"changed")
    outcome = exported(*arguments, signed.log_key, "--artifact", "video.mp4", "--json")
    assert json.loads(outcome.stdout)["failures"] == [
        "artifact video.mp4: SHA-256 differs from the signed statement."
    ]
    elsewhere = format_vkey(f"x{ORIGIN}", bytes(signing_log_key.verify_key))
    assert exported(*arguments, elsewhere).returncode == 3
    assert exported(*arguments, "nonsense").returncode == 3
    (exported.place / "r.json").write_text("{")
    assert exported(*arguments, signed.log_key).stderr.startswith("aitbc: This is not valid JSON")


def test_verify_takes_a_receipt_without_results(exported, signed) -> None:
    (exported.place / "r.json").write_text(json.dumps(signed.receipt))
    assert exported("receipts", "verify", "r.json", "--log-key", signed.log_key).returncode == 0


def test_verify_and_export_keep_to_a_policy(exported, coordinator, signed) -> None:
    """Witnesses that are asked for and did not cosign make a receipt not valid, and are not waited for without end."""
    coordinator.receipt, coordinator.results = signed.receipt, signed.results
    coordinator.proofs.append(signed.proof)
    witness = format_vkey("w.test", b"w" * 32, COSIGNATURE_TYPE)
    (exported.place / "log").write_text(f"log {signed.log_key}\nquorum none\n")
    (exported.place / "witness").write_text(f"log {signed.log_key}\nwitness w {witness}\nquorum w\n")
    assert exported("receipts", "verify", "r.json", "--policy", "log").returncode == 0
    outcome = exported("receipts", "verify", "r.json", "--policy", "witness", "--json")
    assert (outcome.returncode, json.loads(outcome.stdout)["failures"]) == (
        3,
        ["witnesses: cosigned by none, but the policy asks for w."],
    )
    assert exported("receipts", "verify", "r.json", "--policy", "log", "--log-key", "x").returncode == 2
    assert exported("receipts", "export", "job_1", "-o", "e.json", "--policy", "log").returncode == 0
    outcome = exported("receipts", "export", "job_1", "-o", "w.json", "--policy", "witness", "--timeout", "0")
    assert (outcome.returncode, (exported.place / "w.json").exists()) == (1, False)
    assert "cosigned as the policy asks" in outcome.stderr


def test_offers_are_listed_and_accepted(quick, coordinator) -> None:
    offer = {
        "offer_id": "offer_1", "miner_id": "miner_1", "job_type": "llm_inference", "price": "0.001", "reputation": 4.8,
        "jobs_left": 3,
    }  # fmt: skip
    payment = {"transaction_id": "tx_1", "status": "pending", "created_at": "2024-01-01T12:00:00Z"}
    coordinator.answers = {
        "GET /v1/marketplace/offers": {"offers": [offer]},
        "POST /v1/marketplace/offers/offer_1/accept": payment,
    }
    listed = quick("offers", "list", "--type", "llm-inference", "--max-price", "0.01")
    assert listed.stdout == (
        "OFFER\tFOR\tPRICE\tLEFT\tREPUTATION\tMINER\noffer_1\tllm_inference\t0.001\t3\t4.80\tminer_1\n"
    )
    assert json.loads(quick("offers", "list", "--json").stdout) == {"offers": [offer]}
    accepted = quick("offers", "accept", "offer_1", "job_1", "--bid", "0.001", "--json")
    assert json.loads(accepted.stdout) == payment
    assert coordinator.bodies == [{"job_id": "job_1", "bid_price": "0.001"}]


def test_the_wallet(quick, coordinator) -> None:
    payment = {
        "transaction_id": "tx_1", "type": "payment", "status": "settled", "amount": "0.5", "job_id": "job_1",
        "created_at": "2024-01-01T12:00:00Z",
    }  # fmt: skip
    coordinator.answers = {
        "GET /v1/wallet": {"balance": "10", "held": "0.5"},
        "GET /v1/wallet/transactions": {"transactions": [payment], "next": "tx_1"},
    }
    assert quick("wallet", "balance").stdout == "balance  10\nheld     0.5\n"
    listed = quick("wallet", "transactions")
    assert listed.stdout.splitlines()[1] == "tx_1\tpayment\tsettled\t0.5\tjob_1\t2024-01-01T12:00:00Z"
    assert "--before tx_1" in listed.stderr
    assert json.loads(quick("wallet", "balance", "--json").stdout) == {"balance": "10", "held": "0.5"}
