"""Sends a notice: to an address as JSON, and to a command such as `mail` on its standard input."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import STDOUT
from contextlib import suppress
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Final

import httpx
import structlog

from agent.core.values.quantities import format_time
from agent.miner.settings import NoticeSettings

_SHOWN: Final = 500
"""Bytes of a command's output in an error."""

_log = structlog.get_logger(__name__)


class NotSent(Exception):
    """A notice could not be sent, for the reason in the message."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice to the owner. `event` is a word for programs ("gpu_lost"), `gpu` a UUID or None."""

    event: str
    text: str
    machine: str
    gpu: str | None
    time: float


async def send(notice: Notice, settings: NoticeSettings) -> None:
    """Send a notice by all ways of the settings. Raises `NotSent` if none worked; a failure of one of them is logged."""
    ways = []
    if settings.webhook is not None:
        ways.append(_post(notice, settings.webhook, settings.timeout_seconds))
    if settings.command:
        ways.append(_run(notice, settings.command, settings.timeout_seconds))
    failures = [
        outcome for outcome in await asyncio.gather(*ways, return_exceptions=True) if outcome is not None
    ]
    for failure in failures:
        # Also those that nobody has thought of: a notice must never end the miner.
        known = isinstance(failure, NotSent)
        _log.warning(
            "notice_not_sent",
            notice_event=notice.event,
            error=str(failure),
            exc_info=None if known else failure,
        )
    # Sending it again by those that work would be a second notice.
    if len(failures) == len(ways):
        raise NotSent(" ".join(map(str, failures)))


async def _post(notice: Notice, url: str, seconds: float) -> None:
    """Post the notice. `text` is what Slack, Mattermost and Telegram show, `content` what Discord shows."""
    body = {
        "text": f"{notice.machine}: {notice.text}",
        "content": f"{notice.machine}: {notice.text}",
        "event": notice.event,
        "machine": notice.machine,
        "gpu": notice.gpu,
        "time": format_time(notice.time),
    }
    try:
        async with asyncio.timeout(seconds), httpx.AsyncClient(timeout=seconds) as client:
            response = await client.post(url, json=body, headers={"User-Agent": "aitbc-agent"})
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        # Without the address, which is a secret of many services.
        raise NotSent(f"miner.notices.webhook cannot be reached ({type(error).__name__}).") from None
    if not response.is_success:
        raise NotSent(f"miner.notices.webhook answers {response.status_code}.")


async def _run(notice: Notice, command: tuple[str, ...], seconds: float) -> None:
    """Run the command with the notice as its input."""
    # Files rather than pipes: a command may end without reading its input, or leave a program behind that holds its output open.
    with TemporaryFile() as text, TemporaryFile() as printed:
        text.write(f"{notice.machine}: {notice.text}\n".encode())
        text.seek(0)
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=text, stdout=printed, stderr=STDOUT, start_new_session=True
            )
        except OSError as error:
            raise NotSent(f"miner.notices.command cannot be started: {error}.") from None
        try:
            async with asyncio.timeout(seconds):
                await process.wait()
        except TimeoutError:
            raise NotSent(f"miner.notices.command took longer than {seconds:g} s.") from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        printed.seek(0)
        output = printed.read(_SHOWN)
    if process.returncode != 0:
        said = output.decode(errors="replace").strip()
        raise NotSent(
            f"miner.notices.command exits with {process.returncode}: {said or 'it printed nothing'}."
        )
