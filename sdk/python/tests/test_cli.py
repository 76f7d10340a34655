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
from starlette.responses import JSONResponse

from aitbc.cli._arguments.lookup import AmbiguousName, NamedCandidate, NoSuchName, find
from aitbc.cli._terminal.output import print_rows, print_text
from aitbc.cli.commands.jobs import free_path
from aitbc.keys import COSIGNATURE_TYPE, format_vkey
from aitbc.outputs import OutputFile

from .conftest import INTERRUPTIBLE, ORIGIN, VIDEO
from .support.stand_in import error

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


def test_jobs_list(quick) -> None:
    outcome = quick("jobs", "list", "--limit", "1")
    assert (
        outcome.stdout
        == "JOB\tSTATUS\tNAME\tCREATED\tTYPE\tLABELS\njob_1\tcompleted\t\t2026-11-24T15:00:00Z\tai_inference\t\n"
    )
    assert json.loads(quick("jobs", "list", "--json").stdout)["jobs"][0]["job_id"] == "job_1"


def test_last_names_the_newest_job(quick, coordinator, signed) -> None:
    """It works in every command that names one job."""
    coordinator.receipt = signed.receipt
    for command in (("jobs", "show"), ("jobs", "results"), ("receipts", "show")):
        assert json.loads(quick(*command, "last", "--json").stdout)["job_id"]
    assert coordinator.paths()[1::2] == [
        "GET /v1/jobs/job_1",
        "GET /v1/jobs/job_1/results",
        "GET /v1/receipts/job_1",
    ]


def test_artifacts_delete(quick, coordinator) -> None:
    """Each file is deleted once; a refusal does not prevent the other deletions, but the command then fails."""
    first, second = (f"sha256:{digit * 64}" for digit in "12")
    coordinator.answers = {f"DELETE /v1/artifacts/{first}": {}}
    done = quick("artifacts", "rm", first, first, "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"deleted": [first]})
    assert coordinator.paths().count(f"DELETE /v1/artifacts/{first}") == 1
    coordinator.faults.append(error(404, "NOT_FOUND", "There is no such artifact."))
    done = quick("artifacts", "rm", second, first, "--json")
    assert json.loads(done.stdout) == {"deleted": [first]}
    assert done.returncode != 0
    assert quick("artifacts", "rm").returncode != 0


def test_jobs_show_and_cancel(quick, coordinator) -> None:
    assert json.loads(quick("jobs", "show", "job_1", "--json").stdout) == {
        "job_id": "job_1", "status": "completed", "progress": 100,
    }  # fmt: skip
    assert "status   completed" in quick("jobs", "show", "job_1").stdout
    coordinator.created["a"] = "job_2"
    cancelled = json.loads(quick("jobs", "cancel", "job_1", "job_2", "--json").stdout)["jobs"]
    assert [(job["job_id"], job["status"]) for job in cancelled] == [
        ("job_1", "cancelled"),
        ("job_2", "cancelled"),
    ]
    assert set(coordinator.ends) == {"job_1", "job_2"}


def test_jobs_watch(quick, coordinator) -> None:
    running = b'event: job_update\ndata: {"job_id": "job_1", "status": "running", "progress": 40}\n\n'
    token = b'event: job_event\ndata: {"job_id": "job_1", "kind": "token", "text": "Hi"}\n\n'
    failed = (
        b'event: job_update\ndata: {"job_id": "job_1", "status": "failed", "progress": 40, '
        b'"error": {"code": "INPUT_INVALID", "message": "No."}}\n\n'
    )
    coordinator.streams.extend([[running, token, failed]] * 2)
    outcome = quick("jobs", "watch", "job_1")
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert outcome.stderr.splitlines() == [
        "job_1: running 40%",
        "job_1: failed",
        "aitbc: Job job_1 failed (INPUT_INVALID): No.",
    ]
    outcome = quick("jobs", "watch", "job_1", "--json")
    assert outcome.returncode == 1
    events = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert [event["kind"] for event in events] == ["job_update", "token", "job_update"]
    assert events[1]["data"] == {"job_id": "job_1", "kind": "token", "text": "Hi"}


def test_jobs_results_downloads_files(quick, coordinator, signed, tmp_path) -> None:
    coordinator.results = signed.results
    coordinator.store(VIDEO)
    outcome = quick("jobs", "results", "job_1", "--output", str(tmp_path / "out"))
    assert json.loads(outcome.stdout) == signed.results
    assert (tmp_path / "out" / "video.mp4").read_bytes() == VIDEO


@pytest.mark.parametrize(
    ("name", "written"),
    [("a.png", "a.png"), ("../../etc/passwd", "passwd"), ("C:\\x\\b.txt", "b.txt"), ("..", "output-2"), ("", "output-2"),
     ("a\x1b[2J", "output-2"), ("taken", "taken-2")],
)  # fmt: skip
def test_names_of_output_files_cannot_leave_the_directory(tmp_path, name: str, written: str) -> None:
    (tmp_path / "taken").touch()
    assert free_path(tmp_path, OutputFile("sha256:" + "0" * 64, name, "a/b", 1), 2) == tmp_path / written


def test_transcribe_writes_every_format_and_the_receipt(quick, workdir, coordinator, signed) -> None:
    """The options reach the body of the request, and stderr shows the progress."""
    coordinator.states = deque(
        [{"status": "running", "progress": 40}, {"status": "completed", "progress": 100}]
    )
    coordinator.results, coordinator.receipt = TRANSCRIPT, signed.receipt
    coordinator.proofs.append(signed.proof)
    for content in SUBTITLES.values():
        coordinator.store(content)
    (workdir / "speech.wav").write_bytes(b"RIFF")
    outcome = quick(
        *("transcribe", "speech.wav", "--model", "tiny.en", "--word-timestamps", "--max-cost", "0.5"),
        *(
            "--priority",
            "3",
            "--timeout",
            "60",
            "--srt",
            "s.srt",
            "--vtt",
            "--txt=t",
            "--json-file",
            "s.json",
        ),
        *("--receipt", "r.json"),
    )
    assert (outcome.returncode, outcome.stdout) == (0, ""), outcome.stderr
    assert outcome.stderr.splitlines() == [
        "speech.wav: job_1 submitted",
        "speech.wav: job_1 running 40%",
        "speech.wav: job_1 completed",
        "speech.wav: wrote 5 files to .",
    ]
    assert coordinator.bodies == [
        {
            "name": "speech.wav",
            "audio_url": f"artifact:sha256:{hashlib.sha256(b'RIFF').hexdigest()}",
            "model": "tiny.en",
            "word_timestamps": True,
            "output_formats": ["json", "srt", "vtt"],
            "pricing": {"max_cost": "0.5"},
            "priority": 3,
            "timeout_seconds": 60,
        }
    ]
    written = {"srt": workdir / "s.srt", "vtt": workdir / "speech.vtt", "json": workdir / "s.json"}
    assert {form: path.read_bytes() for form, path in written.items()} == SUBTITLES
    assert (workdir / "t").read_text() == "Please transcribe this. Thank you.\n"
    assert json.loads((workdir / "r.json").read_text())["receipt"] == signed.receipt


def test_transcribe_prints_the_text_of_one_file(quick, coordinator) -> None:
    """Stdout has nothing else, and a second run uses the same job."""
    coordinator.results = TRANSCRIPT
    for _ in range(2):
        outcome = quick("transcribe", "https://example.com/a.mp3")
        assert (outcome.returncode, outcome.stdout) == (0, "Please transcribe this. Thank you.\n")
    assert len(coordinator.bodies) == 1


def test_transcode_writes_the_file(quick, workdir, coordinator, signed) -> None:
    """Two names are input and output; options that were not given are not sent."""
    coordinator.results = signed.results
    coordinator.store(VIDEO)
    address = "https://example.com/v.mkv"
    outcome = quick("transcode", address, "small.MP4", "--fps", "30", "--start", "1:30", "--json")
    assert (workdir / "small.MP4").read_bytes() == VIDEO
    (file,) = json.loads(outcome.stdout)["files"]
    assert file == {
        "input": address, "status": "done", "job_id": "job_1", "outputs": ["small.MP4"], "results": signed.results,
    }  # fmt: skip
    assert coordinator.bodies == [
        {"name": "v.mkv", "input_url": address, "output_format": "mp4", "fps": 30, "start": 90}
    ]


def test_usage_errors_exit_with_two(quick, workdir) -> None:
    """Nothing is sent to the coordinator."""
    for name in ("a.mp4", "b.mp4", "notes.txt"):
        (workdir / name).touch()
    (workdir / "empty").mkdir()
    wrong = [
        ("transcode", "a.mp4", "out"),
        ("transcode", "a.mp4", "a.mp4"),
        ("transcode", "a.mp4", "b.mp4", "out.mp4"),
        ("transcode", "*.mp4", "out.mkv"),
        ("transcode", "a.mp4", "--format", "mkv", "-o", "notes.txt"),
        ("transcode", "a.mp4", "out.mkv", "--start", "1:3:x"),
        ("transcribe", "none.wav"),
        ("transcribe", "*.wav"),
        ("transcribe", "empty"),
        ("transcribe", "a.mp4", "b.mp4", "--srt", "one.srt"),
        ("imagine", "a cat", "-o", "cat.txt"),
        ("render", "a.mp4", "--resolution", "big"),
        ("run", "none.py"),
        ("run", "notes.txt", "-p", "x"),
        ("jobs", "show"),
        ("jobs", "list", "--status", "lost"),
        ("chat",),
        ("receipts", "verify", "a.mp4"),
        ("nonsense",),
    ]
    assert {arguments: quick(*arguments).returncode for arguments in wrong} == dict.fromkeys(wrong, 2)


@pytest.mark.parametrize(
    ("status", "code", "exit_code", "expected"),
    [
        (401, "UNAUTHORIZED", 5, "--api-key or AITBC_API_KEY"),
        (403, "FORBIDDEN", 5, "another role"),
        (402, "INSUFFICIENT_BALANCE", 5, "aitbc wallet balance"),
        (404, "JOB_NOT_FOUND", 1, "aitbc jobs list"),
        (410, "OFFER_NOT_AVAILABLE", 1, "aitbc offers list"),
        (500, "INTERNAL_ERROR", 1, "request req_1"),
        (400, "INVALID_JOB_TYPE", 2, "aitbc: Two lines"),
        (422, "VALIDATION_ERROR", 2, "aitbc: Two lines"),
    ],
)
def test_errors_are_one_paragraph_and_a_code(quick, coordinator, status, code, exit_code, expected) -> None:
    """The paragraph states what happened and what to do, without control characters."""
    coordinator.faults.append(error(status, code, "Two\nlines \x1b[2J"))
    outcome = quick("jobs", "list", "--json")
    assert (outcome.returncode, outcome.stdout) == (exit_code, "")
    assert outcome.stderr.startswith(f"aitbc: Two lines \N{REPLACEMENT CHARACTER}[2J ({code})")
    assert expected in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def test_connection_errors_exit_with_four(quick, free_address, workdir, monkeypatch) -> None:
    """The address refuses connections, or no coordinator is configured."""
    monkeypatch.setattr("aitbc._http.flow._BACKOFF", 0.001)
    (workdir / "a.wav").touch()
    outcome = quick("--base-url", free_address, "jobs", "list")
    assert (outcome.returncode, outcome.stderr.count("\n")) == (4, 1)
    assert "aitbc-agent start" in outcome.stderr
    assert quick("--base-url", free_address, "transcribe", "a.wav").returncode == 4
    outcome = quick("jobs", "list", AITBC_BASE_URL="")
    assert (outcome.returncode, outcome.stderr.count("\n")) == (4, 1)
    assert "AITBC_BASE_URL" in outcome.stderr


def test_failed_job_reports_its_reason(quick, coordinator) -> None:
    coordinator.states[0] = {
        "status": "failed",
        "error": {"code": "INPUT_INVALID", "message": "No audio stream."},
    }
    outcome = quick("transcribe", "https://example.com/a.mp3", "--json")
    assert outcome.returncode == 1
    assert outcome.stderr.splitlines()[-1].startswith(
        "aitbc: Job job_1 failed (INPUT_INVALID): No audio stream."
    )
    answer = json.loads(outcome.stdout)
    assert (answer["failed"], answer["files"][0]["error"]["code"]) == (1, "INPUT_INVALID")


@pytest.mark.system
def test_interrupt_on_a_terminal_cancels_the_job(environment, coordinator) -> None:
    """A running job has a bar; Ctrl-C removes it, cancels the job and prints one line."""
    coordinator.states[0] = {"status": "running", "progress": 40}
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*INTERRUPTIBLE, sys.executable, "-m", "aitbc.cli", "transcribe", "https://example.com/a.mp3"],
        env={**environment, "TERM": "xterm"}, stdout=subprocess.PIPE, stderr=theirs, text=True,
    )  # fmt: skip
    os.close(theirs)
    shown = ""
    while " 40%" not in shown:
        shown += os.read(ours, 4096).decode(errors="replace")
    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" in shown
    process.send_signal(signal.SIGINT)
    try:
        while piece := os.read(ours, 4096):
            shown += piece.decode(errors="replace")
    except OSError:
        pass  # raised when the other end of the terminal was closed
    os.close(ours)
    stdout, _ = process.communicate(timeout=120)
    assert (process.returncode, stdout) == (130, "")
    assert coordinator.cancelled.is_set()
    assert shown.endswith("aitbc: Interrupted. Job job_1 was cancelled.\r\n")


def test_untrusted_text_cannot_control_the_terminal(capsys, monkeypatch) -> None:
    text = "a\x1b]0;title\x07\tb\r\nc"
    print_text(text)
    assert capsys.readouterr().out == text + "\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_text(text)
    assert capsys.readouterr().out == "a\ufffd]0;title\ufffd\tb\ufffd\nc\n"


def test_tables_omit_columns_instead_of_cutting_ids(capsys, monkeypatch) -> None:
    rows = [("job_" + "1" * 26, "tx_" + "2" * 26, "2026-11-24"), ("job_3", "tx_4", "2026-11-25")]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "62")
    print_rows(("JOB", "TRANSACTION", "CREATED"), rows)
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        f"{first:<30}  {second}" for first, second in [("JOB", "TRANSACTION"), *(row[:2] for row in rows)]
    ]
    assert printed.err == (
        "Left out, because the terminal is too narrow: CREATED. `| cat` and --json show all columns.\n"
    )
    monkeypatch.setenv("COLUMNS", "73")
    print_rows(("JOB", "TRANSACTION", "CREATED"), rows)
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [list(row) for row in rows]


def test_receipts_show_and_export(quick, coordinator, signed, tmp_path) -> None:
    coordinator.receipt, coordinator.results = signed.receipt, signed.results
    coordinator.proofs.append(signed.proof)
    assert json.loads(quick("receipts", "show", "job_1", "--json").stdout) == signed.receipt
    shown = quick("receipts", "show", "job_1").stdout
    assert signed.statement.service in shown
    assert signed.receipt["signature"]["sig"] not in shown
    outcome = quick("receipts", "export", "job_1", "-o", str(tmp_path / "r.json"), "--json")
    assert json.loads(outcome.stdout)["receipt_id"] == signed.receipt["receipt_id"]
    assert json.loads((tmp_path / "r.json").read_text()) == signed.bundle


@pytest.fixture
def exported(quick, workdir, signed):
    (workdir / "r.json").write_text(json.dumps(signed.bundle))
    (workdir / "video.mp4").write_bytes(VIDEO)
    (workdir / "renamed.mp4").write_bytes(VIDEO)
    (workdir / "other.mp4").write_bytes(b"other")
    quick.workdir = workdir
    return quick


def test_verify_works_without_a_coordinator(exported, signed, free_address) -> None:
    arguments = ("receipts", "verify", "r.json", "--log-key", signed.log_key)
    outcome = exported(
        *arguments, "--artifact", "video.mp4", "--artifact", "renamed.mp4", AITBC_BASE_URL=free_address
    )
    assert outcome.returncode == 0, outcome.stdout
    statement = signed.statement
    verdict = f"valid: {statement.miner_id} ran video_transcoding for {statement.job_id}"
    assert outcome.stdout == f"{verdict}\n"


def test_verify_shows_the_checks_of_each_question_on_request(exported, signed) -> None:
    """Every check belongs to one of the four questions, whose sentences stand above it."""
    arguments = ("receipts", "verify", "r.json", "--log-key", signed.log_key, "--artifact", "video.mp4")
    lines = exported(*arguments, "--verbose").stdout.splitlines()
    assert lines[0].startswith("valid: miner_")
    assert [line.split()[:2] for line in lines if line.startswith("  ") and line[2] != " "] == [
        ["Who", "ok"],
        ["What", "ok"],
        ["Price", "ok"],
        ["Log", "ok"],
    ]
    assert "    ok    The file video.mp4 is an output that the miner signed." in lines
    checks = json.loads(exported(*arguments, "--json").stdout)["checks"]
    assert {check["question"] for check in checks} == {"who", "what", "price", "log"}
    assert len([line for line in lines if line.startswith("    ok  ")]) == len(checks)


def test_verify_uses_the_log_key_of_the_local_agent(exported, signed, tmp_path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "agent.json").write_text(
        json.dumps({"url": "http://127.0.0.1:1", "log_key": signed.log_key})
    )
    outcome = exported("receipts", "verify", "r.json", "--json")
    answer = json.loads(outcome.stdout)
    assert (outcome.returncode, answer["valid"], answer["coordinator_attestations"]) == (0, True, 2)


def test_verify_reports_failures_and_exits_with_three(exported, signed, signing_log_key) -> None:
    arguments = ("receipts", "verify", "r.json", "--log-key")
    outcome = exported(*arguments, signed.log_key, "--artifact", "other.mp4")
    assert outcome.returncode == 3
    assert "FAIL  File other.mp4: the signed statement has no such output." in outcome.stdout
    verdict, *details = outcome.stdout.splitlines()
    assert verdict == "NOT valid: An output file is not one that the miner signed."
    assert [line.split()[1] for line in details if line[2] != " "] == ["ok", "FAIL", "ok", "ok"]
    (exported.workdir / "video.mp4").write_bytes(b"changed")
    outcome = exported(*arguments, signed.log_key, "--artifact", "video.mp4", "--json")
    assert json.loads(outcome.stdout)["failures"] == [
        "artifact video.mp4: SHA-256 differs from the signed statement."
    ]
    elsewhere = format_vkey(f"x{ORIGIN}", bytes(signing_log_key.verify_key))
    outcome = exported(*arguments, elsewhere)
    assert outcome.returncode == 3
    assert outcome.stdout.splitlines()[0] == (
        f"NOT valid: this receipt is from another network, {ORIGIN}. Pass the key of its log with --log-key."
    )
    assert exported(*arguments, "nonsense").returncode == 3
    (exported.workdir / "r.json").write_text("{")
    assert exported(*arguments, signed.log_key).stderr.startswith(
        "aitbc: r.json is not an exported receipt: This is not valid JSON"
    )


def test_verify_accepts_a_receipt_without_results(exported, signed) -> None:
    (exported.workdir / "r.json").write_text(json.dumps(signed.receipt))
    assert exported("receipts", "verify", "r.json", "--log-key", signed.log_key).returncode == 0


def test_verify_and_export_apply_a_policy(exported, coordinator, signed) -> None:
    """Without a required cosignature a receipt is invalid, and the export stops waiting after its timeout."""
    coordinator.receipt, coordinator.results = signed.receipt, signed.results
    coordinator.proofs.append(signed.proof)
    witness = format_vkey("w.test", b"w" * 32, COSIGNATURE_TYPE)
    (exported.workdir / "log").write_text(f"log {signed.log_key}\nquorum none\n")
    (exported.workdir / "witness").write_text(f"log {signed.log_key}\nwitness w {witness}\nquorum w\n")
    assert exported("receipts", "verify", "r.json", "--policy", "log").returncode == 0
    outcome = exported("receipts", "verify", "r.json", "--policy", "witness", "--json")
    assert (outcome.returncode, json.loads(outcome.stdout)["failures"]) == (
        3,
        ["witnesses: cosigned by none, but the policy asks for w."],
    )
    assert exported("receipts", "verify", "r.json", "--policy", "log", "--log-key", "x").returncode == 2
    assert exported("receipts", "export", "job_1", "-o", "e.json", "--policy", "log").returncode == 0
    outcome = exported("receipts", "export", "job_1", "-o", "w.json", "--policy", "witness", "--timeout", "0")
    assert (outcome.returncode, (exported.workdir / "w.json").exists()) == (1, False)
    assert "cosignatures that the policy requires" in outcome.stderr


MINER = {
    "miner_id": "miner_1", "name": "rig-1", "available": True, "online": True, "seen_at": "2026-11-24T15:00:00Z",
    "reputation": 4.8,
    "services": [{
        "service_id": "llm_inference", "price": "0.001", "unit": "token", "models": ["m"],
        "speed": {"metric": "token/s", "value": 41.5},
    }],
}  # fmt: skip


def test_offers_are_listed_and_accepted(quick, coordinator) -> None:
    offer = {
        "offer_id": "offer_1", "miner_id": "miner_1", "job_type": "llm_inference", "price": "0.001", "reputation": 4.8,
        "jobs_left": 3,
    }  # fmt: skip
    payment = {"transaction_id": "tx_1", "status": "pending", "created_at": "2024-01-01T12:00:00Z"}
    coordinator.answers = {
        "GET /v1/marketplace/offers": {"offers": [offer]},
        "GET /v1/marketplace/miners": {"miners": [MINER], "total": 1},
        "POST /v1/marketplace/offers/offer_1/accept": payment,
    }
    listed = quick("offers", "list", "--type", "llm-inference", "--max-price", "0.01")
    assert listed.stdout.splitlines() == [
        "OFFER\tFOR\tPRICE\tBY\tUNIT\tLEFT\tREPUTATION\tSTATUS\tMINER",
        "offer_1\tllm_inference\t0.001\trig-1\ttoken\t3\t4.80\t\tminer_1",
    ]
    assert json.loads(quick("offers", "list", "--json").stdout) == {"offers": [offer]}
    accepted = quick("offers", "accept", "offer_1", "job_1", "--bid", "0.001", "--json")
    assert json.loads(accepted.stdout) == payment
    assert coordinator.bodies == [{"job_id": "job_1", "bid_price": "0.001"}]


def test_wallet_balance_and_transactions(quick, coordinator) -> None:
    payment = {
        "transaction_id": "tx_1", "type": "payment", "status": "settled", "amount": "0.5", "job_id": "job_1",
        "created_at": "2024-01-01T12:00:00Z",
    }  # fmt: skip
    coordinator.answers = {
        "GET /v1/wallet": {"balance": "10", "held": "0.5"},
        "GET /v1/wallet/transactions": {"transactions": [payment], "next": "tx_1"},
    }
    assert quick("wallet", "balance").stdout == "balance  10 credits\nheld     0.5 credits\n"
    listed = quick("wallet", "transactions")
    assert listed.stdout.splitlines()[1] == "tx_1\tpayment\tsettled\t0.5\tjob_1\t2024-01-01T12:00:00Z"
    assert "--before tx_1" in listed.stderr
    assert json.loads(quick("wallet", "balance", "--json").stdout) == {"balance": "10", "held": "0.5"}


SERVICE = {
    "service_id": "llm_inference", "name": "Language model", "available": True, "miners": 1, "price": "0.001", "unit": "token",
    "speed": {"metric": "token/s", "best": 50.0, "typical": 41.5}, "typical_seconds": None,
    "models": [
        {"name": "large", "available": False, "downloadable": True, "miners": 0, "price": None, "unit": None, "typical_seconds": None},
        {"name": "small", "available": True, "downloadable": True, "miners": 1, "price": "0.001", "unit": "token", "typical_seconds": 2.4},
    ],
}  # fmt: skip


def test_models_services_and_miners_are_listed(quick, coordinator) -> None:
    """They show what is available now, from what price, and how fast; what is available comes first."""
    coordinator.answers = {
        "GET /v1/marketplace/services": {"services": [SERVICE]},
        "GET /v1/marketplace/miners": {"miners": [MINER], "total": 1},
    }
    assert quick("models").stdout.splitlines() == [
        "MODEL\tAVAILABLE\tFROM\tUNIT\tTYPICAL RUN\tMINERS\tSERVICE",
        "small\tyes\t0.001\ttoken\t2.4 s\t1\tllm_inference",
        "large\tafter download\t\t\t\t0\tllm_inference",
    ]
    assert len(quick("models", "--available", "--service", "llm").stdout.splitlines()) == 2
    assert json.loads(quick("models", "--json").stdout)["models"][0]["name"] == "small"
    assert quick("services").stdout.splitlines()[1] == "llm_inference\tyes\t0.001\ttoken\t41.5 token/s\t1\t1"
    assert quick("miners", "--service", "llm-inference").stdout.splitlines()[1] == (
        "rig-1\tminer_1\t0.001\ttoken\t41.5 token/s\tavailable\t2026-11-24T15:00:00Z\t4.80\tm"
    )
    assert quick("miners").stdout.splitlines() == [
        "NAME\tMINER\tSTATE\tLAST SEEN\tREPUTATION\tSERVICES",
        "rig-1\tminer_1\tavailable\t2026-11-24T15:00:00Z\t4.80\tllm_inference",
    ]
    shown = quick("miners", "rig-1").stdout.splitlines()
    assert shown[0] == "rig-1 (miner_1): available, last seen 2026-11-24T15:00:00Z"
    assert shown[-1] == "llm_inference\t0.001\ttoken\t41.5 token/s\tm"
    wrong = quick("miners", "--service", "llm_inferense")
    assert wrong.returncode == 1
    assert "There is no service 'llm_inferense'. Did you mean 'llm_inference'?" in wrong.stderr


def test_the_parameters_of_a_service_have_the_words_of_its_form(quick, coordinator) -> None:
    """In the form's order; a service without one has those of its schema."""
    form = {
        "groups": [
            {"title": None, "fields": [{"name": "prompt", "label": "Prompt", "help": "Your question."}]},
            {"title": "Style", "fields": [{"name": "mood", "label": "Mood", "help": "Of the answer.", "choices": {"a": "A", "b": "B"}}]},
        ]
    }  # fmt: skip
    schema = {"properties": {"prompt": {"title": "Prompt", "description": "Plain text."}}}
    coordinator.answers = {"GET /v1/marketplace/services": {"services": [SERVICE]}}
    coordinator.registry = {"/llm_inference/schema": {**schema, "x-aitbc-form": form}}
    assert quick("services", "llm").stdout.splitlines() == [
        "PARAMETER\tVALUES\tMEANING",
        "prompt\t\tPrompt. Your question.",
        "mood\ta, b\tMood. Of the answer.",
    ]
    coordinator.registry = {"/llm_inference/schema": schema}
    assert quick("services", "llm").stdout.splitlines()[1] == "prompt\t\tPrompt. Plain text."


def test_names_and_parts_of_ids_are_found() -> None:
    """The most exact way that names something counts; several matches are listed."""
    first, second = (
        NamedCandidate("job_06h1aaaaab", "talk.wav"),
        NamedCandidate("job_06h1aaabbc", "film", "failed"),
    )

    def found(named: str) -> str:
        return find("job", named, lambda: [second, first], "aitbc jobs list")

    assert found("last") == second.id
    assert (
        found("talk.wav")
        == found("TALK.WAV")
        == found("06h1aaaaa")
        == found("job_06h1aaaaa")
        == found("aab")
        == first.id
    )
    assert found("job_older") == "job_older"
    with pytest.raises(AmbiguousName) as ambiguous:
        found("06h1")
    assert str(ambiguous.value).splitlines() == [
        "'06h1' names 2 jobs. Use more characters of the id:",
        "job_06h1aaabbc (film, failed)",
        "job_06h1aaaaab (talk.wav)",
    ]
    with pytest.raises(NoSuchName, match=r"There is no job 'talk\.waf'\. Did you mean 'talk\.wav'\?"):
        found("talk.waf")
    complete = "job_" + "0" * 26
    assert find("job", complete, lambda: pytest.fail("A complete id needs no search."), "") == complete


def test_a_job_is_given_to_a_miner_by_its_name(quick, coordinator, workdir) -> None:
    """Its name is that of its file, unless --name says otherwise."""
    coordinator.answers = {
        "GET /v1/marketplace/miners": {"miners": [MINER], "total": 1},
        "GET /v1/marketplace/offers": {
            "offers": [
                {"offer_id": "offer_7", "miner_id": "miner_1", "job_type": "llm_inference", "price": "1"}
            ]
        },
    }
    (workdir / "v.mkv").write_bytes(b"film")
    quick("transcode", "v.mkv", "o.mp4", "--miner", "rig-1", "--name", "my film")
    quick("transcode", "v.mkv", "p.webm", "--offer", "rig-1/llm-inference")
    sent = [
        {name: body.get(name) for name in ("name", "miner_id", "offer_id")} for body in coordinator.bodies
    ]
    assert sent == [
        {"name": "my film", "miner_id": "miner_1", "offer_id": None},
        {"name": "v.mkv", "miner_id": None, "offer_id": "offer_7"},
    ]
    both = quick("transcode", "v.mkv", "q.mp4", "--miner", "rig-1", "--offer", "rig-1")
    assert both.returncode == 2
    unknown = quick("transcode", "v.mkv", "q.mp4", "--miner", "rig-2")
    assert "Did you mean 'rig-1'?" in unknown.stderr


def test_invalid_fields_are_named_as_their_options(quick, coordinator, workdir) -> None:
    """There is one line for each, and none twice."""
    (workdir / "v.mkv").write_bytes(b"film")
    fields = {
        "codec": 'must be h264, not "h266"; did you mean h264?',
        "pricing.max_cost": "must be an amount",
    }
    message = " ".join(["The request is not valid.", *(f"{name}: {text}." for name, text in fields.items())])
    body = {
        "error": {
            "code": "VALIDATION_ERROR",
            "message": message,
            "details": {"fields": fields},
            "request_id": "r",
        }
    }

    def refused() -> str:
        return quick("transcode", "https://example.com/v.mkv", "o.mp4").stderr

    coordinator.faults.append(JSONResponse(body, 422))
    assert refused().splitlines() == [
        "aitbc: The request is not valid:",
        '  --codec: must be h264, not "h266"; did you mean h264?',
        "  --max-cost: must be an amount.",
    ]
    del fields["pricing.max_cost"]
    body["error"]["message"] = "The request is not valid. codec: " + fields["codec"]
    coordinator.faults.append(JSONResponse(body, 422))
    assert refused().splitlines() == ['aitbc: --codec: must be h264, not "h266"; did you mean h264?']
    fields = {"body": "size '10x10' is too small"}
    body["error"] |= {
        "message": "The request is not valid. body: " + fields["body"] + ".",
        "details": {"fields": fields},
    }
    coordinator.faults.append(JSONResponse(body, 422))
    assert refused().splitlines() == ["aitbc: size '10x10' is too small."]


def test_errors_about_files_name_the_file(quick, workdir) -> None:
    (workdir / "a.wav").write_bytes(b"\x80RIFF")
    (workdir / "model.py").write_text("def predict(input): return 1")
    assert "a.wav: " in quick("receipts", "verify", "a.wav", "--policy", "a.wav").stderr
    refused = quick("run", "model.py", "--requirements", "a.wav")
    assert (refused.returncode, "a.wav is not a text file" in refused.stderr.replace("\n", " ")) == (2, True)
