"""How much memory the processes of a function have had, as the kernel counted it."""

import os
from pathlib import Path


def peak(group: int) -> float:
    """The most MiB that a process of this group has had in memory since it was started: of all of them the
    one that had the most. https://man7.org/linux/man-pages/man5/proc_pid_status.5.html"""
    return max(_high_water(pid) for pid in _members(group))


def _members(group: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getpgid(int(entry.name)) == group:
                    found.append(int(entry.name))
            except ProcessLookupError:
                continue
    return found


def _high_water(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"the kernel says nothing of the memory of {pid}")
