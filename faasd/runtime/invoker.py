"""Calls the handler: event in, one report out. The process of a sandbox that everything else protects.

It closes itself in, and then waits for the daemon, which writes two frames for each attempt: a header (what the
context needs, the attempt's environment) and the event. Back go `log`, `progress`, `enqueue` and `invoke` frames while it runs, and at the end one of: `result`,
followed by the JSON of the result; `error`; `exit` (sys.exit was called); `init-error`; `failed` when a wall could
not be built. After a `result` or an `error` it waits for the next attempt, if the header said that it stays.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import stat
import sys
import time
import types

# Not through `signal`, which makes enums of all that was set before, 64 blocked signals among it.
from _signal import SIG_IGN  # type: ignore[import-not-found]
from _signal import signal as handle_signal
from _socket import AF_UNIX, SOCK_STREAM
from _socket import socket as Socket  # noqa: N812 - see faasd/wire.py.
from _thread import RLock
from collections import deque

# By name: to look a module's attribute up touches pages that a fork then copies.
from os import O_RDONLY, close, dup2, getpid
from os import open as open_fd
from typing import Any, Callable, NoReturn

from faasd import wire
from faasd.model.context import ClientContext, Context
from faasd.model.event import decode_json, encode_json
from faasd.model.units import format_size
from faasd.runtime import command, containment, handler_loader, report, secrets_in_memory, snapshot
from faasd.runtime.log_capture import capture_logging
from faasd.runtime.soft_stop import SoftStop

__all__ = ["Channel", "run"]

_END_PATIENCE_MS = 1000
#: How often, and how many times, it is looked whether output was fetched, and how a pipe is asked.
_FETCH_LOOK_S = 0.0005
_FETCH_LOOKS = 4000
_FIONREAD = 0x541B
_RESULT = wire.encode({"op": "result"})
#: What a spare reads while it waits. Each attempt sets all of these variables.
_REHEARSED_HEADER = (
    b'{"env":{"FAASD_INVOCATION_ID":"","FAASD_ATTEMPT":"","FAASD_TRIGGER":"","FAASD_DEADLINE":""},"function":"x",'
    b'"trigger":"x","invocation_id":"x","attempt":1,"scheduled_for":null,"remaining_s":1.0,"memory_bytes":1,"secrets":{}}'
)
_HEADER_BYTES_MAX = 2 * 2**20  # Secrets are the most of it; see secret_files.SECRETS_BYTES_MAX.


class Channel:
    """The sandbox's end of its channel; safe to use from several threads, useless in forked children."""

    def __init__(self, fd: int, reply_bytes_max: int) -> None:
        # The kernel need not be asked for what we know.
        self._socket = Socket(AF_UNIX, SOCK_STREAM, 0, fd)
        self._socket.settimeout(None)  # Whatever `socket.setdefaulttimeout` the module has called.
        self._frames = wire.Receiver(self._socket)
        self._attempts: deque[tuple[dict[str, Any], bytes]] = deque()  # Sent together, not begun.
        self._owner_pid = getpid()
        self._sending = RLock()
        self._asking = RLock()
        self._reply_bytes_max = reply_bytes_max
        self._is_open = False  # Whether an attempt runs: what threads say between two is nobody's.

    def open(self) -> None:
        """Let the handler speak: its attempt begins."""
        self._is_open = True

    def say(self, value: dict[str, Any]) -> bool:
        """Write one frame of the handler's; False, and nothing is written, when its attempt is over."""
        with self._sending:
            if self._is_open:
                self._socket.sendall(wire.encode(value))
            return self._is_open

    def send(self, value: dict[str, Any]) -> None:
        """Write the frame that ends the attempt."""
        with self._sending:
            self._is_open = False
            self._socket.sendall(wire.encode(value))

    def send_result(self, text: str) -> None:
        """Write the two frames of a result."""
        with self._sending:
            self._is_open = False
            self._socket.sendall(_RESULT + wire.encode_raw(text.encode()))

    def notify(self, op: str, fields: dict[str, Any]) -> None:
        """Tell the daemon something (context.progress)."""
        self._check_owner(op)
        encode_json(fields)  # Refuses what JSON cannot hold before anything is written.
        self.say({**fields, "op": op})

    def request(self, op: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Ask the daemon something and wait for its answer (context.enqueue, context.invoke)."""
        self._check_owner(op)
        encode_json(fields)
        with self._asking:
            if not self.say({**fields, "op": op}):
                raise ConnectionError(f"context.{op} came after the attempt's end")
            reply = self._frames.receive(self._reply_bytes_max)
        if reply is None:
            raise ConnectionError(f"the daemon has gone while context.{op} waited for its answer")
        return wire.decode(reply)

    def receive_attempt(self) -> tuple[dict[str, Any], bytes]:
        """Wait for a header and its event; exits when the daemon has gone, or wants no more of us.

        Those that were sent together are read together: what comes after them may be an answer to one of them.
        """
        if not self._attempts:
            goes_on = True
            with self._asking:  # A thread that waits for an answer gets that first.
                header: dict[str, Any] = {}
                while goes_on:
                    header = _whole(wire.decode(self._receive(_HEADER_BYTES_MAX)), header)
                    # A batch may be larger than any reply.
                    self._attempts.append((header, self._receive(header["event_bytes"])))
                    goes_on = header["goes_on"]
        return self._attempts.popleft()

    def wait_for_end(self) -> None:
        """Wait to be killed, which is a faster end than one that others have to hear of; but not for long."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.poll(_END_PATIENCE_MS)

    def _receive(self, bytes_max: int) -> bytes:
        text = self._frames.receive(bytes_max)
        if text is None:
            os._exit(1)
        return text

    def _check_owner(self, op: str) -> None:
        if getpid() != self._owner_pid:
            raise RuntimeError(
                f"context.{op} works only in the handler's own process, not in a forked one"
            )


def _whole(header: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Return a header with what it leaves to the one before it; see sandbox/request.py."""
    if "is_like_before" not in header:
        return header
    names = {
        "FAASD_INVOCATION_ID": header["invocation_id"],
        "FAASD_ATTEMPT": str(header["attempt"]),
    }
    return {**before, **header, "env": {**before["env"], **names}}


def run(policy: dict[str, Any], channel_fd: int, stdout: int, stderr: int) -> NoReturn:
    """Run attempts in this process, most often one, and exit; every signal is still blocked. Never returns."""
    code = 70  # Could not even report.
    try:
        dup2(channel_fd, policy["channel_at"], False)
        close(channel_fd)
        channel = Channel(policy["channel_at"], policy["frame_bytes_max"])
        _take_stdio(stdout, stderr)
        failure: Exception | None = None
        secret_fds: dict[str, int] = {}
        try:
            snapshot.reseed()
            for name, value in policy["own_env"].items():
                os.environ[name] = value
            secret_fds = _contain(policy)
        except (OSError, ValueError) as error:
            failure = error
        if policy["rehearses"] and policy["module"] is not None:
            _rehearse(policy, channel)
        header, event_text = channel.receive_attempt()
        if failure is None:
            failure = _begin(header, secret_fds)
        if failure is not None:
            record = report.error_record(failure, f"cannot close the sandbox in: {failure}")
            channel.send({"op": "failed", "error": record})
            os._exit(0)
        if policy["module"] is None:
            command.run(header, event_text, channel.send)
        else:
            _serve(policy, channel, header, event_text)
        code = 0
    except OSError as error:
        # Usually a handler that closed its channel. What happened shows in its log and exit code.
        _say(f"faasd: cannot report how the handler ended: {error}")
    finally:
        _flush()
        os._exit(code)


def _rehearse(policy: dict[str, Any], channel: Channel) -> None:
    """Go through what every attempt does, while nobody waits for it, so that it touches the pages it will need.

    A fork shares its memory until it is written to, and each first write to a page costs microseconds.
    """
    header = wire.decode(_REHEARSED_HEADER)
    for name, value in header["env"].items():
        os.environ[name] = value
    handle_signal(signal.SIGTERM, SIG_IGN)
    try:
        handler_loader.resolve(policy["module"], policy["attribute"])
    except report.InitFailed:
        return  # The zygote was made for another handler of the module; the attempt will say so.
    _context(header, channel, {})
    decode_json('{"a": [1, null, true, "x"]}')
    wire.encode_raw(_result({"a": [1.0, None]}, 2**20)["text"].encode())
    _flush()


def _contain(policy: dict[str, Any]) -> dict[str, int]:
    """Close this process in, with room for its secrets on this side of the walls; returns that by name."""
    # Before, because the highest descriptor is limited then.
    is_command = policy["module"] is None
    fds = secrets_in_memory.reserve(policy["secrets"], is_command=is_command)
    containment.contain_handler(policy)
    return fds


def _begin(header: dict[str, Any], secret_fds: dict[str, int]) -> Exception | None:
    """Take what the first attempt brings: its environment, and the secrets. Returns why that failed."""
    secrets = header["secrets"] = secrets_in_memory.values(header)
    try:
        for name, value in header["env"].items():
            os.environ[name] = value
        if secret_fds:
            secrets_in_memory.store(secrets, secret_fds)
            secrets_in_memory.link(header["env"]["CREDENTIALS_DIRECTORY"], secret_fds)
    except (OSError, ValueError) as error:
        return error
    return None


def _serve(
    policy: dict[str, Any], channel: Channel, header: dict[str, Any], event_text: bytes
) -> None:
    """Run the handler for this attempt, and for others while the header says that the sandbox stays."""
    attempts = _Attempts(policy, channel, header["secrets"])
    while attempts.run(header, event_text) and header["stays"]:
        previous = header["env"]
        header, event_text = channel.receive_attempt()
        env = header["env"]
        for name in previous.keys() - env.keys():
            os.environ.pop(name, None)
        for name, value in env.items():  # To set one costs more than to look.
            if os.environ.get(name) != value:
                os.environ[name] = value
    if header["is_awaited"]:
        channel.wait_for_end()


class _Attempts:
    """Calls the handler for one attempt after another, and sends how each went."""

    def __init__(self, policy: dict[str, Any], channel: Channel, secrets: dict[str, bytes]) -> None:
        self._policy = policy
        self._channel = channel
        self._secrets = secrets
        self._owner_pid = getpid()
        self._soft_stop = SoftStop()

    def run(self, header: dict[str, Any], event_text: bytes) -> bool:
        """Run one attempt; returns whether this process may run another one after it."""
        soft_stop = self._soft_stop
        self._channel.open()
        capture_logging(self._channel.say)
        if self._policy["serves_many"]:
            containment.limit_cpu_time(self._policy)
        try:
            soft_stop.arm()
            snapshot.run_after_restore()
            handler = handler_loader.resolve(self._policy["module"], self._policy["attribute"])
            context = _context(header, self._channel, self._secrets)
            value = _call(handler, decode_json(event_text.decode()), context, soft_stop)
            soft_stop.disarm()
            frame = _result(value, self._policy["payload_bytes_max"])
        except report.InitFailed as failure:
            frame = {"op": "init-error", "error": failure.error}
        except SystemExit as error:
            frame = {"op": "exit", "code": repr(error.code), "error": report.error_record(error)}
        except BaseException as error:  # noqa: BLE001 - around the handler: whatever it raises is its report.
            frame = {"op": "error", "error": report.error_record(error)}
        soft_stop.disarm()
        if getpid() != self._owner_pid:
            _flush()
            os._exit(0)  # A child that the handler let return: the report is not its to make.
        _flush()  # What was printed comes before the report,
        if header["goes_on"]:
            _wait_until_fetched()  # and before what the next one prints.
        if "text" in frame:
            self._channel.send_result(frame["text"])
            return not soft_stop.has_come
        self._channel.send(frame)
        return bool(frame["op"] == "error") and not soft_stop.has_come


def _result(value: Any, bytes_max: int) -> dict[str, Any]:
    """Return the frame of a return value: its JSON, or why it has none."""
    try:
        text = encode_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        found = report.unencodable(value)
        where, what = found if found is not None else ("result", str(error))
        message = f"the handler returned what JSON cannot hold: {where} is {what}"
        kind = type(error).__name__
        return {"op": "error", "error": {"type": kind, "message": message, "stack": []}}
    if len(text) > bytes_max:
        size, limit = format_size(len(text)), format_size(bytes_max)
        message = f"the result is {size} of JSON, over the payload_limit of {limit}"
        return {"op": "error", "error": {"type": "ResultTooLarge", "message": message, "stack": []}}
    return {"op": "result", "text": text}


def _call(handler: Callable[..., Any], event: Any, context: Context, soft_stop: SoftStop) -> Any:
    value = handler(event, context)
    if isinstance(value, types.CoroutineType):
        import asyncio  # Already there when the handler is declared async; see handler_loader.

        return asyncio.run(_await(value, soft_stop))
    return value


async def _await(coroutine: Any, soft_stop: SoftStop) -> Any:
    import asyncio

    # An exception raised from a signal handler would end the loop, not the coroutine; so the soft
    # signal cancels the task, and the handler sees asyncio.CancelledError.
    task = asyncio.ensure_future(coroutine)

    def cancel() -> None:
        soft_stop.has_come = True
        task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, cancel)
    soft_stop.adopt()
    try:
        return await task
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
        soft_stop.disarm()


def _context(header: dict[str, Any], channel: Channel, secrets: dict[str, bytes]) -> Context:
    client = header.get("client_context")
    return Context(
        header["function"],
        invocation_id=header["invocation_id"],
        attempt=header["attempt"],
        trigger=header["trigger"],
        scheduled_for=header["scheduled_for"],
        timeout_s=header["remaining_s"],
        memory_bytes=header["memory_bytes"],
        client_context=ClientContext(**client) if client else None,
        secrets=secrets,
        services=channel,
    )


def _take_stdio(stdout: int, stderr: int) -> None:
    null = open_fd("/dev/null", O_RDONLY)
    for fd, standard in ((null, 0), (stdout, 1), (stderr, 2)):
        dup2(fd, standard)  # Inheritable, unlike the originals.
        close(fd)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # The handler closed or replaced it.


def _wait_until_fetched() -> None:
    """Wait until the daemon has what was printed: the next attempt begins without its say, with the same pipes."""
    room = bytearray(4)
    for fd in (1, 2):
        try:
            for _ in range(_FETCH_LOOKS):
                fcntl.ioctl(fd, _FIONREAD, room)
                if not any(room) or not stat.S_ISFIFO(os.fstat(fd).st_mode):
                    break
                time.sleep(_FETCH_LOOK_S)
        except OSError:
            pass  # The handler closed it.


def _say(text: str) -> None:
    try:
        os.write(2, text.encode("utf-8", "backslashreplace") + b"\n")
    except OSError:
        pass  # It closed that one as well.
