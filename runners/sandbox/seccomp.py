"""The allowed system calls of sandboxed programs, and the profile of the agent's container from the same lists.

All other calls fail with ENOSYS, which programs handle as on an older kernel. libseccomp
compiles the filters. The model is Docker's default profile, without calls that no engine needs (io_uring, userfaultfd, keyrings,
bpf, perf, ptrace, mounts, new namespaces, System V and POSIX message queues and shared memory, device nodes, handles).
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal


def _names(words: str) -> tuple[str, ...]:
    return tuple(words.split())


ALWAYS: Final = _names(
    """
    access alarm arch_prctl brk cachestat capget capset chdir clock_getres clock_gettime clock_nanosleep close close_range
    copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2
    execve execveat exit exit_group faccessat faccessat2 fadvise64 fallocate fchdir fchmod fchown fcntl fdatasync fgetxattr
    flistxattr flock fork fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex futex_requeue futex_wait futex_waitv futex_wake
    get_mempolicy get_robust_list getcpu getcwd getdents getdents64 getegid geteuid getgid getgroups getitimer getpeername getpgid
    getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit getrusage getsid getsockname getsockopt gettid
    gettimeofday getuid getxattr ioctl ioprio_get kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lgetxattr link
    linkat listxattr llistxattr lseek lstat madvise map_shadow_stack mbind membarrier memfd_create mincore mkdir mkdirat mlock mlock2
    mlockall mmap mprotect mremap mseal msync munlock munlockall munmap nanosleep newfstatat open openat openat2 pause pidfd_open
    pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll prctl pread64 preadv preadv2 pselect6
    pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recvfrom recvmmsg recvmsg rename renameat renameat2
    restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
    sched_getscheduler sched_rr_get_interval sched_yield select sendfile sendmmsg sendmsg sendto set_mempolicy set_robust_list
    set_tid_address setfsgid setfsuid setgid setgroups setitimer setregid setresgid setresuid setreuid setrlimit setsockopt setuid
    shutdown sigaltstack signalfd signalfd4 splice stat statfs statx symlink symlinkat sync_file_range sysinfo tee tgkill time
    timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill
    umask uname unlink unlinkat vfork vmsplice wait4 waitid write writev
    """
)
"""Calls of every sandboxed program."""

WITH_NAMESPACES: Final = _names(
    """
    accept accept4 bind chmod chown connect fchmodat fchmodat2 fchownat futimesat inotify_add_watch inotify_init inotify_init1
    inotify_rm_watch ioprio_set lchown listen lremovexattr lsetxattr prlimit64 removexattr sched_setaffinity sched_setattr sched_setparam
    sched_setscheduler setpgid setpriority setsid setxattr truncate utime utimensat utimes
    """
)
"""Calls that act on paths, processes and addresses: harmless in a program's own namespaces, but not checked by Landlock."""

NAMESPACE_FLAGS: Final = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET, of `clone(2)`."""

LOW: Final = 0xFFFFFFFF
"""The kernel reads many arguments as 32 bits; a high bit would bypass a comparison of all 64."""

PERSONALITY_QUERY: Final = 0xFFFFFFFF
PR_SET_PDEATHSIG: Final = 1
TERMINAL_INPUT: Final = {"TIOCSTI": 0x5412, "TIOCLINUX": 0x541C, "TIOCSETD": 0x5423}
"""Requests of `ioctl_tty(2)` that type into another program's terminal or load a driver."""

NETLINK_ROUTE: Final = 0
SOCKET_TYPE: Final = 0xF
FILE_KIND: Final = 0o170000

Network = Literal["own", "none", "host"]
"""own: an empty network namespace. none: no sockets except connected pairs. host: the machine's network."""

_FAMILIES: Final = {
    "own": (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6),
    "none": (),
    "host": (socket.AF_INET, socket.AF_INET6),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One allowed call. `compared`: conditions (index of the argument, mask, value), all of which must hold."""

    name: str
    compared: tuple[tuple[int, int, int], ...] = ()


def allowed(network: Network, *, landlock: bool) -> list[Rule]:
    """Return the calls of a sandboxed program; with `landlock` without those that neither Landlock nor namespaces restrict."""
    rules = [Rule(name) for name in ALWAYS]
    # `clone3` keeps its flags in memory, which a filter cannot read, so it is refused; libraries then use `clone`.
    rules.append(Rule("clone", ((0, NAMESPACE_FLAGS, 0),)))
    rules.append(Rule("personality", ((0, LOW, PERSONALITY_QUERY),)))
    rules += [Rule("socket", ((0, LOW, family),)) for family in _FAMILIES[network]]
    if network != "none":
        # The C library asks the kernel for the machine's addresses by such a socket when it resolves a name.
        rules.append(Rule("socket", ((0, LOW, socket.AF_NETLINK), (2, LOW, NETLINK_ROUTE))))
    # A pair of datagram sockets could send to any address; connected streams cannot.
    pairs = (socket.SOCK_STREAM, socket.SOCK_SEQPACKET)
    rules += [Rule("socketpair", ((0, LOW, socket.AF_UNIX), (1, SOCKET_TYPE, kind))) for kind in pairs]
    if not landlock:
        rules += [
            Rule("mknod", ((1, FILE_KIND, stat.S_IFIFO),)),
            Rule("mknodat", ((2, FILE_KIND, stat.S_IFIFO),)),
        ]
        return [*rules, *(Rule(name) for name in WITH_NAMESPACES)]
    if network == "host":
        rules += [Rule("connect"), Rule("bind")]
    rules.append(Rule("utimensat", ((1, 2**64 - 1, 0),)))  # without a path: of an open file
    # Only for the calling process: Landlock allows changes to the limits of the user's other processes.
    rules += [Rule(name, ((0, LOW, 0),)) for name in ("prlimit64", "sched_setaffinity", "sched_setscheduler")]
    return rules


def refused(*, landlock: bool) -> list[tuple[int, Rule]]:
    """Return the refused values of allowed calls, with their error number; 0 reports success without an effect."""
    rules = [(errno.EPERM, Rule("ioctl", ((1, LOW, request),))) for request in TERMINAL_INPUT.values()]
    if not landlock:
        return rules
    # A program could otherwise outlive the agent, which kills it by this signal.
    rules.append((errno.EPERM, Rule("prctl", ((0, LOW, PR_SET_PDEATHSIG),))))
    return rules


@cache
def filters(network: Network, *, landlock: bool) -> tuple[bytes, ...]:
    """Return the compiled filters, to be loaded in this order. Raises `OSError` if libseccomp is missing."""
    scmp = _library()
    main = scmp.SyscallFilter(scmp.ERRNO(errno.ENOSYS))
    for rule in allowed(network, landlock=landlock):
        _add(scmp, main, scmp.ALLOW, rule)
    if landlock:
        for name in _names("chmod fchmodat fchmodat2 chown lchown fchownat utime utimes futimesat"):
            # By path these would reach the owner's files, which Landlock does not prevent. They report success, because
            # programs that copy files with their modes fail otherwise.
            _add(scmp, main, scmp.ERRNO(0), Rule(name))
        for name in ("setxattr", "lsetxattr", "removexattr", "lremovexattr"):
            _add(scmp, main, scmp.ERRNO(errno.ENOTSUP), Rule(name))
    # A filter of its own, since one filter can refuse only calls, not single values of an allowed call. The kernel applies the stricter of both.
    exceptions = scmp.SyscallFilter(scmp.ALLOW)
    for number, rule in refused(landlock=landlock):
        _add(scmp, exceptions, scmp.ERRNO(number), rule)
    return _export(scmp, exceptions), _export(scmp, main)


def unavailable() -> str | None:
    """Return why filters cannot be compiled, with a remedy; None if they can."""
    try:
        filters("own", landlock=False)
    except OSError as error:
        return f"The system call filter could not be compiled ({error}); install libseccomp (apt-get install libseccomp2)."
    return None


@contextmanager
def opened(programs: tuple[bytes, ...]) -> Iterator[list[int]]:
    """Yield descriptors of files with the programs; close them at the end."""
    with ExitStack() as stack:
        descriptors = [memory_file(program) for program in programs]
        for descriptor in descriptors:
            stack.callback(os.close, descriptor)
        yield descriptors


def memory_file(content: bytes) -> int:
    """Return a descriptor of a file in memory, positioned at its beginning."""
    descriptor = os.memfd_create("sandbox")
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _library() -> Any:
    try:
        import pyseccomp  # noqa: PLC0415 - importing it loads libseccomp, which the coordinator does not need
    except RuntimeError as error:
        raise OSError(errno.ENOENT, str(error)) from None
    return pyseccomp


def _add(scmp: Any, into: Any, action: int, rule: Rule) -> None:
    number = scmp.resolve_syscall(scmp.Arch.NATIVE, rule.name)
    if number == -1:  # unknown to this libseccomp, so refused
        return
    arguments = [scmp.Arg(index, scmp.MASKED_EQ, mask, value & mask) for index, mask, value in rule.compared]
    into.add_rule(action, number, *arguments)


def _export(scmp: Any, compiled: Any) -> bytes:
    # As a binary tree instead of a list: each call of the program passes through the filter.
    compiled.set_attr(scmp.Attr.CTL_OPTIMIZE, 2)
    with os.fdopen(os.memfd_create("filter"), "rb") as file:
        compiled.export_bpf(file)
        file.seek(0)
        return file.read()
