"""seccomp(2): rules on system calls, made into a classic BPF program by pure code, and loaded.

A program looks at registers alone, never at memory: what a call's pointers point to may change while it is
being judged. Where a call hides what matters behind a pointer, it can only be refused as a whole.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import struct
from collections.abc import Sequence
from typing import NamedTuple

from faasd.linux.system_calls import NEWEST, NUMBERS

__all__ = ["ARCHITECTURES", "Arch", "Filter", "Rule", "Test", "arch", "assemble", "is_available"]

ALLOW = 0x7FFF0000
ERRNO = 0x00050000
_SET_MODE_FILTER = 1
_GET_ACTION_AVAIL = 2
_X32_BIT = 0x40000000

# The instructions of classic BPF that we need: code, then jump if true, jump if false, operand.
LOAD = 0x20  # The 32-bit word at this offset of struct seccomp_data.
AND = 0x54
JUMP_EQUAL = 0x15
JUMP_GREATER = 0x25
JUMP_GREATER_OR_EQUAL = 0x35
RETURN = 0x06
Instruction = tuple[int, int, int, int]

_NUMBER_OFFSET = 0
_ARCH_OFFSET = 4
_ARGUMENTS_OFFSET = 16


class Arch(NamedTuple):
    """How one machine numbers its system calls."""

    name: str
    audit: int  # AUDIT_ARCH_…, as the kernel tells it for each call.
    column: int  # In the table of numbers.


ARCHITECTURES = {
    "x86_64": Arch("x86-64", 0xC000003E, 0),
    "aarch64": Arch("aarch64", 0xC00000B7, 1),
}


class Test(NamedTuple):
    """A look at the low 32 bits of one argument: masked, it must be, or with `negate` must not be, one of `values`.

    Only for arguments of which the kernel itself looks at no more than 32 bits.
    """

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    negate: bool = False


Test.__test__ = False  # type: ignore[attr-defined] # It is not one of pytest's.


class Rule(NamedTuple):
    """Refuse a call with an errno, when all tests hold."""

    call: str
    tests: tuple[Test, ...] = ()
    errno: int = errno.EPERM


def arch() -> Arch | None:
    """Return this machine's; None where the table has no numbers for it."""
    # A 32-bit interpreter on a 64-bit kernel makes calls of another architecture.
    is_64_bit = ctypes.sizeof(ctypes.c_void_p) == 8
    return ARCHITECTURES.get(platform.machine()) if is_64_bit else None


def assemble(
    rules: Sequence[Rule], machine: Arch, newest: int | None = NEWEST
) -> list[Instruction]:
    """Return the program that refuses what a rule refuses and allows all else.

    Calls of another architecture, and of x32, are refused (EPERM) before any number is compared: there the
    same numbers mean other calls. A number above `newest` answers ENOSYS, as on a kernel that does not have
    the call yet: nobody has judged it.
    """
    refuse = (RETURN, 0, 0, ERRNO | errno.EPERM)
    program: list[Instruction] = [
        (LOAD, 0, 0, _ARCH_OFFSET),
        (JUMP_EQUAL, 1, 0, machine.audit),
        refuse,
        (LOAD, 0, 0, _NUMBER_OFFSET),
    ]
    if machine.name == "x86-64":
        program += [(JUMP_GREATER_OR_EQUAL, 0, 1, _X32_BIT), refuse]
    if newest is not None:
        program += [(JUMP_GREATER, 0, 1, newest), (RETURN, 0, 0, ERRNO | errno.ENOSYS)]
    # Those that look at arguments first: they are on common calls, which the kernel cannot answer from its
    # cache of what a filter allows whatever the arguments are.
    for is_plain in (False, True):
        for rule in rules:
            number = NUMBERS[rule.call][machine.column]
            if number is not None and is_plain != bool(rule.tests):
                program += _refusal(rule, number)
    program.append((RETURN, 0, 0, ALLOW))
    return program


def _refusal(rule: Rule, number: int) -> list[Instruction]:
    """Return the instructions of one rule, after which the number is loaded as before."""
    refuse = [(RETURN, 0, 0, ERRNO | rule.errno)]
    if not rule.tests:
        return [(JUMP_EQUAL, 0, 1, number), *refuse]
    body: list[Instruction] = refuse
    for test in reversed(rule.tests):
        body = _test(test, len(body)) + body
    body = [*body, (LOAD, 0, 0, _NUMBER_OFFSET)]
    return [(JUMP_EQUAL, 0, len(body), number), *body]


def _test(test: Test, length: int) -> list[Instruction]:
    """Return the instructions of one test: when it holds, go on; else jump over the `length` that follow."""
    load: list[Instruction] = [(LOAD, 0, 0, _ARGUMENTS_OFFSET + 8 * test.argument)]
    if test.mask != 0xFFFFFFFF:
        load.append((AND, 0, 0, test.mask))
    jumps: list[Instruction] = []
    for index, value in enumerate(test.values):
        left = len(test.values) - index - 1
        is_last = left == 0
        if test.negate:
            jumps.append((JUMP_EQUAL, left + length, 0, value))
        else:
            jumps.append((JUMP_EQUAL, left, length if is_last else 0, value))
    return load + jumps


class _Fprog(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


class Filter:
    """A program in the kernel's form, made beforehand so that loading it is one system call."""

    def __init__(self, program: Sequence[Instruction]) -> None:
        self._text = b"".join(
            struct.pack("=HBBI", code, true, false, operand)
            for code, true, false, operand in program
        )
        self._buffer = ctypes.create_string_buffer(self._text, len(self._text))
        self._fprog = _Fprog(len(program), ctypes.addressof(self._buffer))
        self._load = _prepared(_SET_MODE_FILTER, ctypes.byref(self._fprog))

    def load(self) -> None:
        """Put this thread and all that descends from it under the filter, for good. Raises OSError.

        Needs no_new_privs, or CAP_SYS_ADMIN. Filters add up: a later one can only refuse more.
        """
        if self._load() != 0:
            error = ctypes.get_errno()
            raise OSError(error, f"cannot load a system-call filter: {os.strerror(error)}")


def is_available() -> bool:
    """Whether this kernel has filters that answer with an errno, and the table this machine's numbers."""
    if arch() is None:
        return False
    return bool(_prepared(_GET_ACTION_AVAIL, ctypes.byref(ctypes.c_uint32(ERRNO)))() == 0)


# PyDLL: it takes microseconds, and nobody else may run between a zygote's walls.
_libc = ctypes.PyDLL(None, use_errno=True)


def _prepared(operation: int, argument: object) -> functools.partial[int]:
    """Return the call, which then makes no more objects. Raises OSError on a machine that the table does not know."""
    machine = arch()
    if machine is None:
        raise OSError(errno.ENOSYS, f"no table of system calls for {platform.machine()}")
    number = NUMBERS["seccomp"][machine.column]
    assert number is not None
    return functools.partial(
        _libc.syscall, ctypes.c_long(number), ctypes.c_uint(operation), ctypes.c_uint(0), argument
    )
