"""Writes the demo's page: every result with its receipt, in one file that can be sent to somebody."""

from __future__ import annotations

import base64
import json
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Literal

PAGE_STYLE = Path(__file__).with_name("demo_page.css")
MARK = (
    '<svg viewBox="0 0 32 32" aria-hidden="true"><path class="paper" d="M4 2h24v28l-4-3-4 3-4-3-4 3-4-3-4 3z"/>'
    '<path class="tick" d="m10 14 4.5 4.5L22.5 10"/></svg>'
)


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One result as the page shows it.

    `request` and `shown` are HTML, made with the functions of this module; `command` is what anybody would type for the same
    job, with its prompt. A `wide` one takes the whole width.
    """

    heading: str
    request: str
    shown: str
    command: str
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Verified:
    """The report of `aitbc receipts verify` on a receipt, as `bundle` contains it."""

    bundle: Path
    checks: Sequence[Mapping[str, Any]]


def write(
    path: Path,
    agent: Mapping[str, Any],
    exhibits: Sequence[tuple[Exhibit, Verified]],
    seconds: float,
    failed: Sequence[str] = (),
) -> None:
    """Write the page. The agent's log key is the only thing that a reader needs besides the receipts.

    `failed` are the jobs that it cannot show.
    """
    incomplete = f" Not shown, because they failed: {escape(', '.join(failed))}." if failed else ""
    cards = "\n".join(_card(exhibit, verified, agent["log_key"]) for exhibit, verified in exhibits)
    path.write_text(
        f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>AITBC agent: {len(exhibits)} jobs and their receipts</title>
<style>{PAGE_STYLE.read_text(encoding="utf-8")}</style></head><body>
<header>{MARK}<h1>{len(exhibits)} jobs, {len(exhibits)} valid receipts</h1>
<p>One agent on this machine ran these jobs in {seconds:.0f} s.{incomplete} The miner signed every result. Afterwards, with the
agent stopped, <code>aitbc receipts verify</code> checked each receipt against its files, and refused a copy in which one
number had been changed.</p></header>
<main>
{cards}
</main>
<footer><p>The log's public key, which verification needs: <code>{escape(agent["log_key"])}</code></p>
<p>Inputs, results and receipts are in the same directory as this page. <code>make start</code> starts an agent for files of your own.</p></footer>
</body></html>
""",
        encoding="utf-8",
    )


def _card(exhibit: Exhibit, verified: Verified, log_key: str) -> str:
    statement = _statement(verified.bundle)
    checks = "\n".join(
        f"<li><b>{escape(str(check['name']))}</b> {escape(str(check['message']))}</li>"
        for check in verified.checks
    )
    verify = f"aitbc receipts verify {verified.bundle.name} --log-key {log_key}"
    return f"""<article{' class="wide"' if exhibit.wide else ""}>
<h2>{escape(exhibit.heading)}</h2>
<div class="request">{exhibit.request}</div>
<div class="shown">{exhibit.shown}</div>
<pre><code>{escape(exhibit.command)}</code></pre>
<details><summary><span class="valid">Valid receipt</span> {len(verified.checks)} checks · {escape(statement)}</summary>
<ul>{checks}</ul>
<pre><code>$ {escape(verify)}</code></pre></details>
</article>"""


def _statement(bundle: Path) -> str:
    """Return what the miner signed, in a few words."""
    envelope = json.loads(bundle.read_text(encoding="utf-8"))["receipt"]["envelope"]
    signed = json.loads(base64.b64decode(envelope["payload"]))["predicate"]
    return f"{signed['units']} {signed['unit']}{'' if signed['units'] == '1' else 's'} · {signed['price']} credits"


def text(words: str) -> str:
    """Return a paragraph."""
    return f"<p>{escape(words)}</p>"


def quote(words: str) -> str:
    """Return a quotation."""
    return f"<blockquote>{escape(words)}</blockquote>"


def image(path: Path, description: str, *, kind: Literal["", "low", "pixels"] = "") -> str:
    """Return a picture: as it is, cropped to a low strip, or small and enlarged without smoothing."""
    return f'<img class="{kind}" src="{_data(path)}" alt="{escape(description)}">'


def sound(path: Path) -> str:
    """Return a player for a sound file."""
    return f'<audio controls preload="metadata" src="{_data(path)}"></audio>'


def video(path: Path, caption: str) -> str:
    """Return a player for a video, with a caption."""
    player = f'<video controls loop muted playsinline preload="auto" src="{_data(path)}"></video>'
    return f"<figure>{player}<figcaption>{escape(caption)}</figcaption></figure>"


def bars(values: Sequence[tuple[str, float]]) -> str:
    """Return named numbers from 0 to 1 as bars."""
    rows = "\n".join(
        f'<div class="bar"><span>{escape(name)}</span><meter min="0" max="1" value="{value:.3f}"></meter>'
        f"<b>{value:.2f}</b></div>"
        for name, value in values
    )
    return f'<div class="bars">{rows}</div>'


def side_by_side(*parts: str) -> str:
    """Return parts in one row, if the screen is wide enough."""
    return f'<div class="row">{"".join(parts)}</div>'


def _data(path: Path) -> str:
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
