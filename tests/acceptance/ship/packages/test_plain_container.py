"""A container with its runtime's defaults: parts of /proc are covered, a system call filter is active, and no options are given.

Rented GPU machines, Kubernetes pods and `docker run` without options are like this. No new /proc can be mounted there, so
bubblewrap does not work, and the agent uses its second sandbox.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.escapes.judgement import ATTEMPTS, SANDBOXES, got_out
from support.machines import containers, plain_container

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(
        containers.missing() is not None, reason=f"no containers here: {containers.missing()}"
    ),
]

USER = 10001
DEMO_SECONDS = 600
ESCAPE_SECONDS = 120
BASE = "/tmp/escapes"  # noqa: S108 - the container's own
CARD = "--device=/dev/null:/dev/nvidia0"
"""A device with a card's name, which a job on the processor must not reach."""

PATH = f"{plain_container.PROJECT}/.venv/bin:/usr/bin:/bin:/usr/sbin"
PACKAGES = ("numpy", "pillow")
WHEELS = "/wheels"
SERVED = f"""
python -m http.server --bind 127.0.0.1 --directory {WHEELS} 8999 >/dev/null 2>&1 &
exec "$@"
"""
SHIPPED = plain_container.PROJECT / "configs" / "seccomp.json"
SERVICES = (
    "ai_inference", "blender_rendering", "image_generation", "llm_inference", "text_embedding", "text_reranking", "video_transcoding",
    "whisper_transcription",
)  # fmt: skip


@dataclass(frozen=True)
class Surroundings:
    """The resources that all containers of these tests share."""

    directory: Path
    project: Callable[[int], Path]
    models: Path
    wheels: Path

    def filter(self, name: str) -> list[str]:
        """Return the container's options: podman's defaults, the stricter filter of other runtimes, or ours for bubblewrap."""
        if name == "strict":
            return [
                f"--security-opt=seccomp={plain_container.strict_profile(self.directory / 'strict.json')}"
            ]
        if name == "shipped":
            return [
                f"--security-opt=seccomp={SHIPPED}", "--security-opt=unmask=ALL", "--security-opt=no-new-privileges",
                "--cap-drop=ALL",
            ]  # fmt: skip
        return []


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Surroundings:
    """Create the image, a package index and a copy of the project for each user."""
    directory = tmp_path_factory.mktemp("plain")
    plain_container.build(directory)
    copies: dict[int, Path] = {}

    def project(uid: int) -> Path:
        if uid not in copies:
            copies[uid] = plain_container.copy_project(directory / f"project-{uid}", uid)
        return copies[uid]

    models = plain_container.copy_models(directory / "models")
    return Surroundings(directory, project, models, plain_container.index(directory / "wheels", *PACKAGES))


@pytest.mark.parametrize(("uid", "filtered"), [(0, "podman's"), (USER, "strict")])
def test_the_demo_succeeds(surroundings: Surroundings, uid: int, filtered: str) -> None:
    """`make demo` runs all services and verifies their receipts, as on any machine."""
    options = [
        f"--volume={surroundings.wheels}:{WHEELS}:ro",
        f"--volume={surroundings.models}:{plain_container.MODELS}:ro",
    ]
    done = plain_container.run(
        surroundings.project(uid), uid, ["sh", "-c", SERVED, "sh", "make", "demo"], *options, *surroundings.filter(filtered),
        timeout=DEMO_SECONDS, PIP_INDEX_URL="http://127.0.0.1:8999/simple", PATH=PATH,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert done.stdout.count("verified:") == len(SERVICES)
    assert all(service in done.stdout for service in SERVICES)


@pytest.mark.parametrize(
    ("uid", "filtered", "sandboxes"),
    [
        (0, "podman's", ("landlock",)),
        (USER, "strict", ("landlock",)),
        (USER, "shipped", ("bubblewrap", "landlock")),
    ],
)
def test_a_job_cannot_escape_its_sandbox(
    surroundings: Surroundings, uid: int, filtered: str, sandboxes: tuple[str, ...]
) -> None:
    """A model makes all escape attempts, with the defaults, and with the configuration for bubblewrap in docs/how-to/containers.md."""
    chosen = {name: SANDBOXES[name] for name in sandboxes}
    configuration = json.dumps({"base": BASE, "sandboxes": chosen, "control": False})
    attack = f'mkdir {BASE} && exec python -m support.escapes.agent_process "$0"'
    done = plain_container.run(
        surroundings.project(uid), uid, ["sh", "-c", attack, configuration], CARD, *surroundings.filter(filtered),
        timeout=ESCAPE_SECONDS, PATH=PATH, PYTHONPATH=f"{plain_container.PROJECT}/tests",
        AITBC_SECRET=secrets.token_hex(16), TMPDIR=BASE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    outcomes = json.loads(done.stdout.splitlines()[-1])
    assert set(outcomes) == set(sandboxes)
    for sandbox, outcome in outcomes.items():
        assert (outcome["signals"], outcome["changed"]) == ([], [])
        assert set(outcome["attempts"]) == set(ATTEMPTS)
        assert got_out(outcome["attempts"], sandbox) == {}
