"""The zygote: it has imported one function's module and forks a fresh sandbox for every attempt.

Frames from the daemon: {"op": "attempt", "id", "policy"} with [channel, stdout, stderr, status, cgroups …]; {"op": "kill", "id"}.
Frames to it: {"op": "ready", "init_s", "memory_bytes", "alone"} or {"op": "init-error", "error"} once, {"op": "failed",
"message", "where", "is_disk_full"} when we are to blame; {"op": "forked", "id"} with a pidfd; {"op": "fork-failed", "id", "message"}; {"op": "ended", "id", "cpu_s",
"memory_bytes"} after the sandbox is reaped and, where there are no PID namespaces, all that it left is gone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import sys
import time
import traceback
from _socket import socket as Socket  # noqa: N812 - see faasd/wire.py.
from collections import deque
from typing import Any, NoReturn

from faasd import wire
from faasd.linux import clone, proc_tree, process
from faasd.runtime import (
    containment,
    handler_loader,
    left_open,
    report,
    sandbox_init,
    secrets_in_memory,
    snapshot,
)
from faasd.runtime.log_capture import capture_logging
from faasd.runtime.module_path import module_path
from faasd.runtime.own_names import OwnNamesWatch
from faasd.runtime.slots import Slots

__all__ = ["Zygote", "receive_with_fds", "run"]

_NAME = "faasd-zygote"
_CHANNEL_FD_MIN = 100
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def run(
    policy: dict[str, Any], control: Socket, stdout: int, stderr: int, lifeline: int
) -> NoReturn:
    """Be a zygote until the daemon closes `control`; never returns."""
    code = 1
    try:
        _begin(policy, stdout, stderr, lifeline)
        wire.send(control, _import_handler(policy))
        _end_of_output()
        Zygote(policy, control).serve()
        code = 0
    except report.InitFailed as failure:
        wire.send(control, {"op": "init-error", "error": failure.error})
    except (BrokenPipeError, ConnectionResetError):
        pass  # The daemon has let go of us.
    except Exception as error:  # noqa: BLE001 - our own fault or the host's: a wall could not be built.
        where = traceback.format_exc(limit=-3)[-4096:]
        message = f"{type(error).__name__}: {error}"
        is_disk_full = isinstance(error, OSError) and error.errno in _DISK_FULL
        _send_last(
            control,
            {"op": "failed", "message": message, "where": where, "is_disk_full": is_disk_full},
        )
    finally:
        os._exit(code)


def _send_last(control: Socket, frame: dict[str, Any]) -> None:
    try:
        wire.send(control, frame)
    except OSError:
        pass  # The daemon has gone; nobody is left to tell.


def _begin(policy: dict[str, Any], stdout: int, stderr: int, lifeline: int) -> None:
    process.die_with_parent()
    if process.has_hung_up(lifeline):
        os._exit(1)
    os.close(lifeline)
    process.set_name(_NAME)
    process.become_subreaper()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.close(stdout)
    os.close(stderr)
    # New ones: those of the start were made for what these descriptors were then. Line by line, so that
    # what was printed before a crash is not lost.
    sys.stdout = open(1, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(policy["env"])
    containment.contain_zygote(policy)
    sys.path[:0] = module_path(policy["code_dir"], policy["layers"])
    capture_logging()


def _import_handler(policy: dict[str, Any]) -> dict[str, Any]:
    """Import the module once; returns the frame that says so. Raises InitFailed."""
    begun = time.monotonic()
    alone = ""
    if policy["module"] is not None:
        ours = left_open.descriptors()
        if policy["is_shared"]:
            alone = _import_watched(policy)
        else:
            _import(policy)
    handler_loader.settle_for_forking()
    if policy["module"] is not None:
        _warn([*left_open.warnings(ours, policy["code_dir"]), *left_open.native_threads()])
        if policy["is_shared"] and left_open.is_anything_left(ours):
            alone = alone or "left-open"
    return {
        "op": "ready",
        "alone": alone,
        "init_s": time.monotonic() - begun,
        "memory_bytes": proc_tree.memory_bytes([_own_pid()]),
    }


def _import(policy: dict[str, Any]) -> None:
    handler_loader.import_module(policy["module"], policy["code_dir"])
    handler_loader.resolve(policy["module"], policy["attribute"])
    snapshot.run_before_snapshot()


def _import_watched(policy: dict[str, Any]) -> str:
    """Import for several functions; returns why it has to be for this one alone, or nothing. Raises InitFailed."""
    watch = OwnNamesWatch(policy["own_names"])
    with watch:
        _import(policy)
    return watch.reason


def _warn(warnings: list[str]) -> None:
    """Say it where the module's own output goes: in the function's log, once for each zygote."""
    for text in warnings:
        try:
            os.write(2, f"faasd: warning: {text}\n".encode("utf-8", "backslashreplace"))
        except OSError:
            pass  # The module closed it.


def _own_pid() -> int:
    # As /proc has it, which may count in an outer PID namespace.
    return int(os.readlink("/proc/self"))


def _end_of_output() -> None:
    """Let go of the pipes that took the import's output, so that the daemon sees their end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # The module closed or replaced it.
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.close(null)


class Zygote:
    """Forks sandboxes on request, reaps them and tells what they used."""

    def __init__(self, policy: dict[str, Any], control: Socket) -> None:
        self._policy = policy
        self._control = control
        self._sandboxes: dict[int, tuple[int, int]] = {}  # pidfd → (id, pid)
        self._slots: Slots | None = policy["file_walls"].slots
        self._slot_of: dict[
            int, int
        ] = {}  # pidfd of a sandbox, or of who cleans up after it → slot
        self._cleaners: dict[int, int] = {}  # pidfd → pid
        self._waiting: deque[tuple[dict[str, Any], list[int]]] = deque()  # For a slot.
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._prepared = {policy["attribute"]}  # Handlers whose like has been asked for.
        self._lifeline = os.pipe()
        self._has_pid_namespace = "pid" in policy["namespaces"]
        self._namespaces = containment.namespaces_of_attempts(policy)
        # What the module started while it was imported is not an orphan of some sandbox.
        self._helpers = set() if self._has_pid_namespace else proc_tree.descendants([os.getpid()])
        # A number that every sandbox has its channel at: taken here, as there it costs more to find one. Handlers
        # that close the low descriptors, as daemons do, keep it.
        self._channel_at = fcntl.fcntl(self._lifeline[0], fcntl.F_DUPFD_CLOEXEC, _CHANNEL_FD_MIN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())

    def serve(self) -> None:
        """Work until the daemon closes its end."""
        while True:
            for fd, _ in self._poll.poll():
                if fd in self._cleaners:
                    self._reap_cleaner(fd)
                    continue
                if fd != self._control.fileno():
                    self._reap(fd)
                    continue
                request, fds = receive_with_fds(self._control)
                if request is None:
                    return
                self._answer(request, fds)

    def _answer(self, request: dict[str, Any], fds: list[int]) -> None:
        if request["op"] == "attempt":
            self._fork(request, fds)
        elif request["op"] == "kill":
            self._kill(request["id"])

    def _fork(self, request: dict[str, Any], fds: list[int]) -> None:
        policy = {**self._policy, **request["policy"], "namespaces": self._namespaces}
        if policy["secrets"]:
            secrets_in_memory.prepare()
        slot = self._slots.take() if self._slots is not None else 0
        if slot is None:
            self._waiting.append((request, fds))  # One is being cleaned at this moment.
            return
        policy["slot"] = slot
        if policy["attribute"] not in self._prepared:
            self._prepared.add(policy["attribute"])
            handler_loader.prepare_another(policy["module"], policy["attribute"])
        try:
            # Inherited by the child, in which the call itself would cost page faults.
            process.set_name("faasd-sandbox")
            pid, pidfd = containment.fork(policy, fds[4:], is_plain=True)
        except OSError as error:
            self._free(slot)
            wire.send(
                self._control, {"op": "fork-failed", "id": request["id"], "message": str(error)}
            )
        else:
            if pid == 0:
                self._become_sandbox(policy, fds)
            self._sandboxes[pidfd] = (request["id"], pid)
            self._slot_of[pidfd] = slot
            self._poll.register(pidfd, select.POLLIN)
            # Written by hand, this frame and that of the end: a JSON encoder touches tens of pages, of which
            # each is a copy while a sandbox shares it.
            text = b'{"op":"forked","id":%d,"fds":1}' % request["id"]
            wire.send_text(self._control, text, pidfd)
        for fd in fds:
            os.close(fd)
        process.set_name(_NAME)

    def _become_sandbox(self, policy: dict[str, Any], fds: list[int]) -> NoReturn:
        os.close(self._control.fileno())
        for pidfd in (*self._sandboxes, *self._cleaners):
            os.close(pidfd)
        for _, waiting in self._waiting:
            for fd in waiting:
                os.close(fd)
        for fd in fds[4:]:
            os.close(fd)
        lifeline, held = self._lifeline
        os.close(held)
        channel, stdout, stderr, status = fds[:4]
        policy["channel_at"] = self._channel_at
        sandbox_init.run(policy, channel, stdout, stderr, status, lifeline)

    def _kill(self, identity: int) -> None:
        for pidfd, (known, _) in self._sandboxes.items():
            if known == identity:
                process.send_signal(pidfd, signal.SIGKILL)

    def _reap(self, pidfd: int) -> None:
        identity, pid = self._sandboxes.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        _, _, usage = os.wait4(pid, 0)
        if not self._has_pid_namespace:
            keep = self._helpers.union(pid for _, pid in self._sandboxes.values())
            proc_tree.end_all([os.getpid()], keep)
        slot = self._slot_of.pop(pidfd)
        is_clean = self._clean_now(slot)
        cpu_s, memory_bytes = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
        text = b'{"op":"ended","id":%d,"cpu_s":%f,"memory_bytes":%d}'
        wire.send_text(self._control, text % (identity, cpu_s, memory_bytes))
        if is_clean:
            self._free(slot)
        else:
            self._clean_later(slot)

    def _clean_now(self, slot: int) -> bool:
        """Make a slot as new, if that takes no time worth mentioning."""
        if self._slots is None:
            return True
        if not self._slots.is_light(slot):
            return False
        self._slots.clean(slot)
        return True

    def _clean_later(self, slot: int) -> None:
        """Have a child make a slot as new, so that what an attempt heaped up keeps nobody waiting."""
        assert self._slots is not None
        pid, pidfd = clone.fork(is_plain=True)
        if pid == 0:
            try:
                self._slots.clean(slot)
                os._exit(0)
            finally:
                os._exit(1)
        self._cleaners[pidfd] = pid
        self._slot_of[pidfd] = slot
        self._poll.register(pidfd, select.POLLIN)

    def _reap_cleaner(self, pidfd: int) -> None:
        slot = self._slot_of.pop(pidfd)
        pid = self._cleaners.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        if status != 0:
            raise OSError("a private directory could not be emptied")
        self._free(slot)

    def _free(self, slot: int) -> None:
        if self._slots is None:
            return
        self._slots.free(slot)
        if self._waiting:
            self._fork(*self._waiting.popleft())


def receive_with_fds(control: Socket) -> tuple[dict[str, Any] | None, list[int]]:
    """Read one frame from the daemon with the descriptors it brings; (None, []) at the end."""
    text, fds = wire.receive_with_fds(control, wire.CONTROL_BYTES_MAX)
    return (wire.decode(text) if text is not None else None), fds
