"""Filters do what their rules say: an interpreter runs the program for every number, on both architectures."""

from __future__ import annotations

import errno
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from faasd.linux import seccomp
from faasd.linux.seccomp import Rule, Test
from faasd.linux.system_calls import NEWEST, NUMBERS
from tests.unit.linux.bpf_machine import run

ROOT = Path(__file__).parents[3]
I386, ARM = 0x40000003, 0x40000028
EVERY_NUMBER = [*range(1200), 0x3FFFFFFF, 0x40000000, 0x40000000 + 165, 0x7FFFFFFF, 0xFFFFFFFF]
ALLOWED = seccomp.ALLOW
REFUSED = seccomp.ERRNO | errno.EPERM
UNKNOWN = seccomp.ERRNO | errno.ENOSYS

machines = pytest.mark.parametrize(
    "machine", seccomp.ARCHITECTURES.values(), ids=lambda one: one.name
)


@machines
def test_exactly_the_named_calls_are_refused(machine: seccomp.Arch) -> None:
    """Of all numbers; each call by its own machine's number, and those it does not have by none."""
    names = ["mount", "iopl", "bpf", "keyctl"]
    program = seccomp.assemble([Rule(name) for name in names], machine)
    refused = {NUMBERS[name][machine.column] for name in names}
    for number in EVERY_NUMBER:
        if machine.name == "x86-64" and number >= 0x40000000:
            expected = REFUSED  # x32.
        elif number > NEWEST:
            expected = UNKNOWN
        else:
            expected = REFUSED if number in refused else ALLOWED
        assert run(program, machine.audit, number) == expected, number


@machines
def test_another_architectures_calls_are_all_refused(machine: seccomp.Arch) -> None:
    """There `mount` has the number of something harmless here."""
    program = seccomp.assemble([Rule("mount")], machine)
    others = {one.audit for one in seccomp.ARCHITECTURES.values()} - {machine.audit}
    for audit, number in itertools.product([*others, I386, ARM], EVERY_NUMBER):
        assert run(program, audit, number) == REFUSED


@machines
def test_numbers_newer_than_the_table_are_left_alone_when_asked_for(machine: seccomp.Arch) -> None:
    """For a filter upon another that has judged them."""
    program = seccomp.assemble([Rule("mount")], machine, newest=None)
    assert run(program, machine.audit, NEWEST + 1) == ALLOWED


@machines
@pytest.mark.parametrize("negate", [False, True])
@pytest.mark.parametrize("mask", [0xFFFFFFFF, 0xF])
@pytest.mark.parametrize("values", [(1,), (1, 2, 3)])
def test_a_test_looks_at_the_low_bits_of_one_argument(
    machine: seccomp.Arch, values: tuple[int, ...], mask: int, negate: bool
) -> None:
    """And never at the high ones, which the kernel ignores as well: with them nobody gets past."""
    program = seccomp.assemble(
        [Rule("ioctl", (Test(1, values, mask, negate=negate),)), Rule("mount")], machine
    )
    ioctl, mount = (NUMBERS[name][machine.column] or 0 for name in ("ioctl", "mount"))
    for low, high, other in itertools.product((0, 1, 2, 3, 4, 0x11, 0x10), (0, 1, 2**31), (0, 1)):
        arguments = [other, high << 32 | low, other]
        holds = ((low & mask) in values) != negate
        assert run(program, machine.audit, ioctl, arguments) == (REFUSED if holds else ALLOWED)
        assert run(program, machine.audit, mount, arguments) == REFUSED
        assert run(program, machine.audit, ioctl + 1, arguments) == ALLOWED


@machines
def test_a_call_is_refused_when_all_tests_of_one_rule_hold(machine: seccomp.Arch) -> None:
    """Several rules on one call: any of them will do, with its own errno."""
    rules = [
        Rule("socket", (Test(0, (2, 10)), Test(1, (3,), 0xF)), errno.EACCES),
        Rule("socket", (Test(0, (17,)),)),
    ]
    program = seccomp.assemble(rules, machine)
    number = NUMBERS["socket"][machine.column] or 0
    for family, kind in itertools.product((1, 2, 10, 17), (1, 3, 3 | 0o2000000)):
        expected = ALLOWED
        if family in (2, 10) and kind & 0xF == 3:
            expected = seccomp.ERRNO | errno.EACCES
        elif family == 17:
            expected = REFUSED
        assert run(program, machine.audit, number, [family, kind]) == expected


HEADERS = {
    "x86_64": ["/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"],
    "aarch64": ["/usr/include/asm-generic/unistd.h"],
}


@pytest.mark.parametrize("name", HEADERS)
def test_the_table_has_the_kernels_numbers(name: str) -> None:
    """As far as the kernel headers of this host know them."""
    header = next((path for path in HEADERS[name] if os.path.exists(path)), None)
    if header is None:
        pytest.skip(f"none of {', '.join(HEADERS[name])} is here (the package linux-libc-dev)")
    text = Path(header).read_text()
    known = {
        call: int(number)
        for call, number in re.findall(
            r"#define __NR(?:3264)?_(\w+)\s+(\d+)\s*$", text, re.MULTILINE
        )
    }
    column = seccomp.ARCHITECTURES[name].column
    ours = {call: numbers[column] for call, numbers in NUMBERS.items()}
    newer_than_header = {call for call in ours if call not in known and (ours[call] or 0) > 440}
    assert len(newer_than_header) < 10
    assert {call: number for call, number in ours.items() if call not in newer_than_header} == {
        call: known.get(call) for call in ours if call not in newer_than_header
    }


def test_a_loaded_filter_refuses_in_the_kernel_too() -> None:
    """And what is forked afterwards inherits it; a filter cannot be loaded without no_new_privs or root."""
    code = """
import ctypes, os, sys
from faasd.linux import process, seccomp
from faasd.linux.seccomp import Rule, Test
libc = ctypes.CDLL(None, use_errno=True)
def tries():
    found = [libc.personality(ctypes.c_ulong(0xFFFFFFFF)), libc.syncfs(0), libc.alarm(0)]
    return found, ctypes.get_errno()
process.forbid_new_privileges()
assert seccomp.is_available()
tries()
machine = seccomp.arch()
seccomp.Filter(seccomp.assemble([Rule("personality")], machine)).load()
found, error = tries()
assert found[0] == -1 and error == 1, (found, error)
pid = os.fork()
if pid == 0:
    os._exit(0 if tries()[0][0] == -1 else 1)
assert os.waitpid(pid, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=30)
