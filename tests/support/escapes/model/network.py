"""Attempts to reach a network, or a program of this machine through a socket."""

from __future__ import annotations

import select
import socket
import struct
from pathlib import Path
from types import SimpleNamespace

from support.escapes.model.attempts import attempt

IPPROTO_MPTCP = 262
MSG_FASTOPEN = 0x20000000
AF_ALG = 38
SECONDS = 1.0


def _greeted(connection: socket.socket, world: SimpleNamespace) -> str | None:
    """Return evidence that a program outside responded."""
    connection.settimeout(SECONDS)
    return "was greeted" if connection.recv(100).decode(errors="replace") == world.greeting else None


@attempt
def connect_to_loopback(world: SimpleNamespace) -> str | None:
    """Connect to the coordinator and other listeners on this machine."""
    with socket.create_connection(("127.0.0.1", world.tcp_port), SECONDS) as connection:
        return _greeted(connection, world)


@attempt
def connect_to_loopback_by_ipv6(world: SimpleNamespace) -> str | None:
    with socket.create_connection(("::ffff:127.0.0.1", world.tcp_port), SECONDS) as connection:
        return _greeted(connection, world)


@attempt
def connect_by_multipath_tcp(world: SimpleNamespace) -> str | None:
    """Rules for TCP may not apply to protocols that become TCP."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP) as connection:
        connection.settimeout(SECONDS)
        connection.connect(("127.0.0.1", world.tcp_port))
        return _greeted(connection, world)


@attempt
def connect_by_the_first_packet(world: SimpleNamespace) -> str | None:
    """TCP Fast Open connects without a call of connect."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.sendto(b"hello", MSG_FASTOPEN, ("127.0.0.1", world.tcp_port))
        return _greeted(connection, world)


@attempt
def send_a_datagram(world: SimpleNamespace) -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"hello", ("127.0.0.1", world.udp_port))
        return _greeted(sender, world)


@attempt
def serve_on_a_port(world: SimpleNamespace) -> str | None:
    """A program outside tries to connect repeatedly and identifies itself."""
    with socket.create_server(("127.0.0.1", world.open_port)) as server:
        if not select.select([server], [], [], SECONDS)[0]:
            return None
        connection, _ = server.accept()
        return _greeted(connection, world)


@attempt
def ping(_: SimpleNamespace) -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sender:
        sender.settimeout(SECONDS)
        sender.sendto(b"\x08\x00\xf7\xff\x00\x00\x00\x00", ("127.0.0.1", 0))
        return f"{len(sender.recv(200))} bytes came back"


@attempt
def open_a_packet_socket(_: SimpleNamespace) -> str | None:
    """Such a socket reads and writes whole frames on every network card."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as packets:
        return f"got {packets}"


@attempt
def list_the_machines_sockets(world: SimpleNamespace) -> str | None:
    """List the listening sockets of this machine through a netlink socket."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as connection:  # NETLINK_SOCK_DIAG
        connection.settimeout(SECONDS)
        listening = 1 << 10
        request = struct.pack("=BBBxI48x", socket.AF_INET, socket.IPPROTO_TCP, 0, listening)
        header = struct.pack("=IHHII", 16 + len(request), 20, 0x301, 1, 0)  # SOCK_DIAG_BY_FAMILY; a dump
        connection.sendto(header + request, (0, 0))
        answer = connection.recv(1 << 20)
        return "saw the coordinator's port" if struct.pack(">H", world.tcp_port) in answer else None


@attempt
def list_the_machines_network_in_proc(world: SimpleNamespace) -> str | None:
    port = f":{world.tcp_port:04X} "
    return "saw the coordinator's port" if port in Path("/proc/net/tcp").read_text() else None


@attempt
def open_a_socket_to_the_hypervisor(_: SimpleNamespace) -> str | None:
    """Such a socket connects a virtual machine to its host; nothing is sent."""
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as sender:
        return f"got {sender}"


@attempt
def open_a_socket_to_the_kernels_ciphers(_: SimpleNamespace) -> str | None:
    """No engine needs these parts of the kernel, which have had vulnerabilities."""
    with socket.socket(AF_ALG, socket.SOCK_SEQPACKET) as ciphers:
        return f"got {ciphers}"


@attempt
def connect_to_the_agents_control_socket(world: SimpleNamespace) -> str | None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"{world.data}/control.sock")
        return _greeted(connection, world)


@attempt
def connect_to_a_socket_of_the_machine(world: SimpleNamespace) -> str | None:
    """Connect to a socket like D-Bus's, in a directory that all users may enter."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(world.public_socket)
        return _greeted(connection, world)


@attempt
def connect_to_an_abstract_socket(world: SimpleNamespace) -> str | None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"\0{world.abstract}")
        return _greeted(connection, world)


@attempt
def send_to_an_abstract_socket(world: SimpleNamespace) -> str | None:
    """Send a datagram with a reply address."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.bind("")
        sender.sendto(b"hello", f"\0{world.abstract}-datagram")
        return _greeted(sender, world)
