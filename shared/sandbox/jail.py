"""What a child does to itself before it reads any input: limits, and a list of the system calls that remain.

It imports nothing of Waybill. The list holds what computing takes: memory, threads, clocks and timers, and
reading and writing files that are open already. Opening a file, a socket, a process, a signal to another
process: every other call answers EPERM. A kernel that cannot install the list makes the child stop.

The filter: https://docs.kernel.org/userspace-api/seccomp_filter.html and
https://man7.org/linux/man-pages/man2/seccomp.2.html. The numbers of the calls: the kernel's
arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
"""

import ctypes
import os
import platform
import resource
import signal
import socket
import struct
from typing import NamedTuple


class Machine(NamedTuple):
    """A processor's name in the kernel's audit interface, and the numbers of its system calls."""

    audit: int
    clone: int
    clone3: int
    seccomp: int
    allowed: dict[str, int]


MACHINES = {
    "x86_64": Machine(
        audit=0xC000003E,
        clone=56,
        clone3=435,
        seccomp=317,
        allowed={
            "read": 0,
            "write": 1,
            "close": 3,
            "fstat": 5,
            "poll": 7,
            "lseek": 8,
            "mmap": 9,
            "mprotect": 10,
            "munmap": 11,
            "brk": 12,
            "rt_sigaction": 13,
            "rt_sigprocmask": 14,
            "rt_sigreturn": 15,
            "readv": 19,
            "writev": 20,
            "sched_yield": 24,
            "mremap": 25,
            "madvise": 28,
            "nanosleep": 35,
            "setitimer": 38,
            "getpid": 39,
            "exit": 60,
            "gettimeofday": 96,
            "getrusage": 98,
            "sysinfo": 99,
            "sigaltstack": 131,
            "gettid": 186,
            "time": 201,
            "futex": 202,
            "sched_getaffinity": 204,
            "set_tid_address": 218,
            "restart_syscall": 219,
            "clock_gettime": 228,
            "clock_getres": 229,
            "clock_nanosleep": 230,
            "exit_group": 231,
            "set_robust_list": 273,
            "getcpu": 309,
            "getrandom": 318,
            "membarrier": 324,
            "rseq": 334,
        },
    ),
    "aarch64": Machine(
        audit=0xC00000B7,
        clone=220,
        clone3=435,
        seccomp=277,
        allowed={
            "close": 57,
            "lseek": 62,
            "read": 63,
            "write": 64,
            "readv": 65,
            "writev": 66,
            "ppoll": 73,
            "fstat": 80,
            "exit": 93,
            "exit_group": 94,
            "set_tid_address": 96,
            "futex": 98,
            "set_robust_list": 99,
            "nanosleep": 101,
            "setitimer": 103,
            "clock_gettime": 113,
            "clock_getres": 114,
            "clock_nanosleep": 115,
            "sched_getaffinity": 123,
            "sched_yield": 124,
            "restart_syscall": 128,
            "sigaltstack": 132,
            "rt_sigaction": 134,
            "rt_sigprocmask": 135,
            "rt_sigreturn": 139,
            "getrusage": 165,
            "getcpu": 168,
            "gettimeofday": 169,
            "getpid": 172,
            "gettid": 178,
            "sysinfo": 179,
            "brk": 214,
            "munmap": 215,
            "mremap": 216,
            "mmap": 222,
            "mprotect": 226,
            "madvise": 233,
            "getrandom": 278,
            "membarrier": 283,
            "rseq": 293,
        },
    ),
}

ADDRESS_SPACE_SLACK = 3 * 1024**3
"""How much more address space than memory a child may hold: libraries and allocators reserve what they do not
use. RLIMIT_DATA counts what is used; RLIMIT_AS is the outer bound, for a kernel that does not count so."""

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_TSYNC = 1  # all threads, also those that libraries started
RETURN_ALLOW = 0x7FFF0000
RETURN_ERRNO = 0x00050000
CLONE_THREAD = 0x00010000
EPERM = 1
ENOSYS = 38

LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
JUMP_SET = 0x45  # BPF_JMP | BPF_JSET | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K
CALL_NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data


class NoJailError(Exception):
    """This kernel cannot keep the child in; it must not run any input."""


def enter(memory: int, cpu_seconds: int) -> None:
    """Set the limits and install the filter. Call it after imports, before any input is read.

    memory       bytes of data that the process may hold
    cpu_seconds  of all threads together; then the kernel ends it with SIGXCPU

    Raises NoJailError where the kernel has no seccomp, or does not do what it says.
    """
    for name, limit in (
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_AS, memory + ADDRESS_SPACE_SLACK),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(name, (limit, limit))
    # At the soft limit the kernel sends SIGXCPU, which says why; at the hard one SIGKILL, which does not.
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
    machine = MACHINES.get(platform.machine())
    if machine is None:
        raise NoJailError(f"no list of system calls for {platform.machine()}")
    _end_with_the_parent()
    _install(program(machine), machine)
    _see_that_it_holds()


def program(machine: Machine) -> list[tuple[int, int, int, int]]:
    """The filter: instructions as (code, how many to skip if true, if false, constant)."""
    numbers = sorted(machine.allowed.values())
    after = len(numbers)  # how many comparisons stand before the last lines
    return [
        (LOAD, 0, 0, ARCHITECTURE),
        (JUMP_EQUAL, 0, after + 5, machine.audit),  # else refuse
        (LOAD, 0, 0, CALL_NUMBER),
        *((JUMP_EQUAL, after + 4 - n, 0, number) for n, number in enumerate(numbers)),  # allow
        # The C library starts threads by clone3, and by clone where that does not exist. The flags of clone3
        # lie in memory, which a filter cannot read; those of clone are its first argument.
        (JUMP_EQUAL, 5, 0, machine.clone3),  # no such call
        (JUMP_EQUAL, 0, 2, machine.clone),  # else refuse
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (JUMP_SET, 1, 0, CLONE_THREAD),  # allow a thread, refuse a process
        (RETURN, 0, 0, RETURN_ERRNO | EPERM),
        (RETURN, 0, 0, RETURN_ALLOW),
        (RETURN, 0, 0, RETURN_ERRNO | ENOSYS),
    ]


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _end_with_the_parent() -> None:
    """A child whose parent is killed is killed with it, also in the middle of a long query."""
    if _libc().prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise NoJailError("prctl(PR_SET_PDEATHSIG) failed")


def _install(instructions: list[tuple[int, int, int, int]], machine: Machine) -> None:
    code = b"".join(struct.pack("=HBBI", *i) for i in instructions)
    buffer = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: a short, then a pointer at its own alignment.
    header = struct.pack("@HP", len(instructions), ctypes.addressof(buffer))
    libc = _libc()
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise NoJailError("prctl(PR_SET_NO_NEW_PRIVS) failed")
    answer = libc.syscall(machine.seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, header)
    if answer != 0:
        raise NoJailError(f"seccomp answered {answer}, errno {ctypes.get_errno()}")


def _see_that_it_holds() -> None:
    try:
        os.close(os.open("/dev/null", os.O_RDONLY))
    except PermissionError:
        pass
    else:
        raise NoJailError("a file could be opened")
    try:
        socket.socket().close()
    except PermissionError:
        return
    raise NoJailError("a socket could be opened")
