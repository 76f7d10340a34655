"""Attempts on the kernel's interfaces: those for administrators, and those that no engine needs and that had vulnerabilities."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
from pathlib import Path
from types import SimpleNamespace

from support.escapes.model.attempts import attempt, call, holds_secret, passes_the_check

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
SESSION_KEYRING, USER_KEYRING, USER_SESSION_KEYRING = -3, -4, -5
KEYCTL_SEARCH, KEYCTL_READ = 10, 11
BPF_MAP_CREATE, BPF_MAP_TYPE_ARRAY = 0, 2
UFFD_USER_MODE_ONLY = 1
OPEN_TREE_CLONE = 1
READ_ONLY_MOUNT = 1
NOWHERE = b"/nonexistent/aitbc"


@attempt
def start_a_ring(_: SimpleNamespace) -> str | None:
    return f"io_uring_setup gave descriptor {call('io_uring_setup', 4, ctypes.create_string_buffer(120))}"


@attempt
def start_a_ring_by_a_32_bit_call(_: SimpleNamespace) -> str | None:
    """A filter that knows only one system call table lets calls of another table pass."""
    if platform.machine() != "x86_64":
        raise OSError(38, "only x86-64 has two tables")
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    # push rbx; mov eax, 425; mov ebx, 4; xor ecx, ecx; int 0x80; pop rbx; ret: with an invalid address, so that nothing starts
    code = b"\x53\xb8\xa9\x01\x00\x00\xbb\x04\x00\x00\x00\x31\xc9\xcd\x80\x5b\xc3"
    memory[: len(code)] = code
    answer = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
    if answer == -14:  # EFAULT: the kernel checked the arguments
        return "the 32-bit io_uring_setup is allowed"
    raise OSError(-answer, os.strerror(-answer))


@attempt
def handle_page_faults(_: SimpleNamespace) -> str | None:
    """Lets a program pause the kernel during a copy, which many exploits need."""
    return f"userfaultfd gave descriptor {call('userfaultfd', os.O_CLOEXEC | UFFD_USER_MODE_ONLY)}"


@attempt
def load_a_program_into_the_kernel(_: SimpleNamespace) -> str | None:
    attributes = (ctypes.c_uint32 * 32)(BPF_MAP_TYPE_ARRAY, 4, 4, 1)
    return f"bpf gave descriptor {call('bpf', BPF_MAP_CREATE, ctypes.byref(attributes), ctypes.sizeof(attributes))}"


@attempt
def count_the_processors_events(_: SimpleNamespace) -> str | None:
    attributes = (ctypes.c_uint32 * 32)(1, 128)  # a software event, the processor's clock
    attributes[10] = 1 << 5  # without the kernel
    return (
        f"perf_event_open gave descriptor {call('perf_event_open', ctypes.byref(attributes), 0, -1, -1, 0)}"
    )


@attempt
def find_a_key_of_the_agent(world: SimpleNamespace) -> str | None:
    """Read the keyring of the session in which the agent was started."""
    key = call("keyctl", KEYCTL_SEARCH, SESSION_KEYRING, b"user", world.key.encode(), 0)
    buffer = ctypes.create_string_buffer(200)
    call("keyctl", KEYCTL_READ, key, buffer, len(buffer))
    return holds_secret(buffer.raw, world)


@attempt
def request_a_key_of_the_agent(world: SimpleNamespace) -> str | None:
    return f"got key {call('request_key', b'user', world.key.encode(), 0, 0)}"


@attempt
def read_a_key_by_its_number(world: SimpleNamespace) -> str | None:
    buffer = ctypes.create_string_buffer(200)
    call("keyctl", KEYCTL_READ, world.key_number, buffer, len(buffer))
    return holds_secret(buffer.raw, world)


@attempt
def leave_a_key_for_later_jobs(_: SimpleNamespace) -> str | None:
    key = call("add_key", b"user", b"aitbc-escape", b"x", 1, USER_KEYRING)
    return f"made key {key} in the user's keyring"


@attempt
def load_a_module(_: SimpleNamespace) -> str | None:
    return passes_the_check("init_module", ctypes.create_string_buffer(16), 16, b"")


@attempt
def load_a_kernel(_: SimpleNamespace) -> str | None:
    return passes_the_check("kexec_load", 0, 17, 0, -1)


@attempt
def mount_a_file_system(_: SimpleNamespace) -> str | None:
    Path("mounted").mkdir(exist_ok=True)
    call("mount", b"none", b"mounted", b"tmpfs", 0, 0)
    call("umount2", b"mounted", 0)
    return "mounted a tmpfs"


@attempt
def mount_by_the_new_calls(_: SimpleNamespace) -> str | None:
    return f"fsopen gave descriptor {call('fsopen', b'tmpfs', 0)}"


@attempt
def copy_the_tree_of_mounts(_: SimpleNamespace) -> str | None:
    return f"open_tree gave descriptor {call('open_tree', -100, b'/', OPEN_TREE_CLONE)}"


@attempt
def exchange_the_root(_: SimpleNamespace) -> str | None:
    return passes_the_check("pivot_root", NOWHERE, NOWHERE)


@attempt
def become_root_of_a_namespace(_: SimpleNamespace) -> str | None:
    """A user namespace grants all capabilities inside it, and so exposes much more of the kernel."""
    call("unshare", CLONE_NEWUSER)
    return "made a namespace of users"


@attempt
def become_root_of_a_namespace_by_clone(_: SimpleNamespace) -> str | None:
    """Use the newer call, whose arguments a filter cannot read."""
    arguments = (ctypes.c_uint64 * 11)(CLONE_NEWUSER, 0, 0, 0, 17)
    child = call("clone3", ctypes.byref(arguments), ctypes.sizeof(arguments))
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return "made a namespace of users"


@attempt
def make_a_namespace_of_mounts(_: SimpleNamespace) -> str | None:
    call("unshare", CLONE_NEWNS)
    return "made a namespace of mounts"


@attempt
def make_a_namespace_of_networks(_: SimpleNamespace) -> str | None:
    call("unshare", CLONE_NEWNET)
    return "made a namespace of networks"


@attempt
def join_the_agents_namespace(world: SimpleNamespace) -> str | None:
    for name in ("mnt", "net", "user", "ipc"):
        try:
            opened = os.open(f"/proc/{world.agent}/ns/{name}", os.O_RDONLY)
            call("setns", opened, 0)
        except OSError as error:
            refusal = error
        else:
            return f"joined the namespace {name} of process {world.agent}"
    raise refusal


@attempt
def swap_to_a_file(_: SimpleNamespace) -> str | None:
    return passes_the_check("swapon", NOWHERE, 0)


@attempt
def restart_the_machine(_: SimpleNamespace) -> str | None:
    """Use invalid magic numbers."""
    return passes_the_check("reboot", 1, 2, 3, 0)


@attempt
def set_the_clock(_: SimpleNamespace) -> str | None:
    """Set it to nothing, which has no effect."""
    return passes_the_check("settimeofday", 0, 0)


@attempt
def rename_the_machine(_: SimpleNamespace) -> str | None:
    """Set it to its current name."""
    name = os.uname().nodename.encode()
    return passes_the_check("sethostname", name, len(name))


@attempt
def keep_accounts_of_processes(_: SimpleNamespace) -> str | None:
    return passes_the_check("acct", NOWHERE)


@attempt
def watch_all_files(_: SimpleNamespace) -> str | None:
    return f"fanotify_init gave descriptor {call('fanotify_init', 0x4, 0)}"


@attempt
def read_the_kernels_log(_: SimpleNamespace) -> str | None:
    buffer = ctypes.create_string_buffer(4096)
    return f"read {call('syslog', 3, buffer, len(buffer))} bytes"


@attempt
def reach_the_machines_ports(_: SimpleNamespace) -> str | None:
    """Request access to hardware I/O ports; nothing is sent."""
    call("ioperm", 0x80, 1, 1)
    return "may use port 0x80"


@attempt
def turn_off_the_shuffling_of_addresses(_: SimpleNamespace) -> str | None:
    """Set ADDR_NO_RANDOMIZE for programs that this process starts."""
    call("personality", 0x0040000)
    return "switched address randomization off"


@attempt
def write_a_setting_of_the_kernel(_: SimpleNamespace) -> str | None:
    """Write the current value to the first writable one."""
    refusal: OSError | None = None
    for path in ("kernel/hostname", "kernel/modprobe", "fs/suid_dumpable", "vm/overcommit_memory"):
        full = Path("/proc/sys", path)
        try:
            full.write_text(full.read_text())
        except OSError as error:
            refusal = error
        else:
            return f"wrote {full}"
    if refusal is not None:
        raise refusal
    return None
