"""From what the kernel refused a handler to the one setting that would allow it: deciding is pure.

A hint names the path, call or address, the wall, and the setting. What the file's own permissions refuse, or
what is wrong with the other end of a connection, is not blamed on a wall.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import json
import os
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from faasd.model.function import Function
from faasd.model.outcome import ErrorRecord
from faasd.model.permissions import Ports
from faasd.model.units import format_size
from faasd.sandbox.failures import NAME_LOOKUP, Failure
from faasd.sandbox.file_rules import Premises, file_rules
from faasd.sandbox.missing_walls import names_of_missing_walls
from faasd.sandbox.policy import Walls
from faasd.sandbox.source_names import failures_at_source

__all__ = ["Given", "given_to", "hint", "with_hint"]

_NO_NETWORK = frozenset(
    {
        errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EPERM,
        errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, NAME_LOOKUP,
    }
)  # fmt: skip
#: Too much to give away for one new file in it; then the file itself is suggested.
_TOO_MUCH = frozenset(
    {
        "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/media", "/mnt", "/opt", "/proc",
        "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var", "/var/lib", "/var/log",
    }
)  # fmt: skip
_DNS_PORT = 53
#: In the line that made a call: the error of a connect names no path.
_IN_RUN = re.compile(r"""['"](?:/var)?(/run/[^'"]{1,200})['"]""")


@dataclass(frozen=True)
class Given:
    """What a failure is compared with. Paths are absolute, links followed.

    `on_host` names what the host has of what was not found.
    `missing` names the walls that were not there; `private` is the attempt's private directory, which with
    `is_in_memory` is one of its own file system; `hidden` is what no setting opens.
    """

    function: Function
    missing: Collection[str] = ()
    readable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    private: str = "/nonexistent"
    hidden: tuple[str, ...] = ()
    on_host: tuple[str, ...] = ()
    is_in_memory: bool = False
    is_root: bool = False

    @property
    def own(self) -> tuple[str, ...]:
        """Directories that are the attempt's own."""
        return (self.private, "/dev/shm") if self.is_in_memory else (self.private,)


def given_to(function: Function, walls: Walls, premises: Premises, private: str) -> Given:
    """Gather what one attempt's failures are compared with. Follows links, so it may wait for a disk."""
    rules = file_rules(function, walls.python_paths, premises)
    return Given(
        function,
        names_of_missing_walls(function, walls),
        readable=tuple(map(os.path.realpath, rules["read"])),
        writable=tuple(map(os.path.realpath, rules["write"])),
        private=private,
        hidden=tuple(rules["hidden"]),
        is_in_memory=walls.mounts,
        is_root=walls.uid == 0 and function.permissions.user is None,
    )


async def with_hint(
    error: ErrorRecord,
    failures: Sequence[Failure],
    function: Function,
    walls: Walls,
    premises: Premises,
    private: str = "/nonexistent",
) -> ErrorRecord:
    """Return the error of an attempt, with a hint if one of its failures has one."""
    if not failures:
        return error
    failures = failures_at_source(failures, function)
    # In a thread: following links may wait for a disk.
    given = await asyncio.to_thread(given_to, function, walls, premises, private)
    given = dataclasses.replace(given, on_host=await asyncio.to_thread(_on_host, failures))
    return dataclasses.replace(error, hint=hint(failures, given))


def _on_host(failures: Sequence[Failure]) -> tuple[str, ...]:
    wanted = [_path_in_run(one) for one in failures if one.errno == errno.ENOENT]
    return tuple(path for path in wanted if path is not None and os.path.lexists(path))


def hint(failures: Iterable[Failure], given: Given) -> str | None:
    """Return the first failure's hint that has one."""
    for failure in failures:
        said = _hint(failure, given)
        if said is not None:
            return said
    return None


def _hint(failure: Failure, given: Given) -> str | None:
    if failure.errno == errno.EAGAIN:
        return _processes(failure, given)
    if failure.errno == errno.EMFILE:
        return _at_limit("open_files", str(given.function.limits.open_files), given)
    if failure.errno == errno.EFBIG:
        size = format_size(given.function.limits.file_size_bytes)
        return _at_limit("file_size", size, given)
    if failure.errno in (errno.ENOSPC, errno.EDQUOT):
        return _no_space(failure, given)
    if failure.errno == errno.EXDEV:
        return _across(failure, given)
    if failure.path is None and failure.errno in _NO_NETWORK:
        said = _network(failure, given)
        if said is not None:
            return said
    if failure.errno == errno.ENOENT:
        return _not_there(failure, given)
    if failure.errno in (errno.EACCES, errno.EROFS) and failure.path is not None:
        return _file(failure, given)
    if failure.errno == errno.EPERM:
        return _not_permitted(failure, given)
    return None


def _at_limit(setting: str, value: str, given: Given) -> str:
    name = given.function.name
    return f"function {name!r} is at its limit {setting} = {value}; raise `{setting}` to allow more"


def _processes(failure: Failure, given: Given) -> str | None:
    if not failure.is_fork:
        return None
    said = _at_limit("processes", str(given.function.limits.processes), given)
    return f"no process or thread could be made: {said}"


def _no_space(failure: Failure, given: Given) -> str | None:
    """A full private directory is its quota; a full disk is nobody's wall."""
    size = format_size(given.function.limits.tmp_size_bytes)
    if failure.path is not None:
        if not _is_own(failure.path, given):
            return None
        where = f"the private temporary directory, where {_quoted(failure.path)} is,"
        return f"{where} is full: its quota (wall 'tmp-quota') is tmp_size = {size}; raise `tmp_size` to allow more"
    return (
        f"if this was written to the private temporary directory, that is full: its quota (wall 'tmp-quota') is "
        f"tmp_size = {size}; raise `tmp_size` to allow more. Else the disk is full"
    )


def _across(failure: Failure, given: Given) -> str | None:
    paths = [path for path in (failure.path, failure.other_path) if path is not None]
    if len(paths) == 2 and (_is_own(paths[0], given) != _is_own(paths[1], given)):
        return (
            f"{_quoted(paths[0])} and {_quoted(paths[1])} are on different file systems, because the private temporary "
            "directory is one of its own; use shutil.move (mv), or make the temporary file beside the final one"
        )
    outside = [path for path in paths if not _is_in(path, given.writable)]
    if outside and "files" not in given.missing:
        return _give("write", outside[0], given, "moving or linking a file across directories")
    return None


def _network(failure: Failure, given: Given) -> str | None:
    network = given.function.permissions.network
    if "network" in given.missing or network is True or not _concerns_network(failure):
        return None
    if network is False:
        to = f"of {_quoted(failure.address)} " if failure.address else ""
        return (
            f"the wall 'network' is in the way {to}: function {given.function.name!r} has network = false; set "
            "network = true, or to the ports that it needs, as in network = [443]"
        ).replace(" :", ":")
    assert isinstance(network, Ports)
    return _ports(failure, network)


def _ports(failure: Failure, network: Ports) -> str | None:
    if failure.errno == NAME_LOOKUP:
        if _DNS_PORT in network.connect:
            return None
        ports = [*network.connect, _DNS_PORT]
        return (
            "the wall 'network' keeps names from being looked up, because port 53 is not among the ports; add it: "
            f"network = {_network_value(network, connect=ports)}"
        )
    if failure.errno not in (errno.EACCES, errno.EPERM):
        return None
    port = _port_of(failure.address)
    where = f"{_quoted(failure.address)} is" if failure.address else "that port is"
    add = _network_value(network, connect=[*network.connect, port]) if port is not None else None
    how = (
        f"add it: network = {add}"
        if add
        else "add it to `network`: connect = [...] or bind = [...]"
    )
    return f"the wall 'network' is in the way: {where} not among the ports of {_network_value(network)}; {how}"


def _network_value(network: Ports, connect: list[int] | None = None) -> str:
    connect = list(network.connect) if connect is None else connect
    if network.bind:
        return f"{{ connect = {connect}, bind = {list(network.bind)} }}"
    return str(connect)


def _port_of(address: str | None) -> int | None:
    port = (address or "").rpartition(":")[2]
    return int(port) if port.isascii() and port.isdigit() and 0 < int(port) < 65536 else None


def _concerns_network(failure: Failure) -> bool:
    sure = (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, NAME_LOOKUP)
    return failure.errno in sure or failure.is_network


def _not_there(failure: Failure, given: Given) -> str | None:
    """The host's /tmp and /run are not the ones that an attempt sees."""
    if failure.path is not None and _is_in(failure.path, given.hidden):
        return _faasds_own(failure.path)
    if not given.is_in_memory:
        return None
    in_run = _path_in_run(failure)
    if in_run is not None or failure.path is None:
        return _not_in_run(in_run, failure, given)
    places = [one for one in given.own if one in ("/tmp", "/dev/shm")]
    place = next((one for one in places if _is_in(failure.path, (one,))), None)
    if place is None or not _is_own(failure.path, given):
        return None
    read, write = (_setting(kind, failure.path, given) for kind in ("read", "write"))
    return (
        f"each attempt has a {place} of its own, empty at first; if {_quoted(failure.path)} is meant to be the host's, "
        f"give it to the function: {read} to read it, {write} to write there"
    )


def _path_in_run(failure: Failure) -> str | None:
    if failure.path is None:
        found = _IN_RUN.search(failure.call)
        return os.path.normpath(found[1]) if found is not None else None
    return failure.path if _is_in(failure.path, ("/run",)) else None


def _not_in_run(path: str | None, failure: Failure, given: Given) -> str | None:
    wall = "the wall 'local-sockets' is in the way"
    if path is None:
        if not failure.is_network:
            return None
        read = _setting("read", "/run/…", given)
        return (
            f"if this was to connect to a Unix socket in /run, /tmp or /dev/shm, {wall}: there a function sees only what "
            f"it was given; to give it the socket or its directory, set {read}"
        )
    if path not in given.on_host or _is_in(path, (*given.readable, *given.writable, *given.hidden)):
        return None
    read, write = (_setting(kind, path, given) for kind in ("read", "write"))
    return (
        f"{wall}: of /run, function {given.function.name!r} sees only what it was given, and {_quoted(path)} is not "
        f"among that; to let it read there, or connect to a socket, set {read}; to let it write, set {write}"
    )


def _file(failure: Failure, given: Given) -> str | None:
    """Compare a refused path with what the function was given: is it a wall, or the file's own permissions?"""
    path = _the_refused(failure, given)
    if _is_in(path, given.hidden):
        return _faasds_own(path)
    if failure.errno == errno.EROFS:
        return _read_only(path, given)
    if "files" in given.missing or (_is_in(path, given.writable) or _is_own(path, given)):
        return _own_permissions(path, given)
    if _is_in(path, ("/proc",)) and not _is_in(path, given.readable):
        return (
            f"{_quoted(path)} is not a function's to open (walls 'files' and 'private-proc'): it sees its own processes "
            "alone"
        )
    if _is_in(path, given.readable):
        if failure.needs == "read":
            return _own_permissions(path, given)
        if failure.needs == "write":
            return _give("write", path, given, "writing there")
        return (
            f"{_give('write', path, given, 'writing there')}. If it only wanted to read, the file's own permissions "
            "refuse it"
        )
    if failure.needs is not None:
        doing = "reading it" if failure.needs == "read" else "writing there"
        return _give(failure.needs, path, given, doing)
    read, write = (_setting(kind, path, given) for kind in ("read", "write"))
    return (
        f"the wall 'files' is in the way: {_quoted(path)} is not among what function {given.function.name!r} was "
        f"given; to let it read, set {read}; to let it write, set {write}"
    )


def _faasds_own(path: str) -> str:
    return (
        f"{_quoted(path)} belongs to faasd itself (wall 'files'); no setting opens it to a function"
    )


def _the_refused(failure: Failure, given: Given) -> str:
    """Of two paths the one that is outside of what the function may touch."""
    assert failure.path is not None
    if failure.other_path is not None:
        allowed = (*given.writable, *given.own)
        if _is_in(failure.path, allowed):
            return os.path.normpath(failure.other_path)
    return os.path.normpath(failure.path)


def _read_only(path: str, given: Given) -> str:
    if not _is_in(path, given.writable):
        return _give("write", path, given, "writing there")
    return (
        f"function {given.function.name!r} may write {_quoted(path)}, but the file system there is mounted read-only; in "
        "a systemd service, name the directory in ReadWritePaths="
    )


def _own_permissions(path: str, given: Given) -> str:
    no_wall = "" if "files" in given.missing else ", and no wall: the function was given this path"
    root = (
        ". As root, too, a function has no power over files of other users" if given.is_root else ""
    )
    return f"the file's own permissions refuse {_quoted(path)}{no_wall}; see `ls -ld` of it and of the directories above{root}"


def _not_permitted(failure: Failure, given: Given) -> str | None:
    if failure.is_signal:
        return "a function can signal its own processes alone (walls 'pid-namespace' and 'signals'); no setting changes that"
    if failure.is_network and "abstract-sockets" not in given.missing and failure.path is None:
        what = "sockets of other kinds, and abstract Unix sockets outside, are closed to it"
        return f"the walls 'system-calls' and 'abstract-sockets' are in the way: {what}; see docs/system-calls.md"
    if "system-calls" in given.missing:
        return None
    what = f" on {_quoted(failure.path)}" if failure.path is not None else ""
    call = f" ({_quoted(failure.line)})" if failure.line else ""
    return (
        f"the wall 'system-calls' is in the way{what}{call}: a function has no capabilities, and calls that it never needs "
        "are refused; docs/system-calls.md lists them, and no setting allows one"
    )


def _give(kind: str, path: str, given: Given, doing: str) -> str:
    name = given.function.name
    what = f"function {name!r} was not given {_quoted(path)} for {doing}"
    return f"the wall 'files' is in the way: {what}; set {_setting(kind, path, given)}"


def _setting(kind: str, path: str, given: Given) -> str:
    """Return the whole setting as it would stand in the configuration, the present list kept."""
    permissions = given.function.permissions
    present = permissions.read if kind == "read" else permissions.write
    directory = os.path.dirname(path)
    # What does not exist yet cannot be in a list; the directory that it is made in can.
    is_too_much = directory in _TOO_MUCH or any(_is_in(one, (directory,)) for one in given.hidden)
    place = path if kind == "read" or is_too_much else directory
    return f"{kind} = [{', '.join(_quoted(one) for one in dict.fromkeys([*present, place]))}]"


def _is_own(path: str, given: Given) -> bool:
    """Whether a path is in the attempt's own directories, and not in something given that is shown within them."""
    listed = (*given.readable, *given.writable)
    return _depth(path, given.own) > _depth(path, listed)


def _depth(path: str, places: Iterable[str]) -> int:
    return max((len(one) for one in places if _is_in(path, (one,))), default=0)


def _is_in(path: str, places: Iterable[str]) -> bool:
    return any(path == one or path.startswith(one.rstrip("/") + "/") for one in places)


def _quoted(text: str | None) -> str:
    return json.dumps(text, ensure_ascii=False)
