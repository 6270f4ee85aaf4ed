"""What the kernel's interpreter of classic BPF does, for the instructions that filters are made of."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from faasd.linux import seccomp

__all__ = ["run"]


def run(
    program: Sequence[seccomp.Instruction], audit: int, number: int, arguments: Sequence[int] = ()
) -> int:
    """Return the value with which the program answers one call; checks it as the kernel does when loading it."""
    words = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=IIQ6Q", number, audit, 0, *words)
    accumulator = position = 0
    while True:
        code, if_true, if_false, operand = program[position]
        position += 1
        assert 0 <= if_true < 256
        assert 0 <= if_false < 256
        if code == seccomp.RETURN:
            return operand
        if code == seccomp.LOAD:
            assert operand % 4 == 0
            accumulator = struct.unpack_from("=I", data, operand)[0]
        elif code == seccomp.AND:
            accumulator &= operand
        else:
            holds = {
                seccomp.JUMP_EQUAL: accumulator == operand,
                seccomp.JUMP_GREATER: accumulator > operand,
                seccomp.JUMP_GREATER_OR_EQUAL: accumulator >= operand,
            }[code]
            position += if_true if holds else if_false
