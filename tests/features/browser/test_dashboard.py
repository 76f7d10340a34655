"""Serving the dashboard's files."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from agent.coordinator.features.browser.routes import pages
from support.server import Served, serve

PAGE = "<!doctype html><title>AITBC</title>" + "<p>a page that is long enough to compress</p>" * 30
SCRIPT = "console.log('a script that is long enough to compress');\n" * 30


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a build of the dashboard."""
    directory = tmp_path / "dist"
    (directory / "assets").mkdir(parents=True)
    (directory / "index.html").write_text(PAGE)
    (directory / "assets" / "index-abc123.js").write_text(SCRIPT)
    (directory / "assets" / "small-abc123.css").write_text("p{}")
    (tmp_path / "secret.txt").write_text("not below the directory")
    monkeypatch.setattr(pages, "BUILT", directory)
    return directory


@pytest.fixture
def http(built: Path, served: Served) -> Iterator[httpx.Client]:
    """A browser without a key."""
    with httpx.Client(base_url=served.url, timeout=120) as http:
        yield http


def test_the_root_redirects_to_the_page(http: httpx.Client) -> None:
    for path in ("/", "/dashboard"):
        answer = http.get(path)
        assert (answer.status_code, answer.headers["location"]) == (307, "/dashboard/")
    assert http.get("/dashboard/").text == PAGE


@pytest.mark.parametrize("path", ["", "index.html", "jobs", "jobs/job_1", "miners/miner_1.2"])
def test_every_path_that_is_not_a_file_is_the_page(http: httpx.Client, path: str) -> None:
    """The page reads the path itself. It is always revalidated, so that a new version appears at once."""
    answer = http.get(f"/dashboard/{path}")
    assert (answer.status_code, answer.text) == (200, PAGE)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"


def test_the_page_may_not_load_from_or_connect_to_other_origins(http: httpx.Client) -> None:
    headers = http.get("/dashboard/").headers
    policy = headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"} <= {
        *policy
    }
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_hashed_files_are_cached_by_browsers_and_compressed_on_request(http: httpx.Client) -> None:
    path = "/dashboard/assets/index-abc123.js"
    plain = http.get(path, headers={"Accept-Encoding": "identity"})
    refusing = http.get(path, headers={"Accept-Encoding": "gzip;q=0"})
    small = http.get("/dashboard/assets/small-abc123.css")
    assert plain.text == refusing.text == SCRIPT
    assert not {"content-encoding"} & {*plain.headers, *refusing.headers, *small.headers}
    with http.stream("GET", path, headers={"Accept-Encoding": "br, gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw).decode() == SCRIPT
    assert len(raw) < len(SCRIPT) / 4
    assert answer.headers["vary"] == "Accept-Encoding"
    assert answer.headers["etag"] != plain.headers["etag"]
    for each in (plain, answer, small):
        assert each.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert plain.headers["content-type"].startswith("text/javascript")
    assert (
        http.get("/dashboard/assets/index-missing.js").status_code == 404
    )  # not the page, which is no script


def test_a_file_that_the_browser_has_is_sent_again_only_after_a_change(
    http: httpx.Client, built: Path
) -> None:
    """The content decides: packages give all files the same time, and pages of two versions may have the same size."""
    first = http.get("/dashboard/")
    known = {"If-None-Match": first.headers["etag"]}
    again = http.get("/dashboard/", headers=known)
    assert (again.status_code, again.content) == (304, b"")
    changed = PAGE.replace("AITBC", "CTBIA")
    (built / "index.html").write_text(changed)
    answer = http.get("/dashboard/", headers=known)
    assert (answer.status_code, answer.text) == (200, changed)


def test_only_reading_methods_are_allowed(http: httpx.Client) -> None:
    head = http.head("/dashboard/", headers={"Accept-Encoding": "identity"})
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == len(PAGE)
    refused = http.post("/dashboard/")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
    assert refused.json()["error"]["code"] == "METHOD_NOT_ALLOWED"


@pytest.mark.parametrize(
    "path", ["../secret.txt", "..%2fsecret.txt", "%2e%2e/secret.txt", "assets/..%5c..%5csecret.txt"]
)
def test_files_outside_the_directory_are_not_served(http: httpx.Client, path: str) -> None:
    answer = http.get(httpx.URL(http.base_url, raw_path=f"/dashboard/{path}".encode()))
    assert "not below" not in answer.text


def test_files_do_not_count_towards_rate_limits(built: Path, tmp_path: Path) -> None:
    """A page is a dozen files: reloading it must not be refused, or use up the address's budget."""
    with serve(tmp_path / "data", rate_limits={"address": "2 per minute", "unlimited": []}) as served:
        for _ in range(5):
            assert httpx.get(f"{served.url}/dashboard/assets/index-abc123.js").status_code == 200
        assert httpx.get(f"{served.url}/v1/registry/services").status_code == 200


def test_without_a_build_a_page_explains_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "BUILT", tmp_path / "missing")
    with serve(tmp_path / "data") as served:
        answer = httpx.get(f"{served.url}/dashboard/jobs")
        assert answer.status_code == 200
        assert "make setup" in answer.text
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_the_api_reference_is_a_page_of_its_own_with_the_same_policy(http: httpx.Client, built: Path) -> None:
    page = PAGE.replace("AITBC", "AITBC API reference")
    (built / "reference" / "assets").mkdir(parents=True)
    (built / "reference" / "index.html").write_text(page)
    (built / "reference" / "assets" / "index-abc123.js").write_text(SCRIPT)
    answer = http.get("/reference/")
    assert (answer.status_code, answer.text) == (200, page)
    dashboard = http.get("/dashboard/")
    assert answer.headers["content-security-policy"] == dashboard.headers["content-security-policy"]
    script = http.get("/reference/assets/index-abc123.js")
    assert script.headers["cache-control"] == "public, max-age=31536000, immutable"


def test_the_dashboard_can_be_disabled(built: Path, tmp_path: Path) -> None:
    with serve(tmp_path / "data", dashboard=False) as served:
        for path in ("/", "/dashboard", "/dashboard/", "/reference/"):
            answer = httpx.get(f"{served.url}{path}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND")
