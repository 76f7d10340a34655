"""Signed links: temporary access to an artifact without a key."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from agent.coordinator.operations.files import links
from agent.coordinator.secret_file import load_secret
from agent.core.errors import ConfigurationError
from agent.core.values.quantities import parse_time
from support.server import Served, serve

DATA = b"a picture for a page"


@pytest.fixture
def artifact_id(client: httpx.Client) -> str:
    stored: str = client.post("/v1/artifacts", content=DATA, headers={"Content-Type": "image/png"}).json()[
        "artifact_id"
    ]
    return stored


@pytest.fixture
def anonymous(served: Served) -> Iterator[httpx.Client]:
    """A client without a key."""
    with httpx.Client(base_url=served.url) as client:
        yield client


def link(client: httpx.Client, artifact_id: str) -> str:
    answer = client.post(f"/v1/artifacts/{artifact_id}/links")
    assert answer.status_code == 201
    url: str = answer.json()["url"]
    return url


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_a_link_opens_its_artifact_without_a_key(
    client: httpx.Client, anonymous: httpx.Client, artifact_id: str, prefix: str
) -> None:
    """The content, type and size are as stored; ranges and both path prefixes work."""
    url = prefix + link(client, artifact_id)
    answer = anonymous.get(url)
    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["content-type"] == "image/png"
    assert anonymous.head(url).headers["content-length"] == str(len(DATA))
    assert anonymous.get(url, headers={"Range": "bytes=2-8"}).content == DATA[2:9]
    assert anonymous.get(f"/v1/artifacts/{artifact_id}").status_code == 401


def test_a_link_states_when_it_expires(served: Served, client: httpx.Client, artifact_id: str) -> None:
    before = served.context.clock()
    answer = client.post(f"/v1/artifacts/{artifact_id}/links", json={"seconds": 60}).json()
    expires = parse_time(answer["expires_at"])
    assert before + 59 <= expires <= served.context.clock() + 60
    assert parse_qs(urlsplit(answer["url"]).query)["expires"] == [str(int(expires))]


def test_a_lifetime_over_the_limit_is_refused(client: httpx.Client, artifact_id: str) -> None:
    answer = client.post(f"/v1/artifacts/{artifact_id}/links", json={"seconds": 8 * 86_400})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "VALIDATION_ERROR")
    assert "seconds" in answer.json()["error"]["details"]["fields"]


def test_an_expired_link_is_refused_with_its_expiry(
    served: Served, client: httpx.Client, anonymous: httpx.Client, artifact_id: str
) -> None:
    yesterday = dataclasses.replace(served.context, clock=lambda: served.context.clock() - 86_400)
    answer = anonymous.get(links.link_to(yesterday, artifact_id))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (403, "FORBIDDEN")
    assert "expired" in error["message"]
    assert "expired_at" in error["details"]


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r"expires=\d+", "expires=99999999999"),
        (r"signature=\w+", "signature=" + "0" * 64),
        (r"signature=\w+", "signature=%C3%A9"),
        (r"type=[^&]+", "type=text%2Fhtml"),
        (r"&type=[^&]+", ""),
        (r"expires=\d+&", ""),
        (r"[0-9a-f]{64}\?", "0" * 64 + "?"),
    ],
)
def test_a_changed_link_is_refused(
    client: httpx.Client, anonymous: httpx.Client, artifact_id: str, pattern: str, replacement: str
) -> None:
    url = link(client, artifact_id)
    forged = re.sub(pattern, replacement, url, count=1)
    assert forged != url
    answer = anonymous.get(forged)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "FORBIDDEN")


def test_a_link_to_a_missing_artifact_is_not_found(served: Served, anonymous: httpx.Client) -> None:
    url = links.link_to(served.context, "sha256:" + "0" * 64)
    assert anonymous.get(url).status_code == 404


def test_only_the_owner_gets_a_link(served: Served, client: httpx.Client, artifact_id: str) -> None:
    answer = httpx.post(
        f"{served.url}/v1/artifacts/{artifact_id}/links", headers={"X-API-Key": served.other_key}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND")


def test_links_work_after_a_restart(tmp_path: Path) -> None:
    """The secret is a file of its own that only its owner can read."""
    data_dir = tmp_path / "data"
    with serve(data_dir) as served:
        answer = httpx.post(
            f"{served.url}/v1/artifacts", content=DATA, headers={"X-API-Key": served.client_key}
        )
        url = links.link_to(served.context, answer.json()["artifact_id"])
    secret = data_dir / "coordinator" / "links.key"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.read_bytes() != (data_dir / "coordinator" / "log.key").read_bytes()
    with serve(data_dir) as served:
        assert httpx.get(served.url + url).content == DATA
    secret.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        load_secret(secret)
