"""Pages of other origins (CORS), and the coordinator's public address."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError
from websockets.sync.client import connect

from agent.settings.coordinator import CoordinatorSettings
from support.server import Served, serve

APP = "https://app.example.org"


def preflight(served: Served, origin: str, path: str = "/v1/jobs", method: str = "POST") -> httpx.Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type,idempotency-key,tus-resumable",
    }
    return httpx.options(f"{served.url}{path}", headers=headers)


def test_without_the_setting_no_page_may_call(served: Served) -> None:
    answer = httpx.get(f"{served.url}/v1/health", headers={"Origin": APP})
    assert answer.status_code == 200
    for each in (answer, preflight(served, APP)):
        assert not [name for name in each.headers if name.startswith("access-control")]


def test_a_configured_page_calls_with_a_key_and_reads_headers_and_errors(tmp_path: Path) -> None:
    with serve(tmp_path / "data", cors_origins=[APP]) as served:
        allowed = preflight(served, APP)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == APP
        assert "POST" in allowed.headers["access-control-allow-methods"]
        for name in ("authorization", "idempotency-key", "tus-resumable"):
            assert name in allowed.headers["access-control-allow-headers"]
        assert preflight(served, APP, "/api/v1/uploads", "PATCH").status_code == 200
        with_key = {"Origin": APP, "Authorization": f"Bearer {served.client_key}"}
        for headers, status in ((with_key, 200), ({"Origin": APP}, 401)):
            answer = httpx.get(f"{served.url}/v1/jobs", headers=headers)
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, APP)
            exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
            assert {"x-request-id", "retry-after", "location"} <= set(exposed)


def test_other_pages_stay_out_and_nobody_gets_the_session(tmp_path: Path) -> None:
    """Without allowed credentials, a browser sends no cookie, and hides an answer to a request that had one."""
    with serve(tmp_path / "data", cors_origins=[APP]) as served:
        refused = preflight(served, "https://evil.example")
        assert refused.status_code == 400
        assert "access-control-allow-origin" not in refused.headers
        answer = httpx.get(f"{served.url}/v1/health", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in answer.headers
        assert "access-control-allow-credentials" not in preflight(served, APP).headers


def test_any_page_may_call_with_an_asterisk(tmp_path: Path) -> None:
    with serve(tmp_path / "data", cors_origins=["*"]) as served:
        answer = httpx.get(f"{served.url}/v1/health", headers={"Origin": APP, "Cookie": "a=b"})
        assert answer.headers["access-control-allow-origin"] in ("*", APP)
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.needs("tus")
def test_the_tus_capabilities_are_still_answered(tmp_path: Path) -> None:
    """OPTIONS that is no preflight belongs to the protocol."""
    with serve(tmp_path / "data", cors_origins=[APP]) as served:
        headers = {"Origin": APP, "Authorization": f"Bearer {served.client_key}"}
        answer = httpx.options(f"{served.url}/v1/uploads", headers=headers)
        assert answer.headers["tus-version"] == "1.0.0"
        assert "upload-offset" in answer.headers["access-control-expose-headers"].lower()


@pytest.mark.parametrize("origin", ["app.example.org", "https://app.example.org/", "https://*.example.org"])
def test_an_origin_is_a_scheme_and_a_host(origin: str) -> None:
    with pytest.raises(ValidationError):
        CoordinatorSettings(cors_origins=(origin,))


def test_the_public_addresss_name_is_accepted(tmp_path: Path) -> None:
    """Also as the origin of WebSockets, for a proxy that sends another name on."""
    with serve(tmp_path / "data", public_url="https://jobs.example.org/api", hosts=["x.example"]) as served:
        for host, status in (("jobs.example.org", 200), ("other.example.org", 421)):
            assert httpx.get(f"{served.url}/v1/health", headers={"Host": host}).status_code == status
        url = served.url.replace("http", "ws") + f"/ws?token={served.client_key}"
        with connect(url, origin="https://jobs.example.org"):  # type: ignore[arg-type]  # a NewType of str
            pass


@pytest.mark.parametrize(
    "url", ["jobs.example.org", "https://jobs.example.org/", "ftp://a", "https://a/?b=c"]
)
def test_a_public_address_has_a_scheme_and_no_slash_at_its_end(url: str) -> None:
    with pytest.raises(ValidationError):
        CoordinatorSettings(public_url=url)
