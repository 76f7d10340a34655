"""Runs moto's S3 server, and adds what S3 checks and moto does not: access keys, signatures, expiries, clocks and SHA-256.

Usage: server.py. It chooses a port, and prints its URL when it listens. The buckets are lost at the end. `GET /_requests` lists all requests with their bodies' sizes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote

from werkzeug.serving import WSGIRequestHandler, make_server

from agent.coordinator.features.s3.signing import Credentials, presign
from support.servers.s3 import ACCESS_KEY, SECRET_KEY

SKEW_SECONDS = 900

Start = Callable[..., Any]


class Checked:
    """WSGI middleware over moto."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._requests: list[dict[str, Any]] = []

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/_requests":
            start("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(self._requests).encode()]
        size = int(environ.get("CONTENT_LENGTH") or 0)
        fault = fault_of(environ)
        if fault is None and size:
            body, digest = spool(environ["wsgi.input"], size)
            environ["wsgi.input"] = body
            announced = environ.get("HTTP_X_AMZ_CHECKSUM_SHA256")
            if announced is not None and announced != base64.b64encode(digest).decode():
                fault = 400, "BadDigest", "The SHA256 you specified did not match what we received."
        entry = {
            "method": environ["REQUEST_METHOD"], "path": environ["PATH_INFO"], "size": size,
            "agent": environ.get("HTTP_USER_AGENT", ""), "key": bool(environ.get("HTTP_AUTHORIZATION")), "fault": fault and fault[1],
        }  # fmt: skip
        self._requests.append(entry)
        if fault is None:
            answered: Iterable[bytes] = self._app(environ, start)
            return answered
        status, code, message = fault
        start(f"{status} Refused", [("Content-Type", "application/xml"), ("Connection", "close")])
        return [f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()]


def fault_of(environ: dict[str, Any]) -> tuple[int, str, str] | None:  # noqa: PLR0911 - one for each check
    """Return status, code and message of the refusal; None for a request that S3 would serve."""
    if environ["REQUEST_METHOD"] == "OPTIONS":
        return None
    query = dict(parse_qsl(environ["QUERY_STRING"], keep_blank_values=True))
    authorization = environ.get("HTTP_AUTHORIZATION", "")
    if "X-Amz-Signature" not in query:
        if f"Credential={ACCESS_KEY}/" not in authorization:
            return (
                403,
                "InvalidAccessKeyId",
                "The AWS Access Key Id you provided does not exist in our records.",
            )
        return None
    if authorization:
        return 400, "InvalidArgument", "Only one auth mechanism allowed."
    signature, names = query.pop("X-Amz-Signature"), query.pop("X-Amz-SignedHeaders").split(";")
    access_key, _, region, *_ = query.pop("X-Amz-Credential").split("/")
    seconds, token = int(query.pop("X-Amz-Expires")), query.pop("X-Amz-Security-Token", None)
    query.pop("X-Amz-Algorithm")
    signed_at = datetime.strptime(query.pop("X-Amz-Date"), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    if access_key != ACCESS_KEY:
        return 403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."
    if signed_at > time.time() + SKEW_SECONDS:
        return (
            403,
            "RequestTimeTooSkewed",
            "The difference between the request time and the server's time is too large.",
        )
    if time.time() > signed_at + seconds:
        return 403, "AccessDenied", "Request has expired"
    given = {name: header(environ, name) for name in names}
    url = f"http://{given.pop('host')}{quote(environ['PATH_INFO'])}"
    expected = presign(
        Credentials(ACCESS_KEY, SECRET_KEY, token), environ["REQUEST_METHOD"], url, region=region, now=signed_at,
        seconds=seconds, query=query, headers=given,
    )  # fmt: skip
    if not expected.endswith(f"X-Amz-Signature={signature}"):
        return 403, "SignatureDoesNotMatch", "The request signature we calculated does not match."
    return None


def header(environ: dict[str, Any], name: str) -> str:
    key = name.upper().replace("-", "_")
    return str(environ.get(key if key == "CONTENT_LENGTH" else f"HTTP_{key}", ""))


def spool(stream: Any, size: int) -> tuple[Any, bytes]:
    digest = hashlib.sha256()
    body = tempfile.SpooledTemporaryFile(2**24)  # noqa: SIM115 - moto reads it
    while size > 0 and (chunk := stream.read(min(2**20, size))):
        digest.update(chunk)
        body.write(chunk)
        size -= len(chunk)
    body.seek(0)
    return body, digest.digest()


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: Any) -> None:
        """Log nothing."""


if __name__ == "__main__":
    # Here, since every test's process imports this module for its keys.
    from moto.server import DomainDispatcherApplication, create_backend_app

    application = Checked(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
    print(f"http://127.0.0.1:{server.port}", flush=True)  # noqa: T201 - for the process that started it
    server.serve_forever()
