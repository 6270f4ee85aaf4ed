"""A function connects to no Unix socket by path but those that it was given; each try beside its control.

No other wall does that: neither Landlock, nor the filter of system calls, nor a network of its own. The listeners
are the test's own.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.containment.ordinary import UID
from tests.containment.probing import probe, world

CONNECT = """
import socket
with socket.socket(socket.AF_UNIX) as client:
    client.connect({path!r})
"""


@pytest.fixture(
    params=[False, True] if os.geteuid() == 0 else [True], ids=lambda o: "ordinary" if o else "root"
)
def is_ordinary(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=["/run", "/tmp", "/dev/shm"])
def place(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A directory of the host, in which a listener is."""
    base = str(request.param)
    if not os.access(base, os.W_OK):
        pytest.skip(f"{base} is not writable for the user who runs this test")
    made = Path(tempfile.mkdtemp(prefix="faasd-test-", dir=base))
    made.chmod(0o755)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, made)
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(made / "socket"))
        (made / "socket").chmod(0o777)
        if os.geteuid() == 0:
            os.chown(made / "socket", UID, UID)
        listener.listen(64)
        yield made


def _tried(place: Path, is_ordinary: bool, **given: Any) -> list[dict[str, Any]]:
    with world(is_ordinary=is_ordinary) as made:
        return probe(
            made,
            [{"connect": CONNECT.format(path=str(place / "socket"))}],
            is_ordinary=is_ordinary,
            **given,
        )


def test_a_socket_that_it_was_not_given_is_not_there(place: Path, is_ordinary: bool) -> None:
    """In the host's /run, /tmp and /dev/shm, which services listen in. The control is the wall taken away."""
    assert _tried(place, is_ordinary) == [{"connect": "ENOENT"}]
    assert _tried(place, is_ordinary, without=("mounts",)) == [{"connect": "ok"}]


def test_the_hint_names_the_setting(place: Path, is_ordinary: bool) -> None:
    """Where the host's is not in sight. The control: with that setting the same code connects, as the next test shows."""
    path = str(place / "socket")
    # In the line itself: the error of a connect names no path.
    with world(is_ordinary=is_ordinary) as made:
        (made.root / "code" / "probes.py").write_text(
            f"import socket\ndef try_all(event, context):\n    socket.socket(socket.AF_UNIX).connect({path!r})\n"
        )
        [hint] = probe(made, [{}], is_ordinary=is_ordinary, expected="error", tells="hint")
    assert hint is not None
    wanted = path if str(place).startswith("/run/") else "/run/…"
    assert f'"{wanted}"]' in hint
    assert "local-sockets" in hint


def test_one_that_it_was_given_answers(place: Path, is_ordinary: bool) -> None:
    """`read` is enough: to connect is no writing."""
    assert _tried(place, is_ordinary, read=[str(place)]) == [{"connect": "ok"}]


def test_the_import_sees_no_more_than_an_attempt(place: Path, is_ordinary: bool) -> None:
    """The module's own code runs in the zygote, where the same is covered; the control is what it was given."""
    code = f"""
import socket, errno
client = socket.socket(socket.AF_UNIX)
try:
    client.connect({str(place / "socket")!r})
    found = "connected"
except OSError as error:
    found = errno.errorcode[error.errno]
"""
    step = {"import": "import sys; out = sys.modules['probes'].found"}
    with world(is_ordinary=is_ordinary) as made:
        with open(made.root / "code" / "probes.py", "a") as file:
            file.write(code)
        found = [
            probe(made, [step], is_ordinary=is_ordinary, read=read)[0]["import"]
            for read in ([], [str(place)])
        ]
    assert found == ["ENOENT", "connected"]


def test_an_import_has_temporary_files_of_its_own(is_ordinary: bool) -> None:
    """In memory, no more than tmp_size; no attempt finds them, and none of the host's is among them."""
    code = """
import errno, os, tempfile
with tempfile.NamedTemporaryFile(dir="/tmp") as file:
    file.write(b"x")
names = [os.listdir("/tmp"), os.listdir("/dev/shm")]
open("/tmp/left", "w").close()
try:
    with open("/dev/shm/much", "wb", buffering=0) as file:
        for _ in range(64):
            file.write(b"x" * 65536)
    full = "no"
except OSError as error:
    full = errno.errorcode[error.errno]
"""
    step = {
        "found": "import sys; m = sys.modules['probes']; out = [m.names, m.full, os.listdir('/tmp')]"
    }
    limits = {"tmp_size_bytes": 2 * 2**20}
    with world(is_ordinary=is_ordinary) as made:
        with open(made.root / "code" / "probes.py", "a") as file:
            file.write(code)
        [found] = probe(made, [step], is_ordinary=is_ordinary, limits=limits)
    assert found["found"] == [[[], []], "ENOSPC", []]
