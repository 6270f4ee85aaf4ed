"""Which system calls are taken from functions, and why: one table, from which docs/system-calls.md is written too.

Two filters. The zygote's is loaded before the handler's module is imported, and everything below inherits it.
The attempt's adds what the zygote itself needs to fork sandboxes: new namespaces, through a clone3 whose flags
no filter can see.
"""

from __future__ import annotations

import errno
import platform
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from faasd.linux import seccomp
from faasd.linux.seccomp import Rule, Test

__all__ = [
    "ATTEMPT",
    "INET_NONE",
    "INET_NO_BIND",
    "INET_PORTS",
    "TRUNCATION",
    "ZYGOTE",
    "Group",
    "for_attempt",
    "for_zygote",
    "rules_of",
    "zygote_rules",
]

_NEW_NAMESPACES = 0x7E020000  # CLONE_NEW* of mounts, cgroup, UTS, IPC, user, PID, network.
_TYPE_OF_SOCKET = 0xF  # The rest are SOCK_CLOEXEC and SOCK_NONBLOCK.
_KIND_OF_FILE = 0o170000
_DEVICES = (0o020000, 0o060000)
_SET_USER_ID = 0o4000
_CREATES = 0o100 | 0o20000000  # O_CREAT, __O_TMPFILE; only then there is a mode.
_TRUNCATES = 0o1000
_ACCESS = 0o3
#: To read, and the fourth mode, which is for neither and which the kernel yet lets truncate.
_NOT_TO_WRITE = (0, 3)
_FAST_OPEN = 0x20000000
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_STREAM, _DATAGRAM = 1, 2
_TCP, _UDP = 6, 17


class Group(NamedTuple):
    """Calls that are refused for one reason. `only` says in words what the rules' tests say."""

    title: str
    reason: str
    rules: tuple[Rule, ...]
    only: str = ""


def _all(*calls: str, number: int = errno.EPERM) -> tuple[Rule, ...]:
    return tuple(Rule(call, errno=number) for call in calls)


def _any_bit(argument: int, mask: int) -> Test:
    return Test(argument, (0,), mask, negate=True)


_IS_INET = Test(0, (_INET, _INET6))

ZYGOTE: tuple[Group, ...] = (
    Group(
        "Mounts",
        "What a function sees of the file system is decided before its code is imported.",
        _all(
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
        ),
    ),
    Group(
        "Namespaces",
        "A new user namespace brings every capability within it, and with them most of the kernel's bugs into reach.",
        (*_all("unshare", "setns"), Rule("clone", (_any_bit(0, _NEW_NAMESPACES),))),
        only="`clone` only with a flag that makes a namespace",
    ),
    Group(
        "Code in the kernel",
        "Programs, modules and whole kernels that would run there.",
        _all(
            "bpf",
            "init_module",
            "finit_module",
            "delete_module",
            "create_module",
            "query_module",
            "get_kernel_syms",
            "kexec_load",
            "kexec_file_load",
        ),
    ),
    Group(
        "Kernel keys",
        "Keyrings are shared by all processes of a user, and know nothing of namespaces but the user's.",
        _all("add_key", "request_key", "keyctl"),
    ),
    Group(
        "Other processes' memory and descriptors",
        "Debuggers and profilers need them; a function has nobody to debug.",
        _all(
            "ptrace",
            "process_vm_readv",
            "process_vm_writev",
            "kcmp",
            "pidfd_getfd",
            "perf_event_open",
            "lookup_dcookie",
        ),
    ),
    Group(
        "What exploits are made with",
        "`userfaultfd` stops the kernel at a chosen moment; `io_uring` makes calls that no filter sees.",
        _all("userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register"),
    ),
    Group(
        "Files by handle, and watching whole file systems",
        "They pass by the paths that file rules are made of.",
        _all("name_to_handle_at", "open_by_handle_at", "fanotify_init", "fanotify_mark"),
    ),
    Group(
        "The machine itself",
        "Its clock, name, swap, quotas, accounting, log and power belong to everybody.",
        _all(
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
        ),
    ),
    Group(
        "Hardware and the past",
        "I/O ports, and calls that only old programs or none ever used.",
        (
            *_all("iopl", "ioperm", "modify_ldt", "uselib", "_sysctl", "sysfs"),
            Rule("personality", (Test(0, (0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF), negate=True),)),
        ),
        only="`personality` unless it asks, or sets Linux, Linux32 or UNAME26: others switch off address randomisation "
        "or make readable memory executable",
    ),
    Group(
        "Terminals",
        "Typing into, or pasting into, the terminal from which the daemon was started; loading line disciplines.",
        (Rule("ioctl", (Test(1, (0x5412, 0x541C, 0x5423)),)),),
        only="`ioctl` with TIOCSTI, TIOCLINUX or TIOCSETD",
    ),
    Group(
        "Devices and set-user-ID files",
        "A device node is a way past every file rule; a set-user-ID program that a function leaves in a directory it "
        "may write lends its user to whoever runs it. `openat2` hides its mode in memory, so it answers ENOSYS, on "
        "which programs use `openat`.",
        (
            Rule("mknod", (Test(1, _DEVICES, _KIND_OF_FILE),)),
            Rule("mknodat", (Test(2, _DEVICES, _KIND_OF_FILE),)),
            Rule("mknod", (_any_bit(1, _SET_USER_ID),)),
            Rule("mknodat", (_any_bit(2, _SET_USER_ID),)),
            Rule("chmod", (_any_bit(1, _SET_USER_ID),)),
            Rule("fchmod", (_any_bit(1, _SET_USER_ID),)),
            Rule("fchmodat", (_any_bit(2, _SET_USER_ID),)),
            Rule("fchmodat2", (_any_bit(2, _SET_USER_ID),)),
            Rule("creat", (_any_bit(1, _SET_USER_ID),)),
            Rule("open", (_any_bit(1, _CREATES), _any_bit(2, _SET_USER_ID))),
            Rule("openat", (_any_bit(2, _CREATES), _any_bit(3, _SET_USER_ID))),
            *_all("openat2", number=errno.ENOSYS),
        ),
        only="all but `openat2` only for a device or with the set-user-ID bit",
    ),
    Group(
        "Sockets of other families",
        "Unix, IPv4, IPv6 and netlink for routes remain: no packets of its own making (AF_PACKET, SOCK_RAW), no "
        "virtual machine's host (AF_VSOCK), no kernel cryptography (AF_ALG), no XDP, Bluetooth, CAN, TIPC, RDS and "
        "the like, whose code is seldom used and often at fault.",
        (
            Rule("socket", (Test(0, (_UNIX, _INET, _INET6, _NETLINK), negate=True),)),
            Rule("socket", (Test(0, (_NETLINK,)), Test(2, (0,), negate=True))),
            Rule("socket", (_IS_INET, Test(1, (_STREAM, _DATAGRAM), _TYPE_OF_SOCKET, negate=True))),
            Rule("socketpair", (Test(0, (_UNIX,), negate=True),)),
        ),
        only="by address family, type and protocol",
    ),
)

INET_NONE: tuple[Group, ...] = (
    Group(
        "Internet sockets",
        "With `network = false`, where this host gives no network namespace.",
        (Rule("socket", (_IS_INET,)),),
        only="`socket` for IPv4 and IPv6",
    ),
)

INET_PORTS: tuple[Group, ...] = (
    Group(
        "Around the ports",
        "With a list of ports, which is kept for TCP alone: Multipath TCP, SCTP and others, TCP's fast open, which "
        "connects without being asked for its port, and UDP, unless port 53 is in the list: then names can be resolved, "
        "and UDP is open to every port.",
        (
            Rule(
                "socket",
                (_IS_INET, Test(1, (_STREAM,), _TYPE_OF_SOCKET), Test(2, (0, _TCP), negate=True)),
            ),
            Rule(
                "socket",
                (_IS_INET, Test(1, (_DATAGRAM,), _TYPE_OF_SOCKET), Test(2, (0, _UDP), negate=True)),
            ),
            Rule("sendto", (_any_bit(3, _FAST_OPEN),)),
            Rule("sendmsg", (_any_bit(2, _FAST_OPEN),)),
            Rule("sendmmsg", (_any_bit(3, _FAST_OPEN),)),
        ),
        only="`socket` by protocol, the others with MSG_FASTOPEN",
    ),
)
INET_NO_BIND: tuple[Group, ...] = (
    Group(
        "Listening without a port",
        "With a list of ports whose `bind` is empty: `listen` on a TCP socket that was never bound has the kernel choose "
        "a port, which no rule on ports sees. The filter does not see of which family a socket is, so Unix sockets "
        "cannot listen then either.",
        _all("listen", number=errno.EACCES),
    ),
)
_NO_DATAGRAMS = Rule("socket", (_IS_INET, Test(1, (_DATAGRAM,), _TYPE_OF_SOCKET)))
_NAME_PORT = 53

TRUNCATION: tuple[Group, ...] = (
    Group(
        "Truncating what may only be read",
        "Where Landlock is older than ABI 3 (Linux 6.2) and no read-only view can be mounted: such a Landlock lets "
        "a file be emptied that was given to be read. What is open for writing can be truncated all the same.",
        (
            *_all("truncate"),
            Rule("open", (_any_bit(1, _TRUNCATES), Test(1, _NOT_TO_WRITE, _ACCESS))),
            Rule("openat", (_any_bit(2, _TRUNCATES), Test(2, _NOT_TO_WRITE, _ACCESS))),
        ),
        only="`open` and `openat` with O_TRUNC and not for writing",
    ),
)

ATTEMPT: tuple[Group, ...] = (
    Group(
        "In an attempt, besides",
        "What its zygote needed to fork it. `clone3` hides its flags in memory, so it answers ENOSYS, on which the C "
        "library uses `clone`.",
        (*_all("chroot"), *_all("clone3", number=errno.ENOSYS)),
    ),
)


def rules_of(groups: Sequence[Group]) -> list[Rule]:
    """Return the rules of groups, in their order."""
    return [rule for group in groups for rule in group.rules]


def zygote_rules(
    network: Any, *, has_own_network: bool, guards_truncation: bool = False
) -> list[Rule]:
    """Return a zygote's rules. `network` is the policy's: true, false, or {"connect": [...], "bind": [...]}.

    With `guards_truncation` they do what an old Landlock leaves undone.
    """
    rules = rules_of(ZYGOTE)
    if guards_truncation:
        rules += rules_of(TRUNCATION)
    if network is False and not has_own_network:
        rules += rules_of(INET_NONE)
    elif isinstance(network, dict):
        rules += rules_of(INET_PORTS)
        if _NAME_PORT not in network["connect"]:
            rules.append(_NO_DATAGRAMS)
        if not network["bind"]:
            rules += rules_of(INET_NO_BIND)
    return rules


def for_zygote(
    network: Any, *, has_own_network: bool, guards_truncation: bool = False
) -> seccomp.Filter:
    """Return the filter for a zygote. Raises OSError."""
    return _filter(
        zygote_rules(network, has_own_network=has_own_network, guards_truncation=guards_truncation)
    )


@lru_cache(maxsize=1)
def for_attempt() -> seccomp.Filter:
    """Return the filter for an attempt, made once and then shared with everything forked. Raises OSError."""
    # What is newer than the table the zygote's filter refuses already; a short one loads faster.
    return _filter(rules_of(ATTEMPT), newest=False)


def _filter(rules: Sequence[Rule], *, newest: bool = True) -> seccomp.Filter:
    machine = seccomp.arch()
    if machine is None:
        raise OSError(errno.ENOSYS, f"no table of system calls for {platform.machine()}")
    if newest:
        return seccomp.Filter(seccomp.assemble(rules, machine))
    return seccomp.Filter(seccomp.assemble(rules, machine, newest=None))
