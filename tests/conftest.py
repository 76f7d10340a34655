"""Fixtures for tests with a running coordinator."""

from __future__ import annotations

import atexit
import functools
import gc
import os
import shutil
import signal
import ssl
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import httpx
import hypothesis
import pytest
import structlog
from httpx._config import DEFAULT_TIMEOUT_CONFIG
from httpx._transports import default as httpx_transport
from structlog.dev import plain_traceback
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from support.features import is_installed
from support.workers.forking import fork_workers

# Everything that is imported and collected stays: the collector would only examine it again and again. `pytest_collection_finish` enables it.
gc.disable()

# A shell starts background jobs with SIGINT ignored. Processes that the tests start would inherit that, and Ctrl-C could not be tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_create_ssl_context = httpx.create_ssl_context


@functools.cache
def _ssl_context(_authority: str | None, *arguments: Any, **options: Any) -> ssl.SSLContext:
    return _create_ssl_context(*arguments, **options)


def _shared_ssl_context(*arguments: Any, **options: Any) -> ssl.SSLContext:
    """Return a context of other clients: reading the certificates takes a client longer than ten requests of a test."""
    return _ssl_context(os.environ.get("SSL_CERT_FILE"), *arguments, **options)


for module in (httpx, httpx_transport):
    vars(module)["create_ssl_context"] = _shared_ssl_context

# On a busy machine, neither a slow answer nor a slow example is a failure. The default arguments of httpx are this one object.
for part in ("connect", "read", "write", "pool"):
    setattr(DEFAULT_TIMEOUT_CONFIG, part, 60)

# The tests of a change use few examples, always the same ones, so that no change fails by bad luck. `scripts/test --chaos` tries others, and more.
hypothesis.settings.register_profile("some", deadline=None, max_examples=25, derandomize=True)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=100)
hypothesis.settings.load_profile("some")

# As in the agent, logs go to standard error, since commands that tests run in their process write to standard output. They are
# without the local variables of every frame, since rendering those takes longer than a test's time limit.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=plain_traceback),
    ],
    logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
)


def _configure_without_cache(**configuration: Any) -> None:
    """Configure logs as the agent does, except that no logger keeps its first configuration, which `capture_logs` could not change later."""
    _configure(**{**configuration, "cache_logger_on_first_use": False})


_configure = structlog.configure
vars(structlog)["configure"] = _configure_without_cache


LONGEST = (
    "tests/acceptance/ship/test_guides.py", "tests/acceptance/", "tests/web/", "tests/contract/http/", "tests/unit/runners/",
    "tests/chaos/test_generated_requests.py", "tests/chaos/test_floods.py", "tests/chaos/test_kill.py", "tests/chaos/replicas/test_takeover.py",
)  # fmt: skip
"""What starts first, in this order, so that no process is left with a long test, or a long series of them, at the end."""

SHARED = ("tests/acceptance/one_agent/", "tests/unit/runners/")
"""Folders whose files share an agent, or loaded engines."""

TORCH = (
    *(f"tests/unit/runners/{name}/" for name in ("llm", "stable_diffusion", "whisper", "embedding", "speech")), "tests/unit/runners/test_malformed_models.py",
)  # fmt: skip
"""What imports PyTorch and its libraries, which takes ten seconds in each process that does so."""

INDEPENDENT = ("test_generated_requests.py", "test_histories.py")
"""Files with long tests that share nothing."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest tests first. All tests of a shipped form have the mark."""
    for item in items:
        if item.nodeid.startswith("tests/acceptance/ship/"):
            item.add_marker(pytest.mark.ship)
    items.sort(key=_rank)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that needs a feature which has been removed."""
    for mark in item.iter_markers("needs"):
        if not is_installed(mark.args[0]):
            pytest.skip(f"it needs the feature {mark.args[0]}")


def _rank(item: pytest.Item) -> list[bool]:
    nodeid = item.nodeid  # computed at each access
    return [not nodeid.startswith(longest) for longest in LONGEST]


def pytest_collection_finish() -> None:
    """Exempt what has been imported from garbage collection: the tests need a seventh less time."""
    gc.freeze()
    gc.enable()


class Scheduling(LoadScopeScheduling):
    """Runs tests that share an agent, a browser or a loaded engine in one process, and others in any."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]  # relative to the repository
        if file.endswith(INDEPENDENT):
            return nodeid
        if file.startswith(TORCH):
            return "torch"
        return file.rpartition("/")[0] if file.startswith(SHARED) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Replace `--dist load`. The groups of `--dist loadgroup` have no effect with pytest 9.2."""
    return Scheduling(config, log)


def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Start the processes that run tests with what they import."""
    fork_workers(config.invocation_params.args)


def pytest_sessionstart() -> None:
    """Give each process a client directory of its own: that of the user who runs the tests has keys."""
    directory = tempfile.mkdtemp(prefix="aitbc-config-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    os.environ["AITBC_CONFIG_DIR"] = directory


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """Restore the configuration of logs, which commands change in the tests' process."""
    configuration = structlog.get_config()
    yield
    structlog.configure(**configuration)
