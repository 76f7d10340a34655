"""The support bundle: no secret of forty is in it, and it says what is wrong with machines that are broken in five ways."""

from __future__ import annotations

import base64
import json
import os
import signal
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from aitbc.errors import JobFailed
from support.agents import COMMAND, Agent, environment_of_programs, running, wait_for_progress
from support.inputs.media import make_video

pytestmark = pytest.mark.acceptance


def bundle(data_dir: Path, directory: Path, **environment: str) -> Mapping[str, str]:
    """Make a bundle with the real command. Return its files."""
    output = directory / "bundle.zip"
    done = subprocess.run(
        [COMMAND, "support-bundle", "--data-dir", str(data_dir), "--output", str(output)],
        env={**environment_of_programs(), **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert output.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(output) as archive:
        names = [name.partition("/")[2] for name in archive.namelist()]
        assert names[0] == "README.txt"
        return {name: archive.read(f"aitbc-agent-support/{name}").decode() for name in names}


class Planted:
    """Secrets, each with letters of its own, so that one cannot be mistaken for another."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def __call__(self, kind: str, form: str = "{}") -> str:
        """Return a new secret of this form, of which the part in braces is what must not be seen."""
        number = len(self.values)
        secret = f"Zq{number:02}xW{'kTvPbNcJ'[number % 8]}7mR{number * 7919 % 10007:05}yHd3"
        self.values[kind] = secret
        return form.format(secret)


def plant(directory: Path, home: Path, plant_secret: Planted) -> dict[str, str]:
    """Write a data directory and a home full of secrets. Return the variables of the environment."""
    for name in ("coordinator", "miner/logs", "miner/jobs", "logs"):
        (directory / name).mkdir(parents=True)
    (directory / "agent.toml").write_text(
        f"""
# a comment with {plant_secret("comment in the settings")}
[database]
url = "postgresql://aitbc:{plant_secret("password of the database")}@db.internal/aitbc"
[miner]
enrolment_token = "{plant_secret("enrolment token", "enrol_{}")}"
[miner.notices]
webhook = "https://hooks.example.org/{plant_secret("path of a webhook")}?token={plant_secret("query of a webhook")}"
command = ["curl", "-u", "me:{plant_secret("password in a command of the settings")}", "https://mail.example.org"]
[miner.energy]
url = "https://prices.example.org/now?securityToken={plant_secret("token of the price of electricity")}"
[artifacts]
url = "s3://bucket"
[payouts.http]
secret = "{plant_secret("secret of payouts", "whsec_{}AAAAAAAA")}"
"""
    )
    private = {
        "agent.json": {
            "url": "http://127.0.0.1:1", "pid": 1, "miner_id": "miner_1", "log_key": "log+1+abc",
            "client_key": plant_secret("client's key", "aitbc_client_{}"), "miner_key": plant_secret("owner's key", "aitbc_miner_{}"),
            "admin_key": plant_secret("administrator's key", "aitbc_admin_{}"),
        },
        "coordinator/keys.json": {"account_id": "account_1", "client_key": "x", "admin_key": plant_secret("stored key", "plain{}")},
        "miner/api_key.json": {"example.org/log": plant_secret("key of a network")},
        "miner/sealing_keys.json": [{"private": plant_secret("private key for sealed jobs"), "created_at": 1.0}],
    }  # fmt: skip
    for name, content in private.items():
        (directory / name).write_text(json.dumps(content))
    (directory / "miner/identity.key").write_text(f"{plant_secret('identity of the miner')}\n")
    (directory / "coordinator/log.key").write_text(
        f"PRIVATE+KEY+example.org+12345678+{plant_secret('key of the log')}\n"
    )
    (directory / "coordinator/links.key").write_text(plant_secret("key of links"))
    (home / ".cache/huggingface").mkdir(parents=True)
    (home / ".cache/huggingface/token").write_text(plant_secret("stored token of the hub"))
    (home / ".aws").mkdir()
    (home / ".aws/credentials").write_text(
        f"[default]\naws_secret_access_key = {plant_secret('stored key of S3')}\n"
    )
    (home / ".netrc").write_text(
        f"machine example.org login me password {plant_secret('password in .netrc')}\n"
    )
    (home / ".pgpass").write_text(f"db:5432:aitbc:aitbc:{plant_secret('password in .pgpass')}\n")
    database = sqlite3.connect(directory / "coordinator/coordinator.db")
    database.executescript(
        "CREATE TABLE webhook_secrets (secret, previous); CREATE TABLE jobs (job_id, service, prompt);"
        "CREATE TABLE runs (job_id, fence, miner_id, assigned_at, ended_at, outcome, failure_code, failure_message)"
    )
    database.execute(
        "INSERT INTO webhook_secrets VALUES (?, ?)",
        (plant_secret("secret of a webhook"), plant_secret("former secret of a webhook")),
    )
    database.execute(
        "INSERT INTO jobs VALUES ('job_1', 'llm_inference', ?)", (plant_secret("prompt in the database"),)
    )
    database.execute(
        "INSERT INTO runs VALUES ('job_1', 1, 'miner_1', 1.0, 2.0, 'retried', 'ENGINE_CRASHED', ?)",
        (f"The engine ended: 'prompt {plant_secret('prompt in an error')}', Authorization: Bearer {plant_secret('header in an error')}",),
    )  # fmt: skip
    database.execute(
        "INSERT INTO runs VALUES ('job_1', 2, 'miner_1', 1.0, 2.0, 'failed', 'INPUT_INVALID', ?)",
        (f"the file {plant_secret('file of a client')}.wav is empty",),
    )
    database.commit()
    encoded = plant_secret("key in the environment, encoded in a log", "{}/+ x")
    (directory / "logs/agent.log").write_text(
        "\n".join(
            (
                f"error: GET /x HTTP/1.1 Cookie: aitbc_session={plant_secret('cookie of a session')}; a=b",
                f'{{"level": "error", "event": "refused", "headers": {{"X-API-Key": "{plant_secret("header in JSON")}"}}}}',
                f"error: Proxy-Authorization: Basic {base64.b64encode(plant_secret('password of a proxy', 'me:{}').encode()).decode()}",
                f"-----BEGIN PRIVATE KEY-----\n{plant_secret('private key')}\nMII\n-----END PRIVATE KEY-----",
                f"error: eyJhbGciOiJIUzI1NiJ9.{plant_secret('claims of a JSON web token', 'eyJz{}')}.c2ln",
                f"error: clone of https://{plant_secret('user in an address')}@git.example.org failed",
                f"error: https://bucket.example.org/o?X-Amz-Signature={plant_secret('signature of a link')}",
                f"error: password={plant_secret('assigned password')} token: {plant_secret('assigned token')}",
                f"error: key {quote(encoded, safe='')} refused, {base64.b64encode(f'a:{encoded}'.encode()).decode()}",
                f"error: session.miner_1.3.{plant_secret('session of a miner')}",
                f"error: {plant_secret('token of a hub', 'hf_{}')} was refused",
            )
        )
    )
    (directory / "miner/logs/llm_inference-cpu.log").write_text(
        f"error: request from 'a prompt {plant_secret('prompt in a log of an engine')}'\n{plant_secret('result in a log of an engine')}\n"
        f"warning: HF_TOKEN={plant_secret('token in a log of an engine')}\n"
    )
    (directory / f"{plant_secret('name of a file', 'token-{}')}.bin").touch()
    (directory / f"miner/jobs/{plant_secret('name of a file of a client')}.wav").touch()
    return {
        "HOME": str(home),
        "SOME_API_TOKEN": encoded,
        "HF_TOKEN": plant_secret("token in the environment", "hf_{}"),
        "AITBC_API_KEY": plant_secret("key in the environment"),
        "PGPASSWORD": plant_secret("password in the environment"),
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{plant_secret('header in the environment')}",
        "HTTPS_PROXY": f"http://me:{plant_secret('password of a proxy in the environment')}@proxy.internal:3128",
        "UV_INDEX_URL": f"https://{plant_secret('user of an index')}:x@packages.internal/simple",
    }


def test_no_secret_of_forty_is_in_a_bundle(tmp_path: Path) -> None:
    """They are in settings, variables, logs, names of files, command lines, databases and logs of engines."""
    data, home, planted = tmp_path / "data", tmp_path / "home", Planted()
    home.mkdir()
    environment = plant(data, home, planted)
    on_command_line = planted("token on a command line", "enrol_{}")
    waiting = "import sys; sys.stdin.read()"
    command = [
        sys.executable,
        "-c",
        waiting,
        "aitbc-agent",
        "start",
        "--enroll",
        on_command_line,
        f"--secret={planted('option')}",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            files = bundle(data, tmp_path, **environment)
        finally:
            process.kill()
    assert len(planted.values) >= 40
    everything = "\n".join([*files, *files.values()])
    # The bundle is useful all the same.
    assert str(process.pid) in files["processes.json"]
    assert "ENGINE_CRASHED" in files["failures.json"]
    assert "error" in files["logs/agent.log"]
    leaks = {
        f"{kind} ({form})"
        for kind, secret in planted.values.items()
        for form, text in forms(secret).items()
        if text in everything
    }
    assert leaks == set()


def test_the_first_lines_say_what_is_wrong_with_a_broken_machine(tmp_path: Path) -> None:
    """Wrong settings, a miner that its coordinator refuses, an engine that crashes, and a damaged database."""
    own = Agent(tmp_path / "own/data", "start", "--port", "0")
    with running(own):
        refused = tmp_path / "refused/data"
        command = [
            COMMAND,
            "start",
            "--data-dir",
            str(refused),
            "--coordinator",
            own.url,
            "--enroll",
            "enrol_unknownunknown",
        ]
        ended = subprocess.run(
            command, env=environment_of_programs(), capture_output=True, timeout=300, check=False
        )
        assert ended.returncode != 0
        assert "The enrolment token is unknown" in wrong(bundle(refused, tmp_path))
        crash(own, make_video(tmp_path / "hochzeit.mp4", seconds=60))
        files = bundle(own.data_dir, tmp_path)
        assert "video_transcoding: RUNNER_CRASHED" in wrong(files)
        assert "SIGSEGV" in wrong(files)
        # Where it crashed.
        assert "Fatal Python error: Segmentation fault" in files["logs/engines/video_transcoding-cpu.log"]
        assert 'File "' in files["logs/engines/video_transcoding-cpu.log"]
        assert "hochzeit" not in "".join(files.values())
    settings = own.data_dir / "agent.toml"
    settings.write_text("[coordinator]\nprot = 5\n")
    assert "coordinator.prot: there is no such setting" in wrong(bundle(own.data_dir, tmp_path))
    settings.unlink()
    database = own.data_dir / "coordinator/coordinator.db"
    with database.open("r+b") as file:
        for position in range(100, database.stat().st_size, 4096):
            file.seek(position)
            file.write(os.urandom(2000))
    files = bundle(own.data_dir, tmp_path)
    assert "coordinator.db is unusable" in wrong(files)
    assert json.loads(files["versions.json"])["agent"]


def test_a_full_disk_does_not_prevent_a_bundle(tmp_path: Path) -> None:
    """It says that the disk is full, and is written to another one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "full", disk], check=False).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        (disk / "data").mkdir()
        with suppress(OSError):
            (disk / "fill").write_bytes(bytes(2**21))
        command = [COMMAND, "support-bundle", "--data-dir", disk / "data"]
        done = subprocess.run(
            command,
            cwd=disk,
            env=environment_of_programs(),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        path = Path(next(line for line in done.stdout.splitlines() if ".zip (" in line).partition(" (")[0])
        assert not path.is_relative_to(disk)
        with zipfile.ZipFile(path) as archive:
            readme = archive.read("aitbc-agent-support/README.txt").decode()
        path.unlink()
        assert "The disk for data" in readme
    finally:
        subprocess.run(["umount", disk], check=True)


def wrong(files: Mapping[str, str]) -> str:
    """What the bundle says first."""
    return files["README.txt"].partition("NEWEST ERRORS")[0]


def crash(agent: Agent, video: Path) -> None:
    """Submit a job, and let its engine crash."""
    with agent.client() as client:
        artifact = client.artifacts.upload(video)
        body = {
            "name": "x",
            "type": "video-transcoding",
            "max_attempts": 1,
            "parameters": {
                "input_url": f"artifact:{artifact.artifact_id}",
                "output_format": "mkv",
                "codec": "h264",
            },
        }
        job = client.jobs.create(body)
        wait_for_progress(agent.url, agent.file["client_key"], job.job_id)
        assert agent.process is not None
        for process in psutil.Process(agent.process.pid).children():
            if "runners.host" in process.cmdline():
                process.send_signal(signal.SIGSEGV)
        with suppress(JobFailed):
            client.jobs.wait(job.job_id, timeout=300)


def forms(secret: str) -> dict[str, str]:
    encoded = {
        f"base64, {skipped} before": base64.b64encode(bytes(skipped) + secret.encode()).decode()[4:-4]
        for skipped in range(3)
    }
    return {
        "itself": secret,
        "a part": secret[4:-4],
        "hex": secret.encode().hex(),
        "URL": quote(secret),
        **encoded,
    }
