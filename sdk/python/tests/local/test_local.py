"""How a client without arguments finds its coordinator and key."""

from __future__ import annotations

import fcntl
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from aitbc import AITBCClient, ConfigurationError, TransportError
from aitbc._http.local import find_address
from aitbc.cli._terminal.exits import explain

AGENT = {"url": "http://127.0.0.1:8420", "client_key": "local key", "log_key": "log"}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("AITBC_API_KEY", raising=False)
    monkeypatch.delenv("AITBC_BASE_URL", raising=False)
    monkeypatch.setenv("AITBC_DATA_DIR", str(tmp_path))


@pytest.fixture
def agent(tmp_path) -> None:
    (tmp_path / "agent.json").write_text(json.dumps(AGENT))


def found(*arguments) -> tuple[str, str | None]:
    address = find_address(*arguments)
    return address.base_url, address.api_key


def test_arguments_precede_the_environment_which_precedes_the_agent(monkeypatch, agent) -> None:
    assert found(None, None) == ("http://127.0.0.1:8420", "local key")
    monkeypatch.setenv("AITBC_API_KEY", "env key")
    assert found(None, None) == ("http://127.0.0.1:8420", "env key")
    monkeypatch.setenv("AITBC_BASE_URL", "https://env.test/api")
    assert found(None, None) == ("https://env.test/api", "env key")
    assert found("https://arg.test", "arg key") == ("https://arg.test", "arg key")


def test_the_local_agents_key_is_not_sent_to_other_coordinators(agent) -> None:
    assert found("https://elsewhere.test", None) == ("https://elsewhere.test", None)


def test_a_missing_configuration_is_an_error_with_advice() -> None:
    with pytest.raises(ConfigurationError, match=r"AITBC_BASE_URL.*aitbc-agent start"):
        AITBCClient()


def test_an_agent_that_is_still_starting_is_named(tmp_path) -> None:
    with (tmp_path / "agent.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConfigurationError, match="still starting"):
            AITBCClient()
    with pytest.raises(ConfigurationError, match="No coordinator is configured"):
        AITBCClient()


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"url": 1}'])
def test_broken_agent_file_is_reported(tmp_path, content: str) -> None:
    (tmp_path / "agent.json").write_text(content)
    with pytest.raises(ConfigurationError, match=r"agent\.json"):
        AITBCClient()


@pytest.mark.parametrize("url", ["ftp://x.test", "localhost:8420", "http://", "http://host:port"])
def test_malformed_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="URL"):
        AITBCClient("key", url)


@pytest.mark.parametrize(
    ("url", "direct"), [("http://localhost:1", True), ("http://[::1]:1", True), ("https://a.test", False)]
)
def test_no_proxy_is_used_for_this_machine(url: str, direct: bool) -> None:
    assert find_address(url, "key").is_loopback is direct


@pytest.fixture
def secure(tmp_path) -> Iterator[tuple[str, Path]]:
    """A server with TLS on this machine: its URL, and the file with its certificate authority."""
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"status": "ok", "version": "1", "services": {}}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Health) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"https://localhost:{server.server_port}", tmp_path / "authority.pem"
        server.shutdown()
        thread.join()


def test_a_certificate_authority_from_the_environment_holds_for_this_machine_too(monkeypatch, secure) -> None:
    url, authority = secure
    with AITBCClient("key", url, retries=0) as client, pytest.raises(TransportError) as refused:
        client.health()
    assert explain(refused.value).startswith("The coordinator's certificate is not trusted: ")
    assert "SSL_CERT_FILE" in explain(refused.value)
    assert "Is it running?" not in explain(refused.value)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    with AITBCClient("key", url, retries=0) as client:
        assert client.health().status == "ok"


def test_requests_to_the_local_agent_bypass_proxies(monkeypatch, base_url: str, free_address: str) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, free_address)
    with AITBCClient("key", base_url, retries=0) as client:
        assert client.health().status == "ok"
