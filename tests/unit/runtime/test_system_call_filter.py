"""What is taken from functions, by name: a list of its own, so that no line of the table is lost unseen."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from faasd.linux import seccomp
from faasd.linux.system_calls import NEWEST, NUMBERS
from faasd.runtime import system_call_filter as table
from tests.unit.linux.bpf_machine import run

ALWAYS_REFUSED = {
    "mount",
    "umount2",
    "pivot_root",
    "open_tree",
    "open_tree_attr",
    "move_mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "unshare",
    "setns",
    "bpf",
    "init_module",
    "finit_module",
    "delete_module",
    "create_module",
    "query_module",
    "get_kernel_syms",
    "kexec_load",
    "kexec_file_load",
    "add_key",
    "request_key",
    "keyctl",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "kcmp",
    "pidfd_getfd",
    "perf_event_open",
    "lookup_dcookie",
    "userfaultfd",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "name_to_handle_at",
    "open_by_handle_at",
    "fanotify_init",
    "fanotify_mark",
    "settimeofday",
    "clock_settime",
    "adjtimex",
    "clock_adjtime",
    "sethostname",
    "setdomainname",
    "swapon",
    "swapoff",
    "reboot",
    "acct",
    "quotactl",
    "quotactl_fd",
    "syslog",
    "vhangup",
    "nfsservctl",
    "iopl",
    "ioperm",
    "modify_ldt",
    "uselib",
    "_sysctl",
    "sysfs",
}
NOT_THERE = {"openat2"}
MACHINES = list(seccomp.ARCHITECTURES.values())
X86 = MACHINES[0]
ALLOWED = seccomp.ALLOW
REFUSED = seccomp.ERRNO | errno.EPERM
UNKNOWN = seccomp.ERRNO | errno.ENOSYS


def answer(
    call: str,
    *arguments: int,
    groups: tuple[table.Group, ...] = table.ZYGOTE,
    machine: seccomp.Arch = X86,
) -> int:
    number = NUMBERS[call][machine.column]
    assert number is not None
    program = seccomp.assemble(table.rules_of(groups), machine)
    return run(program, machine.audit, number, arguments)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda one: one.name)
def test_every_number_gets_the_answer_it_should(machine: seccomp.Arch) -> None:
    """With arguments of zero: the refused calls are refused, and no other number is touched."""
    program = seccomp.assemble(table.rules_of(table.ZYGOTE), machine)
    refused = {NUMBERS[name][machine.column] for name in ALWAYS_REFUSED}
    # A family of zero is no family; `socket` and `socketpair` refuse it.
    refused |= {NUMBERS[name][machine.column] for name in ("socket", "socketpair")}
    unknown = {NUMBERS[name][machine.column] for name in NOT_THERE}
    for number in range(NEWEST + 1):
        expected = REFUSED if number in refused else UNKNOWN if number in unknown else ALLOWED
        assert run(program, machine.audit, number) == expected, number


@pytest.mark.parametrize("machine", MACHINES, ids=lambda one: one.name)
def test_an_attempts_filter_adds_what_its_zygote_needed(machine: seccomp.Arch) -> None:
    """Chroot, and the clone that no filter can look into."""
    program = seccomp.assemble(table.rules_of(table.ATTEMPT), machine, newest=None)
    expected = {"chroot": REFUSED, "clone3": UNKNOWN}
    for call, numbers in NUMBERS.items():
        number = numbers[machine.column]
        if number is not None:
            assert run(program, machine.audit, number) == expected.get(call, ALLOWED)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (0x11, ALLOWED),  # fork
        (0x4111, ALLOWED),  # vfork, posix_spawn
        (0x3D0F00, ALLOWED),  # A thread.
        *[(flag | 0x11, REFUSED) for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000)],
        *[(flag | 0x11, REFUSED) for flag in (0x10000000, 0x20000000, 0x40000000)],
    ],
)
def test_processes_and_threads_are_made_but_no_namespaces(flags: int, expected: int) -> None:
    """Each flag alone is enough."""
    assert answer("clone", flags) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((socket.AF_UNIX, socket.SOCK_STREAM, 0), ALLOWED),
        ((socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC, 0), ALLOWED),
        ((socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK, 6), ALLOWED),
        ((socket.AF_INET6, socket.SOCK_DGRAM, 0), ALLOWED),
        ((socket.AF_INET, socket.SOCK_RAW, 1), REFUSED),
        ((socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 58), REFUSED),
        ((socket.AF_INET, socket.SOCK_SEQPACKET, 132), REFUSED),
        ((socket.AF_NETLINK, socket.SOCK_RAW, 0), ALLOWED),
        ((socket.AF_NETLINK, socket.SOCK_RAW, 12), REFUSED),  # nftables
        ((socket.AF_NETLINK, socket.SOCK_DGRAM, 16), REFUSED),  # generic
        *[((family, socket.SOCK_RAW, 0), REFUSED) for family in (17, 29, 30, 31, 38, 40, 43, 44)],
        ((2**32 + socket.AF_PACKET, socket.SOCK_RAW, 0), REFUSED),
    ],
)
def test_sockets_are_of_four_families(arguments: tuple[int, ...], expected: int) -> None:
    """And of the kinds that functions talk with."""
    for machine in MACHINES:
        assert answer("socket", *arguments, machine=machine) == expected


@pytest.mark.parametrize(
    ("call", "arguments", "expected"),
    [
        ("socketpair", (1, 1, 0), ALLOWED),
        ("socketpair", (30, 1, 0), REFUSED),
        ("ioctl", (0, 0x5412), REFUSED),
        ("ioctl", (0, 2**32 | 0x5412), REFUSED),
        ("ioctl", (0, 0x541C), REFUSED),
        ("ioctl", (0, 0x5423), REFUSED),
        ("ioctl", (0, 0x5413), ALLOWED),  # The size of the terminal.
        ("personality", (0xFFFFFFFF,), ALLOWED),
        ("personality", (0,), ALLOWED),
        ("personality", (0x0040000,), REFUSED),
        ("mknodat", (0, 0, 0o020666), REFUSED),
        ("mknodat", (0, 0, 0o060666), REFUSED),
        ("mknodat", (0, 0, 0o010666), ALLOWED),  # A FIFO.
        ("mknodat", (0, 0, 0o104755), REFUSED),
        ("fchmod", (0, 0o4755), REFUSED),
        ("fchmod", (0, 0o2775), ALLOWED),
        ("fchmodat", (0, 0, 0o104755), REFUSED),
        ("fchmodat2", (0, 0, 0o4755), REFUSED),
        ("openat", (0, 0, 0o101, 0o4755), REFUSED),
        ("openat", (0, 0, 0o101, 0o755), ALLOWED),
        ("openat", (0, 0, 0, 0o4755), ALLOWED),  # Without O_CREAT nobody looks at the mode.
        ("openat", (0, 0, 0o20200000 | 2, 0o4755), REFUSED),  # O_TMPFILE
    ],
)
def test_common_calls_are_refused_for_their_arguments_alone(
    call: str, arguments: tuple[int, ...], expected: int
) -> None:
    """Everybody needs ioctl and openat."""
    for machine in MACHINES:
        assert answer(call, *arguments, machine=machine) == expected
    older = {"mknodat": "mknod", "fchmodat": "chmod", "openat": "open"}.get(call)
    if older is not None:
        assert answer(older, *arguments[1:]) == expected


def sockets_of(network: Any, *, has_own_network: bool = False) -> dict[str, int]:
    """Return how a zygote's filter for this network answers, by what is asked for."""
    rules = table.zygote_rules(network, has_own_network=has_own_network)
    program = seccomp.assemble(rules, X86)
    asked = {
        "tcp": ("socket", 2, 1, 0),
        "tcp6": ("socket", 10, 1 | 0o4000, 6),
        "udp": ("socket", 2, 2, 17),
        "mptcp": ("socket", 2, 1, 262),
        "sctp": ("socket", 10, 1, 132),
        "unix": ("socket", 1, 1, 0),
        "send": ("sendto", 0, 0, 0, 0),
        "fast-open": ("sendto", 0, 0, 0, 0x20000000),
        "fast-open-msg": ("sendmsg", 0, 0, 0x20004000),
        "fast-open-mmsg": ("sendmmsg", 0, 0, 0, 0x20000000),
    }
    return {
        name: run(program, X86.audit, NUMBERS[call][0] or 0, arguments)
        for name, (call, *arguments) in asked.items()
    }


def test_a_list_of_ports_leaves_no_way_around_it() -> None:
    """Landlock keeps TCP's ports; whatever it does not know as TCP is refused here."""
    plain = sockets_of(True)
    assert set(plain.values()) == {ALLOWED}
    ports = sockets_of({"connect": [443], "bind": []})
    refused = {name for name, found in ports.items() if found == REFUSED}
    assert refused == {"udp", "mptcp", "sctp", "fast-open", "fast-open-msg", "fast-open-mmsg"}
    with_names = sockets_of({"connect": [53, 443], "bind": []})
    assert {name for name in ports if with_names[name] != ports[name]} == {"udp"}


def test_no_network_is_no_socket_where_there_is_no_namespace_for_it() -> None:
    """Within a network namespace of its own, loopback is to work."""
    found = sockets_of(False)
    refused = {name for name in found if found[name] == REFUSED}
    assert refused == {"tcp", "tcp6", "udp", "mptcp", "sctp"}
    assert set(sockets_of(False, has_own_network=True).values()) == {ALLOWED}


def test_truncation_is_guarded_where_landlock_does_not_and_writers_keep_it() -> None:
    """What was opened for writing was looked at by Landlock already; the rest is refused, by every mode."""
    guarded, plain = (
        seccomp.assemble(
            table.zygote_rules(True, has_own_network=False, guards_truncation=guards), X86
        )
        for guards in (True, False)
    )
    reading, writing, both, neither = range(4)
    truncates, creates = 0o1000, 0o100
    asked: dict[tuple[str, int, int, int], int] = {
        ("truncate", 0, 0, 0): REFUSED,
        ("open", 0, truncates | reading, 0): REFUSED,
        ("openat", 0, 0, truncates | reading): REFUSED,
        ("openat", 0, 0, truncates | neither): REFUSED,
        ("openat", 0, 0, reading): ALLOWED,
        ("openat", 0, 0, truncates | creates | writing): ALLOWED,
        ("openat", 0, 0, truncates | both): ALLOWED,
    }
    for (call, *arguments), expected in asked.items():
        number = NUMBERS[call][0] or 0
        assert run(guarded, X86.audit, number, arguments) == expected, (call, arguments)
        assert run(plain, X86.audit, number, arguments) == ALLOWED, (call, arguments)
