"""What an import leaves behind that does not bear being forked: connections, files, threads, random generators.

Every attempt gets a copy of it. Two attempts that speak over one connection mix up their answers; a file that is
open has one position for all; a thread is not there at all; a generator gives everybody the same numbers.
"""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

__all__ = ["descriptors", "is_anything_left", "native_threads", "warnings"]

_NAMED_MAX = 10
_REMEDY = (
    "every attempt would share it; open it in the handler, or in a hook of register_after_restore"
)


def descriptors() -> set[int]:
    """Return the descriptors that this process has now."""
    return {fd for fd in map(int, os.listdir("/proc/self/fd")) if _is_open(fd)}


def _is_open(fd: int) -> bool:
    """Whether it still is: the listing has seen its own."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def is_anything_left(before: set[int]) -> bool:
    """Whether attempts could meet by what the import left: descriptors that were not there `before`, threads, memory."""
    if not before.issuperset(descriptors()) or len(os.listdir("/proc/self/task")) > 1:
        return True
    with open("/proc/self/maps", "rb") as file:  # Memory that forks have no copies of.
        modes = [line.split(maxsplit=2)[1] for line in file]
    return any(mode[1:2] == b"w" and mode[3:4] == b"s" for mode in modes)


def warnings(before: set[int], code_dir: str) -> list[str]:
    """Say what is there that was not `before` the import, or should not be forked; never raises."""
    found = []
    for fd in sorted(descriptors() - before):
        what = _describe(fd)
        if what is not None:
            found.append(f"the import has left {what} open (descriptor {fd}): {_REMEDY}")
    found += [*_threads(), *_generators(code_dir)]
    return found[:_NAMED_MAX]


def _describe(fd: int) -> str | None:
    """Say what a descriptor is, if that should not be shared; None for all that may be."""
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISSOCK(mode):
            import socket  # Only now: most imports leave none, and it takes a while.

            with socket.socket(fileno=os.dup(fd)) as copy:
                return _socket(copy)
        path = os.readlink(f"/proc/self/fd/{fd}")
        if path == "anon_inode:[eventpoll]":
            return "an event loop"
        if stat.S_ISREG(mode) and not path.startswith("/memfd:"):
            return _file(fd, path)
    except OSError:
        pass  # Nothing that we can look into.
    return None


def _socket(copy: socket.socket) -> str | None:
    """Describe a socket that is connected or listens. Its other end's address tells people which it is."""
    import socket

    try:
        peer = copy.getpeername()
    except OSError:
        peer = None
    if peer == "":
        return None  # One end of a pair that has no name, as event loops make them.
    if peer is not None:
        where = _address(peer)
        return f"a connection{f' to {where}' if where else ''}"
    if copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return f"a listening socket ({_address(copy.getsockname())})"
    return None


def _address(address: Any) -> str:
    if isinstance(address, (str, bytes)):
        text = os.fsdecode(address)
        return f"@{text[1:]}" if text.startswith("\0") else text
    if isinstance(address, tuple) and len(address) >= 2:
        host = f"[{address[0]}]" if ":" in str(address[0]) else address[0]
        return f"{host}:{address[1]}"
    return str(address)


def _file(fd: int, path: str) -> str:
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        flags = next(int(line.split()[1], 8) for line in file if line.startswith("flags:"))
    access = flags & os.O_ACCMODE
    # Read by this descriptor: opening and closing another one would drop the locks of the first.
    if access != os.O_WRONLY and os.pread(fd, 15, 0) == b"SQLite format 3":
        return f"the SQLite database {path!r}"
    return f"the file {path!r}" + ("" if access == os.O_RDONLY else " for writing")


def _threads() -> list[str]:
    threading = sys.modules.get("threading")
    if threading is None:  # Nothing has started one.
        return []
    main = threading.main_thread()
    names = sorted(one.name for one in threading.enumerate() if one is not main)
    if not names:
        return []
    text = ", ".join(names[:_NAMED_MAX])
    said = (
        f"started {len(names)} thread{'s' if len(names) > 1 else ''} while it was imported ({text}); "
        "threads do not survive the fork of a sandbox, so start them in the handler"
    )
    return [said]


def native_threads() -> list[str]:
    """Say that a library has threads that Python knows nothing of, for after all were asked to end theirs."""
    threading = sys.modules.get("threading")
    known = threading.active_count() if threading is not None else 1
    count = len(os.listdir("/proc/self/task")) - known
    if count <= 0:
        return []
    said = (
        f"a library has started {count} thread{'s' if count > 1 else ''} of its own while the module was imported, and does not end "
        "them for a fork; a handler that uses it may wait for ever: import it in the handler"
    )
    return [said]


def _generators(code_dir: str) -> list[str]:
    """Find the random generators in the globals of the function's own modules."""
    if "random" not in sys.modules and "numpy.random" not in sys.modules:
        return []
    found = []
    for module_name, module in list(sys.modules.items()):
        namespace = _namespace(module)
        file = namespace.get("__file__")
        if not code_dir or not isinstance(file, str) or not file.startswith(code_dir + os.sep):
            continue
        for name, value in list(namespace.items()):
            if _is_generator(value):
                found.append(
                    f"{module_name}.{name} is a random generator: every attempt starts with the same copy of it; "
                    "make it in the handler, seed it in a hook of register_after_restore, or use `random` itself"
                )
    return found


def _namespace(module: Any) -> dict[str, Any]:
    """Return a module's globals without waking it, where it is one that loads when it is asked for something."""
    try:
        found = object.__getattribute__(module, "__dict__")
    except AttributeError:
        return {}  # Anything may be put into sys.modules.
    return found if isinstance(found, dict) else {}


def _is_generator(value: Any) -> bool:
    kind = type(value)
    ours = sys.modules.get("random")
    if ours is not None and issubclass(kind, ours.Random):
        return not issubclass(kind, ours.SystemRandom)
    is_numpys = str(kind.__module__).startswith("numpy.random")
    return is_numpys and kind.__name__ in ("Generator", "RandomState")
