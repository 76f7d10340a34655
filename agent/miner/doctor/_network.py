"""Checks of the network: the port to listen on, the coordinator, and an agent that is already running."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import ssl
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx

from agent import __version__
from agent.core.errors import ConfigurationError
from agent.core.versions import version_advice, version_problem
from agent.diagnostics import Diagnostic, ok
from agent.miner.doctor._files import holder
from agent.miner.doctor.diagnostics import found
from agent.miner.identity import IDENTITY_FILE, Identity, load_identity
from agent.miner.link.registration import prove
from agent.miner.settings import MinerSettings
from agent.sections import section_of
from agent.settings import Settings

REQUEST_SECONDS: Final = 4.0

_NOTICED_SKEW: Final = 5.0
_HARMFUL_SKEW: Final = 30.0
"""Half a lease: with a larger difference of clocks, a miner misjudges when its leases end."""


def running_agent(settings: Settings) -> dict[str, Any] | None:
    """Return the description of the agent that has locked the data directory, None without one or until it is ready."""
    if holder(settings) is None:
        return None
    try:
        content = json.loads(settings.agent_file.read_bytes())
        return {**content, "url": str(content["url"]), "pid": int(content["pid"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def agent(settings: Settings) -> list[Diagnostic]:
    """Check whether an agent is running here, and if not, whether one could listen."""
    held_by = holder(settings)
    running = running_agent(settings)
    if running is not None:
        message = f"An agent runs in this data directory (process {running['pid']}, {running['url']})."
        return [ok("agent", message)]
    if held_by is not None:
        process = f"process {held_by}" if held_by else "in another container"
        words = {"directory": settings.data_dir, "pid": held_by or "PID"}
        return [found("data_directory_in_use", holder=process, **words)]
    host, port = settings.coordinator.host, settings.coordinator.port
    if section_of(settings, MinerSettings).coordinator is not None or port == 0:
        return [ok("agent", "No agent runs in this data directory.")]
    try:
        _try_to_listen(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return [found("port_taken", host=host, port=port)]
        return [found("address_unusable", host=host, port=port, cause=error.strerror or error)]
    return [ok("agent", f"No agent runs in this data directory, and port {port} is free.")]


def _try_to_listen(host: str, port: int) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1)


async def coordinator(settings: Settings) -> list[Diagnostic]:
    """Check that the coordinator answers, that its clock agrees, and that it would accept this miner."""
    running = await asyncio.to_thread(running_agent, settings)
    url = section_of(settings, MinerSettings).coordinator or (running or {}).get("url")
    if url is None:
        return [ok("coordinator", "No coordinator is configured: the agent starts its own.")]
    url = url.rstrip("/")
    try:
        async with httpx.AsyncClient(timeout=REQUEST_SECONDS) as client:
            sent_at = time.time()
            response = await client.get(f"{url}/v1/health")
            received = time.time()
            log_key = section_of(settings, MinerSettings).log_key
            diagnostics = _health(url, response, received - sent_at, log_key)
            if diagnostics[0].severity == "fault":
                return diagnostics
            date = response.headers.get("date")
            if date is not None:
                diagnostics.append(_clock(date, (sent_at + received) / 2))
            if section_of(settings, MinerSettings).coordinator is not None:
                diagnostics += await _admission(client, url, settings)
            return diagnostics
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return [_no_answer(url, error)]


def _no_answer(url: str, error: Exception) -> Diagnostic:
    """Return the diagnostic for the way in which the connection failed."""
    host = url.partition("://")[2].partition("/")[0].partition(":")[0]
    for cause in _causes(error):
        match cause:
            case socket.gaierror():
                return found("coordinator_unknown", url=url, cause=cause.strerror, host=host)
            case ssl.SSLCertVerificationError():
                return found("coordinator_certificate", url=url, cause=cause.verify_message.rstrip("."))
            case ssl.SSLError():
                reason = (
                    "it does not use TLS on that port"
                    if cause.reason == "WRONG_VERSION_NUMBER"
                    else cause.reason
                )
                return found("coordinator_certificate", url=url, cause=reason)
            case ConnectionRefusedError():
                return found("coordinator_refuses", url=url)
            case httpx.TimeoutException():
                return found("coordinator_silent", url=url, seconds=f"{REQUEST_SECONDS:g}")
    return found("coordinator_unreachable", url=url, cause=str(error) or type(error).__name__)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and all its causes."""
    if error is None:
        return
    yield error
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _causes(part)
    yield from _causes(error.__cause__ or error.__context__)


def _health(url: str, response: httpx.Response, seconds: float, log_key: str | None) -> list[Diagnostic]:
    try:
        health = response.raise_for_status().json()
        services, version, key = health["services"], str(health["version"]), health.get("log_key")
        parts = [name for name, state in services.items() if state != "healthy"]
    except (httpx.HTTPStatusError, ValueError, LookupError, TypeError, AttributeError):
        return [found("coordinator_wrong", url=url, answer=response.status_code)]
    if (problem := version_problem(__version__, version)) is not None:
        return [found("coordinator_version", url=url, problem=problem)]
    if log_key not in {None, key}:
        return [found("coordinator_other", url=url, key=key, pinned=log_key)]
    if parts:
        return [found("coordinator_degraded", url=url, parts=", ".join(parts))]
    answers = ok("coordinator", f"{url} answers in {1000 * seconds:.0f} ms.")
    advice = version_advice(__version__, version)
    return [answers, *([] if advice is None else [found("version_outdated", advice=advice)])]


def _clock(date: str, now: float) -> Diagnostic:
    try:
        skew = now - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return ok("clock", "The coordinator sends no readable time.")
    # The header has whole seconds, so half a second is added to meet its middle.
    skew -= 0.5
    words = {"skew": f"{abs(skew):.0f}", "direction": "ahead of" if skew > 0 else "behind"}
    if abs(skew) > _HARMFUL_SKEW:
        return found("clock_wrong", **words)
    if abs(skew) > _NOTICED_SKEW:
        return found("clock_inexact", **words)
    return ok("clock", "This machine's clock agrees with the coordinator's.")


async def _admission(client: httpx.AsyncClient, url: str, settings: Settings) -> list[Diagnostic]:
    """Check that a registration would be accepted, without registering or spending a token."""
    directory = settings.data_dir / "miner"
    proof = None
    try:
        if (directory / IDENTITY_FILE).exists():
            proof = await _proof(client, url, load_identity(directory))
    except ConfigurationError:  # other users may read the key, which `secrets` reports
        return []
    request = {"proof": proof, "enrolment_token": section_of(settings, MinerSettings).enrolment_token}
    response = await client.post(f"{url}/v1/miners/admission", json=request)
    # The coordinator limits the rate of requests.
    if response.status_code != httpx.codes.OK:
        return []
    answer = response.json()
    if answer["admitted"]:
        return [ok("enrolment", "The coordinator accepts this miner.")]
    return [found("enrolment_refused", url=url, reason=answer["reason"])]


async def _proof(client: httpx.AsyncClient, url: str, identity: Identity) -> dict[str, str] | None:
    """Return a proof of this miner's key; None if the coordinator issues no nonce to sign."""
    response = await client.post(f"{url}/v1/miners/challenge", json={})
    if response.status_code != httpx.codes.OK:
        return None
    challenge = response.json()
    return prove(identity, challenge["nonce"], challenge["origin"])
