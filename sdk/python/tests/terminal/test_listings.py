"""What people see on a terminal: one line a miner, prices of what they buy, and a job in a few lines."""

from __future__ import annotations

import sys
from typing import Any

import pytest

HOUR = {"name": "hour of audio", "plural": "hours of audio", "detail": None, "units": "3600"}
SECOND = {"name": "second of audio", "plural": "seconds of audio", "detail": None, "units": "1"}


def _miner(miner_id: str, *services: str) -> dict[str, Any]:
    return {
        "miner_id": miner_id, "name": "vm", "available": True, "online": True, "seen_at": "2026-11-24T15:00:00Z",
        "reputation": 3.5, "gpus": [],
        "services": [
            {"service_id": service, "price": "0.00000695", "unit": "audio second", "sale_units": [SECOND, HOUR],
             "models": [], "speed": None}
            for service in services
        ],
    }  # fmt: skip


@pytest.fixture
def terminal(quick, monkeypatch):
    """Run the command as on a terminal of 80 columns."""

    def terminal(*arguments: str, columns: int = 80) -> Any:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        return quick(*arguments, COLUMNS=str(columns), TERM="dumb")

    return terminal


@pytest.fixture
def two_of_one_name(coordinator):
    services = ("whisper_transcription", "llm_inference", "text_embedding")
    miners = [_miner("miner_aebagbafaydqqcik", *services), _miner("miner_nf5jgabhriizarpa", *services)]
    coordinator.answers["GET /v1/marketplace/miners"] = {"miners": miners, "total": 2}
    coordinator.answers["GET /v1/marketplace/services"] = {
        "services": [
            {"service_id": service, "available": True, "miners": 2, "models": []} for service in services
        ]
    }
    return coordinator


def test_each_miner_has_one_line_and_an_id(terminal, quick, two_of_one_name) -> None:
    """Two machines of one name differ on every terminal, by a part of the id that commands accept."""
    lines = terminal("miners").stdout.splitlines()
    assert len(lines) == 3
    assert [line.split()[:3] for line in lines[1:]] == [
        ["vm", "aebagbaf", "available"],
        ["vm", "nf5jgabh", "available"],
    ]
    assert lines[1].endswith("transcribe, chat, embed")
    assert "(miner_nf5jgabhriizarpa): available" in terminal("miners", "nf5jgabh").stdout
    assert quick("miners", "vm").returncode == 1


def test_prices_are_those_of_what_people_buy(terminal, two_of_one_name) -> None:
    lines = terminal("miners", "--service", "whisper", columns=120).stdout.splitlines()
    assert "0.02502 per hour of audio" in lines[1]
    assert lines[0].split()[:3] == ["NAME", "MINER", "CREDITS"]
    assert "0.00000695" not in "".join(lines)


def test_a_completed_job_is_summarised(terminal, quick, coordinator, signed) -> None:
    """With its duration, its cost, its files, and how to fetch them; --json has every field."""
    coordinator.results = signed.results
    coordinator.answers["GET /v1/marketplace/miners"] = {"miners": [_miner("miner_a")], "total": 1}
    coordinator.states[0] = {
        "status": "completed", "progress": 100, "type": "ffmpeg", "service_id": "video_transcoding", "name": "in.mov",
        "created_at": "2026-11-24T15:00:00Z", "started_at": "2026-11-24T15:00:01Z", "completed_at": "2026-11-24T15:02:06Z",
        "attempts": 2, "max_attempts": 3, "miner_id": "miner_a", "cost": "0.00000107",
        "parameters": {"codec": "h264", "input_url": "artifact:sha256:1"},
        "inputs": [{"field": "input_url", "name": "in.mov", "artifact_id": "sha256:" + "1" * 64, "size": 11603}],
    }  # fmt: skip
    shown = dict(line.split(maxsplit=1) for line in terminal("jobs", "show", "job_1").stdout.splitlines())
    assert shown["status"].startswith("completed ")
    assert shown["status"].endswith(" ago, ran for 2 min 5 s, attempt 2 of 3")
    assert shown["paid"] == "< 0.01 credits"
    assert shown["miner"] == "vm (miner_a)"
    assert shown["input"] == "in.mov (11.6 kB, sha256:11111111)"
    assert shown["with"] == "codec=h264"
    assert shown["output"].startswith(f"video.mp4 ({signed.results['file']['size']} bytes, sha256:")
    assert shown["receipt"] == "aitbc receipts export job_1 -o receipt.json"


def test_pipes_get_all_digits_and_whole_ids(quick, coordinator) -> None:
    coordinator.answers["GET /v1/marketplace/miners"] = {"miners": [], "total": 0}
    coordinator.states[0] = {
        "status": "failed", "progress": 0, "miner_id": "miner_a", "cost": "0.00000107",
        "error": {"code": "MODEL_FAILED", "message": "It raised:\n\nTraceback\n  File x"},
    }  # fmt: skip
    lines = quick("jobs", "show", "job_1").stdout.splitlines()
    assert "paid    0.00000107 credits" in lines
    assert lines[-4:] == ["error   MODEL_FAILED: It raised:", "", "        Traceback", "          File x"]
