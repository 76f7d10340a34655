"""Attacks of a program in the sandbox on the kernel, the agent and its owner's files."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import shutil
import socket
import stat
from pathlib import Path

import psutil
import pyseccomp
import pytest

from runners.sandbox import Sandbox, _syscalls
from runners.sandbox.watch import Limits

LIMITS = Limits(memory=512 * 2**20, output=4 * 2**20, seconds=30, cpu_seconds=20, processes=24)

# The kernel

REFUSED = """
    acct add_key bpf chroot clone3 fanotify_init fsopen init_module io_setup io_uring_setup kcmp kexec_load keyctl
    memfd_secret mount mount_setattr move_mount mq_open msgget name_to_handle_at open_by_handle_at open_tree perf_event_open
    personality pidfd_getfd pivot_root process_madvise process_vm_readv process_vm_writev ptrace quotactl reboot request_key
    semget setns shmget swapon syslog umount2 unshare userfaultfd
"""


def test_attack_calls_that_no_engine_needs_are_refused(attack, confined):
    """The filter refuses the call before the kernel reads its arguments, which would cause other errors."""
    numbers = {name: _number(name) for name in REFUSED.split()}
    answers = attack(
        confined,
        "report(**{name: call(number, 0, 0, 0, 0, 0) for name, number in given['calls'].items()})",
        calls=numbers,
    )
    assert {
        name for name, number in answers.items() if os.strerror(number) != "Function not implemented"
    } == set()


@pytest.mark.parametrize("high", [0, 1 << 40], ids=["plain", "with a high bit that the kernel drops"])
def test_attack_new_namespaces_and_odd_sockets_are_refused(attack, confined, high):
    """The kernel reads 32 bits, so a comparison of all 64 could be bypassed."""
    families = [socket.AF_VSOCK, socket.AF_ALG, socket.AF_PACKET, 15, 30, 31, 44]
    answers = attack(
        confined,
        "report(clone=call(given['clone'], 0x10000000 | 17 | given['high']),\n"
        "       families=[call(given['socket'], family | given['high'], 2, 0) for family in given['families']],\n"
        "       netlink=call(given['socket'], 16, 3, 12 | given['high']),\n"
        "       terminal=call(given['ioctl'], 0, 0x5412 | given['high'], 0))",
        clone=_number("clone"), socket=_number("socket"), ioctl=_number("ioctl"), families=families, high=high,
    )  # fmt: skip
    assert (answers["clone"], set(answers["families"]), answers["netlink"]) == (38, {38}, 38)
    assert answers["terminal"] == 1


def test_attack_no_setting_of_the_kernel_can_be_changed(attack, confined):
    """For uid 0 the kernel allows writing to /proc/sys without any capability; one file there names a program to run as root."""
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    answers = attack(
        confined,
        "def write(path):\n"
        "  with open(path, 'w') as file: file.write('|/work/program')\n"
        "report(user=os.getuid(), groups=os.getgroups(), writes=[attempt(write, path) for path in given['paths']],\n"
        "       status={line.split()[0]: line.split()[1] for line in open('/proc/self/status') if line.startswith(('Cap', 'NoNew'))})",
        paths=["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/overcommit_memory", "/proc/sysrq-trigger"],
    )  # fmt: skip
    assert answers["user"] != 0
    assert 0 not in answers["groups"]
    assert set(answers["writes"]) <= {"PermissionError", "OSError", "FileNotFoundError"}
    # Only an agent that is root, or a user namespace, can take the last of these away; without privileges it gives nothing.
    kinds = (
        "Inh",
        "Prm",
        "Eff",
        "Amb",
        *(("Bnd",) if os.geteuid() == 0 or confined.sandbox == "bubblewrap" else ()),
    )
    assert {answers["status"][f"Cap{kind}:"] for kind in kinds} == {"0" * 16}
    assert answers["status"]["NoNewPrivs:"] == "1"
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


def test_attack_the_agents_keyring_is_out_of_reach(attack, confined):
    """The keyring calls are refused, and the program does not have the agent's keyring."""
    _syscalls.fresh_session_keyring()
    payload = _pointer(b"secret")
    added = _syscalls.syscall(_number("add_key"), _pointer(b"user"), _pointer(b"aitbc-test"), payload, 6, -3)
    assert added > 0
    answers = attack(
        confined,
        "report(read=call(given['keyctl'], 11, given['key'], 0, 0), listed=attempt(lambda: open('/proc/keys').read()))",
        keyctl=_number("keyctl"), key=added,
    )  # fmt: skip
    assert answers["read"] == 38
    assert "aitbc-test" not in answers["listed"]
    with pytest.raises(OSError, match="Required key not available"):
        _syscalls.syscall(_number("keyctl"), 10, -3, _pointer(b"user"), _pointer(b"aitbc-test"), 0)


# The agent and its owner


def test_attack_no_path_of_the_machine_is_on_a_command_line(attack, tools, tmp_path):
    bubblewrap = dataclasses.replace(tools, sandbox="bubblewrap")
    answers = attack(
        bubblewrap,
        "def read(pid): return open(f'/proc/{pid}/cmdline').read() + attempt(lambda: open(f'/proc/{pid}/environ').read())\n"
        "report(text=[read(pid) for pid in os.listdir('/proc') if pid.isdigit() and int(pid) != os.getpid()])",
    )
    assert len(answers["text"]) >= 1
    assert not [text for text in answers["text"] if str(tmp_path) in text or str(Path.home()) in text]


def test_attack_no_descriptor_and_no_variable_is_inherited(attack, confined, tmp_path, monkeypatch):
    monkeypatch.setenv("AITBC_SECRET", "private")
    secret = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:
        answers = attack(
            confined,
            "report(descriptors=sorted(map(int, os.listdir('/proc/self/fd'))), variables=sorted(os.environ))",
        )
    finally:
        os.close(secret)
    assert answers["descriptors"] == [0, 1, 2, 3], "the three pipes, and the list's own"
    assert not [name for name in answers["variables"] if name.startswith("AITBC")]


def test_attack_a_program_in_a_home_brings_nothing_else_along(tools, confined, tmp_path):
    """An ffmpeg in ~/.local/bin must not show ~/.local, where keys may lie."""
    home = tmp_path / ".local"
    for name in ("bin", "share/aitbc-agent", "lib"):
        (home / name).mkdir(parents=True)
    key = home / "share/aitbc-agent/identity.key"
    key.write_text("private")
    (home / "bin/secret").write_text("private")
    shutil.copyfile("/usr/bin/cat", home / "bin/program")
    (home / "bin/program").chmod(0o755)
    for path in (key, home / "bin/secret"):
        sandbox = Sandbox(confined, LIMITS)
        program = sandbox.program(str(home / "bin/program"))
        seen = [str(path), str(Path(program).parent.parent / path.relative_to(home))]
        lines = []
        outcome = sandbox.run([program, *seen], on_line=lines.append)
        assert lines == []
        assert outcome.stderr.count("No such file") + outcome.stderr.count("Permission denied") == 2


def test_attack_the_owners_files_cannot_be_read_or_changed(attack, confined, tmp_path):
    """Including operations that Landlock does not check: modes, times, attributes, truncation by path."""
    owned = tmp_path / "owned"
    owned.mkdir()
    secret = owned / "secret"
    secret.write_text("private")
    secret.chmod(0o666)
    owned.chmod(0o777)
    os.utime(secret, (1000, 1000))
    answers = attack(
        confined,
        "path = given['path']\n"
        "tries = dict(read=lambda: open(path).read(), list=lambda: os.listdir(os.path.dirname(path)),\n"
        "  write=lambda: open(path, 'w'), truncate=lambda: os.truncate(path, 0), unlink=lambda: os.unlink(path),\n"
        "  link=lambda: os.link(path, 'copy'), rename=lambda: os.rename(path, 'moved'), make=lambda: os.mkdir(path + '2'),\n"
        "  watch=lambda: call(given['inotify'], 3, 0, 0), run=lambda: os.execv(path, [path]))\n"
        "for change in (lambda: os.chmod(path, 0o777), lambda: os.utime(path), lambda: os.setxattr(path, 'user.a', b'b')):\n"
        "  attempt(change)\n"
        "report(**{name: attempt(action) for name, action in tries.items() if name != 'watch'})",
        path=str(secret), inotify=_number("inotify_add_watch"),
    )  # fmt: skip
    assert set(answers.values()) <= {"PermissionError", "FileNotFoundError", "OSError"}
    assert secret.read_text() == "private"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o666
    assert secret.stat().st_mtime == 1000
    assert os.listxattr(secret) == []
    assert sorted(path.name for path in owned.iterdir()) == ["secret"]


def test_attack_the_agents_process_is_out_of_reach(attack, confined):
    answers = attack(
        confined,
        "pid = given['pid']\n"
        "read = lambda name: open(f'/proc/{pid}/{name}').read(10)\n"
        "report(signal=attempt(os.kill, pid, 0), group=attempt(os.killpg, pid, 0), environ=attempt(read, 'environ'),\n"
        "       cmdline=attempt(read, 'cmdline'), root=attempt(os.listdir, f'/proc/{pid}/root'), memory=attempt(read, 'mem'),\n"
        "       priority=attempt(os.setpriority, os.PRIO_PROCESS, pid, 19))",
        pid=os.getpid(),
    )
    assert set(answers.values()) <= {"PermissionError", "ProcessLookupError", "FileNotFoundError", "OSError"}


def test_attack_the_machines_network_is_out_of_reach(attack, confined, tmp_path):
    abstract = f"\0aitbc-test-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as named,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as hidden,
    ):
        named.bind(str(tmp_path / "named"))
        (tmp_path / "named").chmod(0o777)
        hidden.bind(abstract)
        hidden.listen()
        answers = attack(
            confined,
            "def pair(): socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'x', given['named'])\n"
            "report(tcp=attempt(socket.create_connection, ('127.0.0.1', given['port']), 2),\n"
            "       udp=attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 53))),\n"
            "       named=attempt(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).connect(given['named'])),\n"
            "       hidden=attempt(lambda: socket.socket(socket.AF_UNIX).connect(given['hidden'])), pair=attempt(pair))",
            port=server.getsockname()[1], named=str(tmp_path / "named"), hidden=abstract,
        )  # fmt: skip
    assert set(answers.values()) <= {
        "ConnectionRefusedError",
        "FileNotFoundError",
        "OSError",
        "PermissionError",
    }


def test_attack_nothing_survives_the_run(attack, confined, eventually):
    """A process that left its parent, its session and its pipes is ended with the run."""
    mark = f"3600.{os.getpid()}"
    attack(
        confined,
        "attempt(os.setsid)\n"
        "if os.fork() == 0:\n"
        "  attempt(os.setsid)\n"
        "  if os.fork() == 0:\n"
        "    os.closerange(0, 3)\n"
        "    os.execv('/usr/bin/sleep', ['sleep', given['mark']])\n"
        "  os._exit(0)\n"
        "os.wait(); report(done=True)",
        mark=mark,
    )
    eventually(lambda: not _running(mark))


@pytest.mark.parametrize("words", ["bwrap: nothing works", "sandbox: nothing works"])
def test_attack_a_program_that_imitates_the_sandboxs_errors_is_not_believed(words, confined):
    """Otherwise its failure would count as a machine fault."""
    sandbox = Sandbox(confined, LIMITS)
    outcome = sandbox.run(["/bin/sh", "-c", f"echo {words!r} >&2; exit 1"])
    assert (outcome.exit_code, outcome.stderr.strip()) == (1, words)


def _number(name):
    return pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)


_BUFFERS = []


def _pointer(content):
    _BUFFERS.append(ctypes.create_string_buffer(content))
    return ctypes.addressof(_BUFFERS[-1])


def _running(mark):
    return [
        process for process in psutil.process_iter(["cmdline"]) if mark in (process.info["cmdline"] or [])
    ]
