"""Device files, and the agent's terminal."""

from __future__ import annotations

import fcntl
import os
from types import SimpleNamespace

from support.escapes.model.attempts import attempt

TIOCSTI = 0x5412
KVM_GET_API_VERSION = 0xAE00


def _opened(path: str, flags: int = os.O_RDWR) -> str:
    os.close(os.open(path, flags | os.O_NONBLOCK))
    return f"opened {path}"


@attempt
def read_the_raw_disk(world: SimpleNamespace) -> str | None:
    disk = os.open(world.disk_path, os.O_RDONLY)
    return f"read {len(os.read(disk, 512))} bytes of {world.disk_path}"


@attempt
def start_a_virtual_machine(_: SimpleNamespace) -> str | None:
    return _opened("/dev/kvm")


@attempt
def read_the_kernels_log_device(_: SimpleNamespace) -> str | None:
    return _opened("/dev/kmsg", os.O_RDONLY)


@attempt
def handle_page_faults_by_the_device(_: SimpleNamespace) -> str | None:
    return _opened("/dev/userfaultfd")


@attempt
def be_a_file_system(_: SimpleNamespace) -> str | None:
    return _opened("/dev/fuse")


@attempt
def be_a_network_card(_: SimpleNamespace) -> str | None:
    return _opened("/dev/net/tun")


@attempt
def attach_a_loop_device(_: SimpleNamespace) -> str | None:
    return _opened("/dev/loop-control")


@attempt
def ask_the_hypervisor_for_a_number(_: SimpleNamespace) -> str | None:
    return _opened("/dev/vsock", os.O_RDONLY)


@attempt
def use_a_card_that_was_not_granted(world: SimpleNamespace) -> str | None:
    """Open a device file with a card's name, although this run has only the processor."""
    return _opened(world.card)


@attempt
def type_into_the_agents_terminal(world: SimpleNamespace) -> str | None:
    """Insert input into the terminal, which acts as a command of its user."""
    refusal: OSError | None = None
    for path in ("/dev/tty", world.terminal):
        try:
            terminal = os.open(path, os.O_RDWR | os.O_NOCTTY)
            fcntl.ioctl(terminal, TIOCSTI, b"x")
        except OSError as error:
            refusal = error
        else:
            return f"typed into {path}"
    if refusal is not None:
        raise refusal
    return None


@attempt
def write_to_the_agents_terminal(world: SimpleNamespace) -> str | None:
    os.write(os.open(world.terminal, os.O_WRONLY | os.O_NOCTTY), b" ")
    return f"wrote to {world.terminal}"
