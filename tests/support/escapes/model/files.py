"""Attempts to read and write files that were not granted."""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

from support.escapes.model.attempts import attempt, call, holds_secret

MARK = ".aitbc-escape"


def _write(path: str) -> str:
    """Create a file and delete it again."""
    made = Path(path, MARK)
    made.write_text("written")
    made.unlink()
    return f"wrote to {path}"


def packages() -> str:
    """Return the directory of the model's packages, or of the empty environment; later jobs share it."""
    (path,) = (Path(path) for path in sys.path if Path(path).name == "packages")
    return str(path if path.is_dir() else path.parent)


@attempt
def read_the_owners_home(world: SimpleNamespace) -> str | None:
    return holds_secret(Path(world.home, "private.txt").read_bytes(), world)


@attempt
def list_the_owners_home(world: SimpleNamespace) -> str | None:
    return f"saw {[path.name for path in Path(world.home).iterdir()]}"


@attempt
def read_the_agents_key(world: SimpleNamespace) -> str | None:
    return holds_secret(Path(world.data, "identity.key").read_bytes(), world)


@attempt
def read_agent_json(world: SimpleNamespace) -> str | None:
    return holds_secret(Path(world.data, "agent.json").read_bytes(), world)


@attempt
def overwrite_the_agents_key(world: SimpleNamespace) -> str | None:
    with Path(world.data, "identity.key").open("r+b"):
        return "opened the key for writing"


@attempt
def add_a_file_to_the_data_directory(world: SimpleNamespace) -> str | None:
    """The test checks for the file: a directory of this name may belong to the sandbox."""
    Path(world.data, MARK).write_text("written")
    return f"wrote to {world.data}"


@attempt
def truncate_by_path(world: SimpleNamespace) -> str | None:
    os.truncate(Path(world.data, "database"), 0)
    return "emptied the database"


@attempt
def change_the_mode_of_a_file_outside(world: SimpleNamespace) -> str | None:
    path = Path(world.data, "agent.json")
    path.chmod(0o644)  # a sandbox may only simulate this
    return "made agent.json readable for everybody" if path.stat().st_mode & 0o004 else None


@attempt
def change_an_attribute_of_a_file_outside(world: SimpleNamespace) -> str | None:
    os.setxattr(Path(world.data, "agent.json"), "user.escape", b"1")
    return "set an attribute of agent.json"


@attempt
def change_the_times_of_a_file_outside(world: SimpleNamespace) -> str | None:
    os.utime(Path(world.data, "agent.json"), (0, 0))
    return "changed the times of agent.json"


@attempt
def see_that_a_file_exists(world: SimpleNamespace) -> str | None:
    return f"size {Path(world.data, 'identity.key').stat().st_size}"


@attempt
def enter_the_data_directory(world: SimpleNamespace) -> str | None:
    os.chdir(world.data)
    return holds_secret(Path("identity.key").read_bytes(), world)


@attempt
def climb_out_of_the_current_directory(world: SimpleNamespace) -> str | None:
    up = "../" * 30 + world.data.lstrip("/")
    return holds_secret(Path(up, "identity.key").read_bytes(), world)


@attempt
def hard_link_to_a_secret(world: SimpleNamespace) -> str | None:
    os.link(Path(world.data, "identity.key"), "linked")
    return holds_secret(Path("linked").read_bytes(), world)


@attempt
def symbolic_link_as_a_result(world: SimpleNamespace) -> str | None:
    """The link can be created; the test checks whether a process outside follows it (`stolen` in the results)."""
    Path("stolen").unlink(missing_ok=True)
    Path("stolen").symlink_to(Path(world.data, "identity.key"))
    return holds_secret(Path("stolen").read_bytes(), world)


@attempt
def read_the_passwords(_: SimpleNamespace) -> str | None:
    return f"read {len(Path('/etc/shadow').read_text())} characters"


@attempt
def list_roots_home(_: SimpleNamespace) -> str | None:
    """Read more of the home than the path to a Python that is installed there."""
    others = [path for path in Path("/root").iterdir() if path.name not in Path(sys.base_prefix).parts]
    return f"saw {len(others)} names" if others else None


@attempt
def read_another_jobs_files(world: SimpleNamespace) -> str | None:
    return holds_secret(Path(world.neighbour, "input").read_bytes(), world)


@attempt
def write_among_another_jobs_files(world: SimpleNamespace) -> str | None:
    return _write(world.neighbour)


@attempt
def change_the_jobs_own_request(world: SimpleNamespace) -> str | None:
    """Change a file that the agent wrote for the sandbox, or the client's input."""
    for path in (sys.argv[1], world.source):
        try:
            with Path(path).open("r+b"):
                return f"opened {path} for writing"
        except OSError as error:
            refusal = error
    raise refusal


@attempt
def change_the_environment_of_later_jobs(_: SimpleNamespace) -> str | None:
    return _write(packages())


@attempt
def change_the_interpreter(_: SimpleNamespace) -> str | None:
    return _write(str(Path(os.__file__).parent))


@attempt
def write_to_usr(_: SimpleNamespace) -> str | None:
    return _write("/usr/bin")


@attempt
def write_to_etc(_: SimpleNamespace) -> str | None:
    return _write("/etc")


@attempt
def make_a_device_node(world: SimpleNamespace) -> str | None:
    Path("disk").unlink(missing_ok=True)
    os.mknod("disk", stat.S_IFBLK | 0o600, os.makedev(*world.disk))
    try:
        with Path("disk").open("rb") as disk:
            return f"read {len(disk.read(512))} bytes of the disk"
    finally:
        Path("disk").unlink()


@attempt
def leave_a_set_user_id_program(_: SimpleNamespace) -> str | None:
    """The test checks the program's owner and who can reach it."""
    shutil.copyfile("/usr/bin/true", "program")
    Path("program").chmod(0o4755)
    return "left a set-user-ID program" if Path("program").stat().st_mode & stat.S_ISUID else None


@attempt
def give_a_file_to_root(_: SimpleNamespace) -> str | None:
    Path("gift").write_text("")
    os.chown("gift", 0, 0)
    return "made a file that belongs to root" if Path("gift").stat().st_uid == 0 else None


def _others() -> Iterator[Path]:
    """Yield the directories in /proc of processes outside this run."""
    own = os.getpid()
    for path in Path("/proc").iterdir():
        if path.name.isdecimal() and int(path.name) != own:
            yield path


@attempt
def read_a_root_in_proc(world: SimpleNamespace) -> str | None:
    return _first(world, f"root{world.data}/identity.key")


@attempt
def read_a_current_directory_in_proc(world: SimpleNamespace) -> str | None:
    return _first(world, "cwd/identity.key")


@attempt
def read_an_environment_in_proc(world: SimpleNamespace) -> str | None:
    return _first(world, "environ")


@attempt
def read_a_descriptor_in_proc(world: SimpleNamespace) -> str | None:
    return _first(world, f"fd/{world.secret_fd}")


def _first(world: SimpleNamespace, name: str) -> str | None:
    """Return evidence from the first process whose file `name` in /proc contains the secret."""
    refusal: OSError | None = None
    for path in _others():
        try:
            opened = os.open(path / name, os.O_RDONLY | os.O_NONBLOCK)  # a descriptor may belong to a pipe
            if found := holds_secret(os.read(opened, 1 << 16), world):
                return f"{found} in {path / name}"
        except OSError as error:
            refusal = error
    if refusal is not None:
        raise refusal
    return None


@attempt
def read_the_agents_memory(world: SimpleNamespace) -> str | None:
    with Path(f"/proc/{world.agent}/mem").open("rb") as memory:
        memory.seek(world.secret_address)
        return holds_secret(memory.read(len(world.secret)), world)


@attempt
def see_a_path_of_the_machine_in_a_command_line(world: SimpleNamespace) -> str | None:
    for path in _others():
        try:
            if world.base.encode() in (path / "cmdline").read_bytes():
                return f"a path of the machine is in {path}/cmdline"
        except OSError:
            continue
    return None


@attempt
def see_a_path_of_the_machine_in_mountinfo(world: SimpleNamespace) -> str | None:
    name = Path(
        world.base
    ).name  # of the path within its file system, which need not begin at the machine's root
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if name in line:
            return line
    return None


@attempt
def write_core_pattern(_: SimpleNamespace) -> str | None:
    """The file names a program that the kernel runs as root. Its current content is written again."""
    path = Path("/proc/sys/kernel/core_pattern")
    before = path.read_text()
    path.write_text(before)
    return "wrote /proc/sys/kernel/core_pattern"


@attempt
def open_sysrq_trigger(_: SimpleNamespace) -> str | None:
    os.close(os.open("/proc/sysrq-trigger", os.O_WRONLY))
    return "opened /proc/sysrq-trigger for writing"


@attempt
def open_a_file_by_its_handle(world: SimpleNamespace) -> str | None:
    """Needs no reachable path. A handle can be guessed; here it is given."""
    raw = bytes.fromhex(world.secret_handle)
    buffer = ctypes.create_string_buffer(raw, len(raw))
    start = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    opened = call("open_by_handle_at", start, buffer, os.O_RDONLY)
    return holds_secret(os.read(opened, 200), world)


@attempt
def change_the_root(_: SimpleNamespace) -> str | None:
    """The classic escape from a chroot starts with creating another one."""
    Path("deeper").mkdir(exist_ok=True)
    os.chroot("deeper")
    return "called chroot"


@attempt
def make_a_control_group(_: SimpleNamespace) -> str | None:
    refusal: OSError | None = None
    for path in (Path("/sys/fs/cgroup"), *sorted(Path("/sys/fs/cgroup").glob("*/"))):
        try:
            (path / "aitbc-escape").mkdir()
        except OSError as error:
            refusal = error
        else:
            (path / "aitbc-escape").rmdir()
            return f"made a group in {path}"
    if refusal is not None:
        raise refusal
    return None


@attempt
def open_a_release_agent(_: SimpleNamespace) -> str | None:
    """The file names a program that the kernel runs as root when a group becomes empty. Nothing is written."""
    refusal: OSError | None = None
    for path in sorted(Path("/sys/fs/cgroup").glob("**/release_agent")):
        try:
            os.close(os.open(path, os.O_WRONLY))
        except OSError as error:
            refusal = error
        else:
            return f"opened {path}"
    if refusal is not None:
        raise refusal
    return None


@attempt
def leave_the_control_group(world: SimpleNamespace) -> str | None:
    refusal: OSError | None = None
    for path in sorted(Path("/sys/fs/cgroup").glob("**/cgroup.procs")):
        try:
            os.close(os.open(path, os.O_WRONLY))
        except OSError as error:
            refusal = error
        else:
            return f"opened {path} for writing"
    if refusal is not None:
        raise refusal
    return None
