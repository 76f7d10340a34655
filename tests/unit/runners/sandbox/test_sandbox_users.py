"""Separate users for sandboxed programs, and the choice of the sandbox."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
import subprocess
import threading
from pathlib import Path

import psutil
import pytest

from runners.api import Retry
from runners.sandbox import Sandbox, level, seccomp, unavailable, users
from runners.sandbox.watch import Limits

LIMITS = Limits(memory=512 * 2**20, output=4 * 2**20, seconds=30, cpu_seconds=20, processes=24)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has users to give away")

# Users


@as_root
def test_each_run_has_its_own_user(confined, tmp_path):
    """Two concurrent programs have different ids, neither of them root's, and own the files that they write."""
    started = threading.Barrier(3)
    seen = {}

    def run(name):
        directory = tmp_path / name
        directory.mkdir()
        sandbox = Sandbox(confined, LIMITS)
        inside = sandbox.write(directory, "/work")
        command = ["sh", "-c", "id -u; touch mine; stat -c %u mine; while [ ! -e end ]; do sleep 0.05; done"]
        lines = seen.setdefault(name, [])

        def listen(line):
            lines.append(int(line))
            if len(lines) == 2:
                started.wait(60)

        assert sandbox.run(command, directory=inside, on_line=listen).exit_code == 0

    threads = [threading.Thread(target=run, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    started.wait(60)
    processes = psutil.process_iter(["cmdline", "uids"])
    running = {
        each.info["uids"].real for each in processes if "touch mine" in " ".join(each.info["cmdline"] or [])
    }
    for name in ("one", "two"):
        (tmp_path / name / "end").touch()
    for thread in threads:
        thread.join(60)
    ids = {name: set(numbers) for name, numbers in seen.items()}
    assert all(len(numbers) == 1 for numbers in ids.values()), "what it writes is its own"
    assert ids["one"] != ids["two"]
    assert (ids["one"] | ids["two"]) <= running
    assert 0 not in ids["one"] | ids["two"]
    for name in ("one", "two"):
        assert {
            (path.stat().st_uid, path.stat().st_gid)
            for path in (tmp_path / name, *(tmp_path / name).iterdir())
        } == {(0, 0)}


@as_root
def test_the_files_of_a_run_belong_to_the_agent_afterwards(attack, confined, tmp_path):
    """Including deep, unreadable and linked files; the target of a link keeps its owner."""
    target = tmp_path / "target"
    target.write_text("x")
    os.chown(target, 1234, 1234)
    attack(
        confined,
        "for _ in range(60): os.mkdir('d'); os.chdir('d')\n"
        "open('file', 'w').close(); os.symlink(given['target'], 'link'); os.mkdir('closed'); os.chmod('closed', 0)\n"
        "report(done=True)",
        target=str(target),
    )
    found = list((tmp_path / "writable").rglob("*"))
    assert len(found) == 63
    assert {(path.lstat().st_uid, path.lstat().st_gid) for path in found} == {(0, 0)}
    assert target.stat().st_uid == 1234


@as_root
def test_closed_inputs_are_readable_only_by_sandboxes_and_by_several_at_once(confined, tmp_path):
    """Files and directories that only the agent can read, such as a shared environment."""
    for name in ("file", "folder/deep/file"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        (tmp_path / name).write_text("content")
        (tmp_path / name).chmod(0o600)
    (tmp_path / "folder").chmod(0o700)

    def read_twice(name, between):
        directory = tmp_path / name
        directory.mkdir()
        sandbox = Sandbox(confined, LIMITS)
        file, folder = sandbox.read(tmp_path / "file", "/file"), sandbox.read(tmp_path / "folder", "/folder")
        inside = sandbox.write(directory, "/work")
        reading = f"cat {file} {folder}/deep/file; echo"
        command = ["sh", "-c", f"{reading}; while [ ! -e {inside}/go ]; do sleep 0.01; done; {reading}"]
        lines = []

        def listen(line):
            lines.append(line)
            if len(lines) == 1:
                between()
                (directory / "go").touch()

        assert sandbox.run(command, on_line=listen).exit_code == 0
        assert lines == ["contentcontent"] * 2

    read_twice("outer", lambda: read_twice("inner", lambda: None))
    for path in (tmp_path / "file", tmp_path / "folder/deep/file"):
        status = path.stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (
            0,
            confined.sandbox_first_user,
            0o640,
        )


@as_root
def test_the_id_of_a_killed_agent_is_cleaned_up_before_its_reuse(tmp_path):
    """Its files are restored and its processes ended; an id in use by another program is not used."""
    first, left = 59_000, tmp_path / "left"
    left.mkdir()
    (left / "file").touch()
    for path in (left / "file", left):
        os.chown(path, first + 1, first + 1)
    stray, foreign = (
        subprocess.Popen(["sleep", "3600"], user=first + number, group=first + number) for number in (1, 2)
    )
    try:
        users.DIRECTORY.mkdir(exist_ok=True)
        (users.DIRECTORY / str(first + 1)).write_text(
            json.dumps([(str(left), 0, 0), (str(tmp_path / "gone"), 0, 0)])
        )
        with users.own_user(first, 3, [], []) as user:
            assert user is not None
            assert user.id == first + 1
            assert {path.stat().st_uid for path in (left, left / "file")} == {0}
            assert stray.wait(60) == -9
            with pytest.raises(Retry, match="sandbox_users"), users.own_user(first, 3, [], []):
                raise AssertionError("the other id is in use by a process that is not ours")
        assert foreign.poll() is None
    finally:
        for process in (stray, foreign):
            process.kill()
            process.wait()
        for number in (1, 2):
            (users.DIRECTORY / str(first + number)).unlink(missing_ok=True)


@as_root
def test_sandboxes_can_pass_through_a_closed_home_that_stays_closed_to_others(tools, tmp_path):
    """Landlock uses the machine's own paths, and an agent's data may be below a directory that only root can enter."""
    landlock = dataclasses.replace(tools, sandbox="landlock")
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    (home / "data" / "file").write_text("here")
    (home / "secret").write_text("private")
    home.chmod(0o700)
    for _ in range(2):
        home.chmod(0o700)  # by its owner, who takes away what was let through
        sandbox = Sandbox(landlock, LIMITS)
        path = sandbox.read(home / "data" / "file", "/file")
        lines = []
        sandbox.run(["sh", "-c", f"cat {path}; echo; cat {home}/secret; ls {home}"], on_line=lines.append)
        assert lines == ["here"]
    other = subprocess.run(
        ["cat", str(home / "data" / "file")],
        check=False,
        user=65534,
        group=65534,
        extra_groups=[],
        capture_output=True,
    )
    assert b"Permission denied" in other.stderr


# Which sandbox


def test_auto_selects_the_strongest_working_sandbox_and_a_requested_one_is_not_replaced(tools):
    broken = dataclasses.replace(tools, bubblewrap="/bin/false")
    assert level(tools) == "bubblewrap"
    assert (level(broken), unavailable(broken)) == ("landlock", None)
    demanded = dataclasses.replace(broken, sandbox="bubblewrap")
    assert level(demanded) is None
    assert "does not work here" in (unavailable(demanded) or "")
    with pytest.raises(Retry, match="does not work here"):
        Sandbox(demanded, LIMITS).run(["true"])
    assert level(dataclasses.replace(tools, sandbox="off")) == "none"


def test_messages_contain_no_path_of_the_machine(tools, tmp_path):
    """Clients see a program's errors, and in Landlock it uses the machine's paths."""
    landlock = dataclasses.replace(tools, sandbox="landlock")
    sandbox = Sandbox(landlock, LIMITS)
    path = sandbox.write(tmp_path, "/work")
    lines = []
    outcome = sandbox.run(
        ["sh", "-c", f"cat {path}/missing; echo {path}/there; exit 1"], on_line=lines.append
    )
    assert "/work/missing" in outcome.stderr
    assert lines == ["/work/there"]


def test_the_shipped_container_profile_allows_what_the_sandbox_needs():
    shipped = json.loads((Path(__file__).parents[4] / "configs" / "seccomp.json").read_text())
    allowed = {name for rule in shipped["syscalls"] for name in rule["names"]}
    inner = {
        rule.name
        for kind in ("own", "none", "host")
        for landlock in (True, False)
        for rule in seccomp.allowed(kind, landlock=landlock)
    }
    assert inner <= allowed, "what the sandbox allows, the container around it must allow too"
    assert (
        not {"io_uring_setup", "userfaultfd", "bpf", "perf_event_open", "kexec_load", "open_by_handle_at"}
        & allowed
    )
