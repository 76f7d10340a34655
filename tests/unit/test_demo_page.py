"""The demo's page is one file that shows results with their receipts, and needs nothing else."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "scripts" / "demonstration"


@pytest.fixture
def demo_page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(FOLDER)
    import demo_page  # noqa: PLC0415 - found through the path above

    yield demo_page
    del sys.modules["demo_page"]


def bundle(path: Path) -> Path:
    signed = {"predicate": {"units": "12.5", "unit": "audio second", "price": "0.00125"}}
    payload = base64.b64encode(json.dumps(signed).encode()).decode()
    path.write_text(json.dumps({"receipt": {"envelope": {"payload": payload}}}))
    return path


def test_the_page_is_one_file_and_shows_what_strangers_wrote_as_text(demo_page: Any, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"\x89PNG")
    hostile = "<script>alert(1)</script>"
    exhibit = demo_page.Exhibit(
        "A title",
        demo_page.text(hostile) + demo_page.sound(picture),
        demo_page.quote(hostile) + demo_page.image(picture, hostile) + demo_page.bars([(hostile, 0.25)]),
        "$ aitbc transcribe a.wav",
    )
    checks = [{"name": "units", "ok": True, "message": hostile}]
    verified = demo_page.Verified(bundle(tmp_path / "a.receipt.json"), checks)
    page = tmp_path / "index.html"
    demo_page.write(page, {"log_key": "log+1+key"}, [(exhibit, verified)], 12.3)
    written = page.read_text()
    assert "<script" not in written
    assert "12.5 audio seconds · 0.00125 credits" in written
    assert "$ aitbc transcribe a.wav" in written
    assert "aitbc receipts verify a.receipt.json --log-key log+1+key" in written
    sources = re.findall(r'(?:src|href)="([^"]+)"', written)
    assert sources
    assert all(source.startswith("data:") for source in sources)
    assert not re.search(r"@import|url\(", written)


def test_the_page_names_the_jobs_that_failed(demo_page: Any, tmp_path: Path) -> None:
    exhibit = demo_page.Exhibit("A title", "", "", "$ aitbc transcribe a.wav")
    verified = demo_page.Verified(bundle(tmp_path / "a.receipt.json"), [])
    page = tmp_path / "index.html"
    demo_page.write(page, {"log_key": "log+1+key"}, [(exhibit, verified)], 12.3, ("video <1>", "picture"))
    assert "Not shown, because they failed: video &lt;1&gt;, picture." in page.read_text()
