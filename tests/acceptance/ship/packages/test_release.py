"""A release, from its build to an owner's empty machine: installed from a mirror, a first verified job, and uninstalled.

The mirror is the release's folder behind a static HTTP server. Packages of others come from this machine's index, as they would from PyPI.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent import __version__
from agent.updates.manifest import open_manifest, read_release_wheel, trusted_keys
from aitbc.canonical import b64encode
from support import releases
from support.machines import containers, empty_machine
from support.scripts import SCRIPTS

pytestmark = pytest.mark.acceptance

PACKAGES = ("aitbc", "aitbc_agent", "aitbc_evm", "aitbc_lightning", "aitbc_ray")

# What an owner types. Each `step` prints the seconds since the start.
OWNER = """
began=$(date +%s)
step() { echo "step $1 $(($(date +%s) - began))"; }
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq --yes --no-install-recommends @DEBIAN@ >/tmp/apt.log 2>&1 || { tail -n 30 /tmp/apt.log; exit 1; }
! command -v gcc && ! command -v git
useradd --create-home owner
touch /before
step debian
cat >/home/owner/first <<'END'
began=$(date +%s)
step() { echo "step $1 $(($(date +%s) - began))"; }
export PATH=$HOME/.local/bin:$PATH
cd
@INSTALL@
step installed
aitbc-agent start >start.log 2>&1 &
until grep -q "ready at" start.log; do
  kill -0 $! || { cat start.log; exit 1; }
  sleep 0.2
done
step ready
@JOB@
aitbc receipts verify receipt.json | grep '^valid: miner_'
step verified
@UNINSTALL@
step uninstalled
END
runuser -u owner -- bash -euo pipefail /home/owner/first
echo left:
# What the tools of installation have of their own does not count.
find / -xdev -newer /before -not -type d -not -path '/home/owner/.cache/*' \\( -ipath '*aitbc*' -o -path '/home/*' \\
  -not -path '*/pipx/*' -not -path '*/share/uv/*' -not -path '*/bin/uv*' \\) | sort
"""
TRANSCODE = """
ffmpeg -v error -f lavfi -i testsrc2=size=320x240:duration=2:rate=25 -pix_fmt yuv420p in.mp4
aitbc transcode in.mp4 out.mp4 --codec h264 --receipt receipt.json
"""
PYTHON_MODEL = """
printf 'def predict(input):\\n    return {"length": len(input)}\\n' >model.py
printf 'hello' >in.txt
aitbc run model.py --input in.txt --receipt receipt.json
"""
UNINSTALL = """
aitbc-agent uninstall --data delete --yes | tee uninstall.log
eval "$(tail -n 1 uninstall.log)"
! command -v aitbc-agent
! command -v aitbc
rm -f uninstall.log start.log first receipt.json in.mp4 out.mp4
"""
NO_MACHINE = pytest.mark.skipif(
    empty_machine.missing() is not None, reason=f"no empty Debian here: {empty_machine.missing()}"
)


@pytest.fixture(scope="module")
def release() -> Path:
    """The release of the working tree."""
    return releases.built()


def test_a_release_is_complete_and_signed(release: Path) -> None:
    """`--check` verifies it with the publisher's key, and not without."""
    done = releases.release("--check", release, "--public-key", releases.PUBLIC_KEY)
    assert done.returncode == 0, done.stderr
    names = {path.name.partition("-")[0] for path in release.iterdir() if path.suffix in {".whl", ".gz"}}
    assert names == {*PACKAGES, "aitbc_release"}
    (wheel,) = release.glob("aitbc_release-*.whl")
    manifest = open_manifest(read_release_wheel(wheel), trusted_keys([releases.PUBLIC_KEY]))
    assert manifest.version == __version__
    refused = releases.release("--check", release)
    assert (refused.returncode, "does not trust" in refused.stderr) == (1, True)


def test_a_second_build_in_another_directory_without_a_network_gives_the_same_bytes(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with another time zone, umask and language."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    monkeypatch.setenv("LC_ALL", "C")
    key = tmp_path / "key"
    key.write_text(b64encode(bytes(releases.KEY)))
    words = (
        "--changed",
        "--offline",
        "--public-key",
        releases.PUBLIC_KEY,
        "--key",
        str(key),
        "--out",
        str(tmp_path / "out"),
    )
    done = subprocess.run(
        ["sh", "-c", 'umask 077; exec "$0" "$@"', str(SCRIPTS / "release"), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=releases.SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert _digests(tmp_path / "out" / __version__) == _digests(release)


def test_the_lock_has_what_the_projects_declare() -> None:
    """`scripts/release` refuses to build without that."""
    command = "import sys; sys.path.insert(0, sys.argv[1]); import locks, pathlib; print(locks.missing_packages(pathlib.Path(sys.argv[2])))"
    done = subprocess.run(
        [sys.executable, "-c", command, SCRIPTS / "releasing", releases.ROOT],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "[]\n"


@NO_MACHINE
@pytest.mark.parametrize(
    ("suite", "install"),
    [
        ("bookworm", "pipx install aitbc-agent"),
        ("trixie", "pipx install uv\nuv tool install aitbc-agent"),
    ],
)
def test_an_owner_installs_works_and_uninstalls(
    release: Path, tmp_path: Path, suite: str, install: str
) -> None:
    """Without a clone, a compiler or root; no file of the agent is left."""
    with releases.served(release) as index:
        done = empty_machine.run_script(
            tmp_path,
            suite,
            _owner("pipx ffmpeg bubblewrap", install, TRANSCODE),
            PIP_EXTRA_INDEX_URL=index,
            UV_INDEX=index,
            AITBC_COORDINATOR__PORT="0",
        )
    _check(done, suite)
    shutil.rmtree(tmp_path / "root")


@pytest.mark.skipif(containers.missing() is not None, reason=f"no containers here: {containers.missing()}")
def test_the_same_in_a_slim_container(release: Path, tmp_path: Path) -> None:
    """With Python only: the job runs in Landlock, since there is no bubblewrap."""
    if containers.start("podman", "image", "exists", containers.BASE).returncode != 0:
        containers.run("podman", "import", containers.empty_debian(), containers.BASE)
    install = (
        "python3 -m venv agent\nagent/bin/pip install --quiet aitbc-agent\nexport PATH=$HOME/agent/bin:$PATH"
    )
    script = _owner("python3 python3-venv", install, PYTHON_MODEL, "rm -rf agent model.py in.txt")
    files, variables = empty_machine.configuration(tmp_path)
    volumes = [f"--volume={file}:{inside}:ro" for file, inside in files.items()]
    with releases.served(release) as index:
        done = containers.start(
            *("podman", "run", "--rm", "--network=host", *volumes),
            *(f"--env={name}={value}" for name, value in variables.items()),
            *(f"--env=PIP_EXTRA_INDEX_URL={index}", "--env=AITBC_COORDINATOR__PORT=0"),
            "--env=AITBC_RUNNERS__PYTHON_MODELS_IN_LANDLOCK=true",
            *(containers.BASE, "bash", "-euo", "pipefail", "-c", script),
            timeout=empty_machine.SECONDS,
        )
    _check(done, "container")


def _owner(debian: str, install: str, job: str, more: str = "") -> str:
    words = {"DEBIAN": debian, "INSTALL": install, "JOB": job, "UNINSTALL": UNINSTALL + more}
    return re.sub("@([A-Z]+)@", lambda match: words[match[1]].strip(), OWNER)


def _check(done: subprocess.CompletedProcess[str], name: str) -> None:
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    seconds = dict(re.findall(r"^step (\w+) (\d+)$", done.stdout, re.MULTILINE))
    assert list(seconds) == ["debian", "installed", "ready", "verified", "uninstalled"]
    left = done.stdout.partition("\nleft:\n")[2].split()
    assert [
        path for path in left if path.startswith(("/home", "/var", "/etc", "/opt", "/usr", "/root"))
    ] == []
    # docs/explanation/performance.md states these.
    report = {step: int(value) for step, value in seconds.items()}
    (releases.ROOT / f"build/first-job-{name}.json").write_text(json.dumps(report, indent=1))


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
