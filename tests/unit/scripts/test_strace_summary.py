"""`scripts/gpu/strace_summary.py` on lines of a real log: a program with Landlock that looked for a card."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts" / "gpu"))

import strace_summary

LOG = """\
1130371 openat(AT_FDCWD, "/usr/lib/python3.11/json/__pycache__/decoder.cpython-311.pyc", O_RDONLY|O_CLOEXEC) = 3</usr/lib/python3.11/json/__pycache__/decoder.cpython-311.pyc>
1130371 connect(4<socket:[5297517]>, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110) = -1 ENOENT (No such file or directory)
1130400 ioctl(0</dev/null>, TCGETS <unfinished ...>
1130371 openat(AT_FDCWD</work/checkout>, "/proc/4/stat", O_RDONLY|O_CLOEXEC <unfinished ...>
1130400 <... ioctl resumed>, 0x7ffdd87afce0) = -1 ENOTTY (Inappropriate ioctl for device)
1130371 <... openat resumed>)           = 12</proc/4/stat>
1130400 ioctl(0</dev/null>, TCGETS, 0x7ffdd87aff90) = -1 ENOTTY (Inappropriate ioctl for device)
1130400 openat(AT_FDCWD</>, "/usr/share/locale/locale.alias", O_RDONLY|O_CLOEXEC) = -1 EACCES (Permission denied)
1130400 openat(AT_FDCWD</>, "/proc/self/task/1130478/comm", O_RDWR) = -1 EACCES (Permission denied)
1130400 newfstatat(AT_FDCWD</>, "/dev/nvidia0", 0x7ffd3d1eb090, 0) = -1 ENOENT (No such file or directory)
1130371 openat(5</sys/devices>, "pci0000:00/0000:65:00.0/numa_node", O_RDONLY) = 6</sys/devices/pci0000:00/0000:65:00.0/numa_node>
1130371 unlink("/tmp/aitbc-sandbox-x1y2z3/log") = 0
1130400 +++ exited with 0 +++
"""


def test_a_log_becomes_one_line_for_each_call_path_and_error() -> None:
    entries = strace_summary.summary(LOG.splitlines())
    assert strace_summary.words(entries) == [
        "EACCES   openat /proc/self/task/N/comm x1",
        "EACCES   openat /usr/share/locale/locale.alias x1",
        "ENOENT   connect /var/run/nscd/socket x1",
        "ENOENT   newfstatat /dev/nvidiaN x1",
        "ENOTTY   ioctl /dev/null x2",
        "ok       openat /proc/N/stat x1",
        "ok       openat /sys/devices/pciN:N/PCI/numa_node x1",
        "ok       openat /usr/lib/pythonN.N/* x1",
        "ok       unlink /tmp/*/log x1",
    ]
    assert strace_summary.words(strace_summary.refused(entries)) == [
        "EACCES   openat /proc/self/task/N/comm x1",
        "EACCES   openat /usr/share/locale/locale.alias x1",
    ]
