"""A bucket of an S3 server process, and settings of a coordinator that stores its files there."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from support.features import is_installed

if TYPE_CHECKING:
    from agent.coordinator.features.s3.blobs import S3Blobs

ACCESS_KEY, SECRET_KEY = "test-access", "test-secret"


@dataclass(frozen=True)
class S3Server:
    """A running server."""

    url: str

    def settings(self, prefix: str = "", **more: Any) -> dict[str, Any]:
        """Return settings of artifacts in a new bucket."""
        name = f"test-{secrets.token_hex(6)}"
        headers = {
            "Authorization": f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20260101/us-east-1/s3/aws4_request"
        }
        httpx.put(f"{self.url}/{name}", headers=headers).raise_for_status()
        return {"url": f"s3://{name}/{prefix}".rstrip("/"), "endpoint": self.url, **more}

    def requests(self, settings: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the requests to the bucket of these settings."""
        bucket = settings["url"].removeprefix("s3://").partition("/")[0]
        found: list[dict[str, Any]] = httpx.get(f"{self.url}/_requests").json()
        return [request for request in found if request["path"].startswith(f"/{bucket}/")]


def blobs_of(settings: dict[str, Any], max_size: int = 2**40) -> S3Blobs:
    """Return the store of these settings."""
    from agent.coordinator.features.s3.blobs import S3Blobs  # noqa: PLC0415 - the feature is optional
    from agent.coordinator.features.s3.bucket import Bucket  # noqa: PLC0415 - as above
    from agent.coordinator.features.s3.settings import BucketSettings  # noqa: PLC0415 - as above

    bucket = Bucket(
        settings["url"], BucketSettings(**{name: value for name, value in settings.items() if name != "url"})
    )
    return S3Blobs(bucket, max_size=max_size, direct=True, max_whole=5 * 2**30)


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """Run a server of buckets, and set the environment's access key to one that it accepts."""
    if not is_installed("s3"):
        pytest.skip("it needs the feature s3")
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": f"{root}:{root / 'tests'}"}
    script = root / "tests/support/s3/server.py"
    before = {name: os.environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    os.environ.update(AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY)
    command = [sys.executable, str(script)]
    try:
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                # That something answers at a port would not say whose server it is.
                url = process.stdout.readline().strip()
                assert url, "the S3 server did not start"
                yield S3Server(url)
            finally:
                process.kill()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
