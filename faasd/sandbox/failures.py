"""What a sandbox says that the kernel refused it, read from its report and from its last lines of output: pure.

Anybody in the sandbox may have written either, so both are bounded and validated, and believed no further
than a hint goes.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["NAME_LOOKUP", "Failure", "failures_in_lines", "failures_in_report"]

#: Not an errno: a host's name could not be looked up.
NAME_LOOKUP = -1
_FAILURES_MAX = 5
_PATH_CHARS_MAX = 1024
_LINE_CHARS_MAX = 1000
_LINES_MAX = 20

#: Functions of the standard library, and words of messages, that tell what was to be done with a path.
_WRITES = re.compile(
    r"""\b(mkdir|makedirs|unlink|remove|rmtree|rmdir|rename|replace|link|symlink|link_to|symlink_to|hardlink_to
    |touch|write_text|write_bytes|copyfile|copytree|move|truncate|chmod|chown|lchown|utime|setxattr|mkfifo|mknod
    |mkstemp|mkdtemp|_mkstemp_inner|create|creating|write|writing|rm|delete|mktemp|copyfileobj)\b
    |open\([^)]*,\s*(mode\s*=\s*)?['"][rb+t]*[wax+][wax+bt]*['"]""",
    re.VERBOSE,
)
_READS = re.compile(
    r"""\b(read_text|read_bytes|iterdir|scandir|listdir|walk|glob|reading|read|opendir)\b
    |\bopen\(\s*[^,()]+\)|\bopen\([^)]*,\s*(mode\s*=\s*)?['"]r[bt]*['"]
    |\bopen\ directory\b|^(cat|ls|head|tail|grep|find|less|wc|sort|diff|sha256sum|md5sum|source|\.):""",
    re.VERBOSE,
)
_FORKS = re.compile(r"\b(v?fork\w*|_execute_child|posix_spawnp?|_launch|clone|start_new_thread)\b")
_CONNECTS = re.compile(
    # The module's name alone is none: `socket.sethostname` connects to nobody.
    r"\b(connect\w*|create_connection|bind|listen|socket(?!\.)|sendto|sendmsg|create_server|getaddrinfo)\b"
    r"|socket\.socket\b"
)
_SIGNALS = re.compile(r"\b(kill|killpg|pidfd_send_signal|send_signal|terminate)\b")


@dataclass(frozen=True)
class Failure:
    """One thing that the kernel refused. `needs` is read or write, where that can be told."""

    errno: int
    path: str | None = None
    other_path: str | None = None  # Of a rename or link.
    needs: str | None = None
    call: str = ""  # The line or words that made it, with the names of the functions around.
    line: str = ""  # The line alone, for people.
    address: str | None = None

    @property
    def is_fork(self) -> bool:
        """Whether a process or thread was to be made."""
        return _FORKS.search(self.call) is not None

    @property
    def is_network(self) -> bool:
        """Whether a socket was involved."""
        return self.address is not None or _CONNECTS.search(self.call) is not None

    @property
    def is_signal(self) -> bool:
        """Whether a process was to be signalled."""
        return _SIGNALS.search(self.call) is not None


def failures_in_report(error: Any) -> list[Failure]:
    """Read the OSErrors of a report's error, innermost cause last."""
    listed = error.get("os_errors") if isinstance(error, dict) else None
    if not isinstance(listed, list):
        return []
    found = [_failure(one) for one in listed[:_FAILURES_MAX] if isinstance(one, dict)]
    return [one for one in found if one is not None]


def _failure(record: dict[str, Any]) -> Failure | None:
    number = record.get("errno")
    if record.get("is_name_lookup") is True:
        number = NAME_LOOKUP
    if not isinstance(number, int):
        return None
    frames, line = record.get("frames"), record.get("line")
    named = [str(name)[:100] for name in frames[:4]] if isinstance(frames, list) else []
    line = str(line)[:200] if isinstance(line, str) else ""
    paths = record.get("paths")
    told = [path for path in map(_path, paths[:2]) if path] if isinstance(paths, list) else []
    address = record.get("address")
    return Failure(
        number,
        told[0] if told else None,
        told[1] if len(told) > 1 else None,
        _needs(" ".join(named[-2:]), line),
        " ".join([*named, line]),
        _printable(line.strip()),
        _printable(address[:200]) if isinstance(address, str) and address else None,
    )


def _path(value: object) -> str | None:
    """Return an absolute path that can be shown; None for what is none."""
    if not isinstance(value, str) or not value.startswith("/") or len(value) > _PATH_CHARS_MAX:
        return None
    return value


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "�" for each in text)


def _needs(*texts: str) -> str | None:
    if any(_WRITES.search(text) for text in texts):
        return "write"
    return "read" if any(_READS.search(text) for text in texts) else None


_PHRASES: Sequence[tuple[re.Pattern[str], int]] = [
    (re.compile(text, re.IGNORECASE), number)
    for text, number in (
        # mount(8) has words of its own for EPERM, the same as others have for a path that is closed.
        (r"^u?mount: .*(permission denied|must be superuser)", errno.EPERM),
        (r"permission denied|\bEACCES\b", errno.EACCES),
        (r"no such file or directory|directory nonexistent|\bENOENT\b", errno.ENOENT),
        (r"operation not permitted|\bEPERM\b", errno.EPERM),
        (r"read-only file ?system|\bEROFS\b", errno.EROFS),
        (r"no space left on device|\bENOSPC\b", errno.ENOSPC),
        (r"disk quota exceeded|\bEDQUOT\b", errno.EDQUOT),
        (r"file too large|file size limit exceeded|\bEFBIG\b", errno.EFBIG),
        (r"(invalid )?cross-device link|\bEXDEV\b", errno.EXDEV),
        (r"network is unreachable|\bENETUNREACH\b", errno.ENETUNREACH),
        (r"connection refused|\bECONNREFUSED\b", errno.ECONNREFUSED),
        (r"name resolution|could not resolve|\bEAI_AGAIN\b|\bENOTFOUND\b", NAME_LOOKUP),
        (r"cannot fork|can't fork|fork: |can't start new thread|unable to create.*thread", errno.EAGAIN),
        (r"too many open files|\bEMFILE\b", errno.EMFILE),
    )
]  # fmt: skip
_QUOTED = re.compile(r"""(?:^|[\s:(=,])['"\u2018`]([^'"\u2019`]{1,1024})['"\u2019`]""")
_ABSOLUTE = re.compile(r"""(?:^|[\s:(=,])(/[^\s:,'"\u2019`)]{1,1024})""")
#: What a shell says of a name without a slash: `sh: 1: cannot create out.txt: Permission denied`.
_CREATED = re.compile(r"""cannot (?:create|touch|open)\s+([^\s:'"/][^\s:]{0,255}):""")


def failures_in_lines(lines: Iterable[str], directory: str) -> list[Failure]:
    """Find refusals in the last lines of standard error, newest first; names are relative to `directory`."""
    found = []
    for line in list(lines)[-_LINES_MAX:][::-1]:
        failure = _in_line(line[:_LINE_CHARS_MAX].strip(), directory)
        if failure is not None:
            found.append(failure)
        if len(found) == _FAILURES_MAX:
            break
    return found


def _in_line(line: str, directory: str) -> Failure | None:
    number = next((number for phrase, number in _PHRASES if phrase.search(line)), None)
    if number is None:
        return None
    paths = [path for path in _QUOTED.findall(line) if "/" in path] or _ABSOLUTE.findall(line)
    if not paths:
        paths = _CREATED.findall(line)
    absolute = [
        path if path.startswith("/") else f"{directory}/{path.removeprefix('./')}" for path in paths
    ]
    told = [path for path in map(_path, absolute) if path]
    call = "fork" if number == errno.EAGAIN else line
    return Failure(
        number,
        told[0] if told else None,
        told[1] if len(told) > 1 else None,
        _needs(_without(line, paths)),
        call,
        line,
    )


def _without(line: str, paths: Sequence[str]) -> str:
    """Return a message without the paths in it, whose names tell nothing of what was to be done."""
    for path in paths:
        line = line.replace(path, "")
    return line
