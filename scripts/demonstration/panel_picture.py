"""Draws docs/images/panel.svg: the live panel of `aitbc-agent start`, drawn by the agent's code with sample values.

    .venv/bin/python scripts/demonstration/panel_picture.py

The values are invented, since the picture shows a busy machine with two cards; the lines are those that a terminal
shows. `tests/acceptance/test_panel.py` checks the panel of a real agent.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from rich.console import Console

from agent.cli.terminal.panel import PanelView, draw

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "images" / "panel.svg"
WIDTH, HEIGHT = 88, 20
NOW = 1_795_600_000.0
GIBIBYTE = 2**30


def card(index: int, **values: Any) -> dict[str, Any]:
    """Return a card's entry of the status."""
    return {
        "uuid": f"GPU-{index}",
        "index": index,
        "memory_total": 24 * GIBIBYTE,
        "power_limit": 450.0,
        **values,
    }


def job(
    job_id: str, service: str, model: str | None, device: str, progress: float, seconds: float
) -> dict[str, Any]:
    """Return a running job's entry of the status."""
    return {
        "job_id": job_id, "service": service, "model": model, "stage": "running", "device": device,
        "progress": progress, "seconds": seconds,
    }  # fmt: skip


STATUS = {
    "miner_id": "miner_vi5bnc3uzdeounve6vhf4s3pzu", "connection": "websocket", "started_at": NOW - 187_000,
    "stopping": False, "drain_seconds_left": None, "paused": None, "pauses": {"miner": None},
    "earned_today": {"amount": "4.82", "jobs": 137}, "gpu_reason": None,
    "gpus": [
        card(0, name="NVIDIA GeForce RTX 4090", memory_free=9.1 * GIBIBYTE, temperature=67, power=388.0, utilization=98, paused=None),
        card(1, name="NVIDIA GeForce RTX 4090", memory_free=17.5 * GIBIBYTE, temperature=58, power=214.0, utilization=71, paused=None),
    ],
    "leases": [
        job("job_06h1m2k8x3v9q7w5t4r2p1n0zc", "image_generation", "sdxl-base", "GPU-0", 64.0, 7.0),
        job("job_06h1m2k9a8b7c6d5e4f3g2h1jk", "whisper_transcription", "large-v3-turbo", "GPU-1", 31.0, 12.0),
    ],
    "finished": [
        {"job_id": "job_06h1m2k7r5s4t3v2w1x0y9z8ab", "service": "llm_inference", "model": "llama-3.1-8b-instruct", "outcome": "completed", "ended_at": NOW - 9, "seconds": 3.0},
        {"job_id": "job_06h1m2k6m5n4p3q2r1s0t9v8wx", "service": "video_transcoding", "model": None, "outcome": "completed", "ended_at": NOW - 41, "seconds": 28.0},
    ],
    "downloads": [], "placement": {"waiting": []},
    "services": ["image_generation", "llm_inference", "video_transcoding", "whisper_transcription"], "now": {"working": 2.0},
    "idle": [{"reason": "working", "share": 0.81}, {"reason": "no jobs for this machine", "share": 0.19}],
}  # fmt: skip


def main() -> None:
    """Draw the picture."""
    console = Console(
        record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    view = PanelView("http://127.0.0.1:8420", STATUS, log=(), now=NOW)
    for line in draw(view, WIDTH, HEIGHT):
        console.print(line, no_wrap=True, crop=False)
    picture = console.export_svg(title="aitbc-agent start")
    # The reader's own fonts, instead of downloaded ones.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    PICTURE.write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
