"""Renders docs/system-calls.md from the table that the filters are made of."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence

from faasd.linux.seccomp import ARCHITECTURES
from faasd.linux.system_calls import NEWEST, NUMBERS
from faasd.runtime import system_call_filter as table

__all__ = ["render_system_calls"]

_HEAD = f"""# System calls

<!-- Written by `make generate` from faasd/runtime/system_call_filter.py; do not edit. -->

A function's processes may make every system call but those on this page. The kernel keeps the list, by a seccomp filter that
is loaded before the handler's module is imported and that nothing can take off again. It needs no privilege, and Linux on
{" or ".join(machine.name for machine in ARCHITECTURES.values())}; `faasd doctor` says whether this host has it.

A refused call fails with `EPERM` ("Operation not permitted"), unless another error is named here. Calls of another architecture
(32-bit programs, x32) are refused as a whole. Calls newer than number {NEWEST} answer `ENOSYS`, as on an older kernel, because
nobody has judged them yet.

What functions are made of is untouched: threads, child processes, pools, Unix and internet sockets, files, shared
memory, memory maps, just-in-time compilers. Programs that need a call on this page, such as debuggers, container engines
and browsers with a sandbox of their own, are not for a function.
"""

_TAIL = """
## When a function needs one of them

There is no setting for single calls: each of them would open a way around the other walls. On a host without seccomp
the wall is missing; then a function runs only with `containment = "best-effort"`, and each of its attempts says so.
"""


def render_system_calls() -> str:
    """Return the page."""
    sections = [
        *_sections(table.ZYGOTE),
        *_sections(table.ATTEMPT),
        *_sections(table.INET_NONE),
        *_sections(table.INET_PORTS),
        *_sections(table.INET_NO_BIND),
        *_sections(table.TRUNCATION),
    ]
    return "\n".join([_HEAD, *sections]) + _TAIL


def _sections(groups: Sequence[table.Group]) -> Iterator[str]:
    for group in groups:
        calls = ", ".join(_calls(group))
        lines = [f"## {group.title}", "", group.reason, "", f"{calls}."]
        if group.only:
            lines += ["", f"Refused only in part: {group.only}."]
        yield "\n".join(lines) + "\n"


def _calls(group: table.Group) -> Iterator[str]:
    errnos = {rule.call: rule.errno for rule in group.rules}
    for call, number in errnos.items():
        answer = "" if number == errno.EPERM else f" ({errno.errorcode[number]})"
        where = "" if NUMBERS[call][1] is not None else " (x86-64 only)"
        yield f"`{call}`{answer}{where}"
