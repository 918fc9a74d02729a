"""The walls around a codec, put up by the worker process around itself before it runs the codec's first line.

1. Resource limits: memory, no new file descriptor, no byte into a file, no process, no core dump.
2. An audit hook that refuses every event Python announces but the few a computation needs: no file, socket, process,
   signal or native library. It is no sandbox by itself: who can corrupt the interpreter's memory gets around it.
3. A seccomp filter: the kernel refuses every system call but those for memory, clocks and the one descriptor to the
   daemon. x86-64 and aarch64; elsewhere, or where the kernel has none, the worker runs without and says so.

The daemon adds its own: time by the clock on the wall, size of the answer; and it believes nothing that comes back.
"""

from __future__ import annotations

import contextlib
import os
import resource
import struct
import sys
from typing import Any

# Constants of prctl(2) and seccomp(2).
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 1, 22, 38, 2
_SIGKILL = 9

# Classic BPF and the layout of struct seccomp_data: linux/bpf_common.h, linux/seccomp.h.
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_AT_NUMBER, _AT_ARCH, _AT_ARGUMENT_0 = 0, 4, 16
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050001  # SECCOMP_RET_ALLOW; SECCOMP_RET_ERRNO with EPERM

# Numbers from arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h, in the order of the names
# mmap mprotect munmap brk mremap madvise, rt_sigprocmask rt_sigreturn sigaltstack setitimer getitimer, futex
# sched_yield restart_syscall getpid, clock_gettime clock_getres gettimeofday getrandom, exit exit_group.
MACHINES = {
    "x86_64": (
        0xC000003E,
        (0, 1),
        (9, 10, 11, 12, 25, 28, 14, 15, 131, 38, 36, 202, 24, 219, 39, 228, 229, 96, 318, 60, 231),
    ),
    "aarch64": (
        0xC00000B7,
        (63, 64),
        (222, 226, 215, 214, 216, 233, 135, 139, 132, 103, 102, 98, 124, 128, 172, 113, 114, 169, 278, 93, 94),
    ),
}
"""Machine → audit architecture, (read, write), the other system calls a computation needs."""


def close_in(descriptor: int, memory_bytes: int) -> bool:
    """Shut everything but computation and one open descriptor. Whether the kernel guards it too (seccomp)."""
    libc = _libc()
    if libc is not None:
        libc.prctl(_PR_SET_PDEATHSIG, *map(_word, (_SIGKILL, 0, 0, 0)))
    _limit(memory_bytes)
    sys.stdin = sys.stdout = sys.stderr = None  # print() then does nothing
    for other in {0, 1, 2} - {descriptor}:
        with contextlib.suppress(OSError):
            os.close(other)
    sys.addaudithook(_hook())
    return libc is not None and _filter(libc, descriptor)


_ADDRESS_SPACE_BYTES = 256 << 20  # what an interpreter may have reserved, where the kernel does not tell


def _limit(memory_bytes: int) -> None:
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123 - pathlib is a slow import
            taken = int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:
        taken = _ADDRESS_SPACE_BYTES
    memory = taken + memory_bytes
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 0),
    ):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (most, most))


_WORDS = {
    "import": "import modules while it runs",
    "open": "open files",
    "socket": "use the network",
    "subprocess": "start programs",
    "ctypes": "load native code",
    "_thread": "start threads",
    "signal": "use signals",
}


def _hook() -> Any:
    """A hook that keeps what it needs to itself: a codec that changes this module changes nothing."""
    harmless = frozenset(
        {
            "array.__new__",
            "builtins.id",
            "compile",  # namedtuple and dataclasses write code
            "exec",
            "marshal.loads",
            "object.__getattr__",
            "sys._getframe",
            "sys.excepthook",
            "sys.unraisablehook",
        },
    )
    words, refused = dict(_WORDS), PermissionError

    def hook(event: str, args: tuple[object, ...]) -> None:
        if event in harmless:
            return
        what = words.get(event.partition(".")[0], f"do that ({event})")
        detail = f": {args[0]}" if event in {"import", "open"} else ""
        raise refused(f"a codec may not {what}{detail}")

    return hook


def _libc() -> Any:
    try:
        import ctypes  # noqa: PLC0415 - some builds of Python have none

        return ctypes.CDLL(None)
    except (ImportError, OSError, MemoryError):  # MemoryError: a service that may not have executable memory
        return None


def _word(value: int) -> Any:
    import ctypes  # noqa: PLC0415

    return ctypes.c_ulong(value)


def _filter(libc: Any, descriptor: int) -> bool:
    import ctypes  # noqa: PLC0415

    program = program_for(os.uname().machine, descriptor)
    if program is None:
        return False

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))

    filled = Program(len(program) // 8, program)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, *map(_word, (1, 0, 0, 0))) != 0:
        return False
    mode = _word(_SECCOMP_MODE_FILTER)
    return bool(libc.prctl(_PR_SET_SECCOMP, mode, ctypes.byref(filled), _word(0), _word(0)) == 0)


def program_for(machine: str, descriptor: int) -> bytes | None:
    """The filter as struct sock_filter[]: read and write on the descriptor, the calls listed, EPERM for the rest."""
    if machine not in MACHINES:
        return None
    arch, channel, numbers = MACHINES[machine]
    steps = [(_LOAD, 0, 0, _AT_ARCH), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _REFUSE), (_LOAD, 0, 0, _AT_NUMBER)]
    for number in numbers:
        steps += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    for number in channel:
        steps += [(_EQUAL, 0, 4, number), (_LOAD, 0, 0, _AT_ARGUMENT_0)]
        steps += [(_EQUAL, 0, 1, descriptor), (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    steps.append((_RETURN, 0, 0, _REFUSE))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
