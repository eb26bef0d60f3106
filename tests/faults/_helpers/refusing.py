"""A kernel that refuses: system calls of a process of ours that end with the error a test names.

The refusal is the kernel's own (seccomp(2)), so all above the system call is as
in production, and no privilege is needed. It cannot be taken back: refuse in a
child.
"""

import ctypes
import errno
import platform
import struct
from dataclasses import dataclass

from tests.faults._helpers.disks import needs

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _FILTER = 22, 38, 2
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h: LD|W|ABS, JMP|JEQ|K, RET|K
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# A C library may make any of several calls for one function.
_CALLS: dict[str, dict[str, tuple[int, ...]]] = {
    "read": {"x86_64": (0,), "aarch64": (63,)},
    "write": {"x86_64": (1,), "aarch64": (64,)},
    "copy_file_range": {"x86_64": (326,), "aarch64": (285,)},
    "open": {"x86_64": (2, 257), "aarch64": (56,)},
    "stat directory": {"x86_64": (137,), "aarch64": (43,)},  # statfs
    "fsync": {"x86_64": (74,), "aarch64": (82,)},
    "syncfs": {"x86_64": (306,), "aarch64": (267,)},
    "rename": {"x86_64": (82, 264, 316), "aarch64": (38, 276)},
    "mkdir": {"x86_64": (83, 258), "aarch64": (34,)},
    "link": {"x86_64": (86, 265), "aarch64": (37,)},
    "symlink": {"x86_64": (88, 266), "aarch64": (36,)},
    "unlinkat": {"x86_64": (263,), "aarch64": (35,)},
    "chmod": {"x86_64": (90,), "aarch64": (53,)},
    "fchmod": {"x86_64": (91,), "aarch64": (52,)},
    "utimensat": {"x86_64": (280,), "aarch64": (88,)},
}


@dataclass(frozen=True)
class Refusal:
    """Calls of that name end with that error; with `argument`, those alone that have it there."""

    call: str
    error: int
    argument: tuple[int, int] | None = None  # its position, its value

    def __str__(self) -> str:
        which = f" of {self.argument[1]}" if self.argument else ""
        return f"{self.call}{which}: {errno.errorcode[self.error]}"


def refuse(refusal: Refusal) -> None:
    """From now on this thread, and those it starts, are refused that call."""
    machine = platform.machine()
    needs(machine in _ARCHITECTURES, "x86_64 or aarch64, whose system calls it knows")
    program = b"".join(_program(refusal, machine))
    buffer = ctypes.create_string_buffer(program)

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))

    libc = ctypes.CDLL(None, use_errno=True)
    filtering = Program(len(program) // 8, ctypes.addressof(buffer))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")
    if libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(filtering), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")


def _program(refusal: Refusal, machine: str) -> list[bytes]:
    numbers = _CALLS[refusal.call][machine]
    argument = []
    if refusal.argument is not None:
        position, value = refusal.argument
        argument = [
            _step(_LOAD, _ARGUMENTS + 8 * position),
            _step(_EQUAL, value, otherwise=1),
        ]
    ending = [*argument, _step(_RETURN, _ERRNO | refusal.error), _step(_RETURN, _ALLOW)]
    allow = len(ending) - 1
    return [
        _step(_LOAD, _ARCHITECTURE),
        _step(_EQUAL, _ARCHITECTURES[machine], otherwise=len(numbers) + 1 + allow),
        _step(_LOAD, _NUMBER),
        *(
            # The last number that does not fit leads to the end, the others to the next.
            _step(_EQUAL, number, then=left, otherwise=0 if left else allow)
            for left, number in zip(reversed(range(len(numbers))), numbers, strict=True)
        ),
        *ending,
    ]


def _step(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("HBBI", code, then, otherwise, value)
