"""The journal's protocol, at a real datagram socket."""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from faasd.linux.journal import JournalSender, encode, is_journal_stream


class Journal:
    """The other end: reads entries as journald does, from datagrams and from sealed files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listen()

    def listen(self) -> None:
        self.path.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.settimeout(20)

    def entry(self) -> dict[str, str]:
        """Return the next entry."""
        data, ancillary, _, _ = self.socket.recvmsg(2**20, socket.CMSG_SPACE(4))
        for _, _, rights in ancillary:
            [fd] = array.array("i", rights)
            assert data == b""
            assert (
                fcntl.fcntl(fd, 1034) == 0xF
            )  # F_GET_SEALS: journald takes no file that may change.
            with os.fdopen(fd, "rb") as file:
                data = file.read()
        return decode(data)


def decode(data: bytes) -> dict[str, str]:
    """Read an entry by the words of the protocol's page."""
    fields = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, is_plain, value = line.partition(b"=")
        if not is_plain:
            [length] = struct.unpack("<Q", rest[:8])
            value, rest = rest[8 : 8 + length], rest[8 + length :]
            assert rest[:1] == b"\n"
            rest = rest[1:]
        fields[name.decode()] = value.decode()
        data = rest
    return fields


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "journal")
    yield made
    made.socket.close()


@pytest.fixture
def sender(journal: Journal) -> Iterator[JournalSender]:
    made = JournalSender(str(journal.path))
    yield made
    made.close()


def test_what_is_sent_is_what_the_journal_reads(journal: Journal, sender: JournalSender) -> None:
    """Also text of several lines, an equals sign, and what is no UTF-8."""
    fields = {"MESSAGE": "one\ntwo = 2\n", "PRIORITY": "6", "FAASD_PATH": "a=b\udcff"}
    sender.send(encode(fields))
    assert journal.entry() == {**fields, "FAASD_PATH": "a=b\\udcff"}


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("FAASD_in-flight", "FAASD_IN_FLIGHT"),
        ("_PID", "PID"),
        ("ü1", "FIELD"),
        ("A" * 99, "A" * 64),
    ],
)
def test_names_are_made_to_fit_and_can_claim_nothing(name: str, label: str) -> None:
    """Journald drops what it does not like, and trusts what begins with an underscore."""
    assert list(decode(encode({name: "x"}))) == [label]


def test_an_entry_too_large_for_a_datagram_arrives_whole(
    journal: Journal, sender: JournalSender
) -> None:
    """A traceback of a deep recursion, say; by a sealed file in memory."""
    text = "x" * 900_000 + "\nend"
    sender.send(encode({"MESSAGE": text}))
    assert journal.entry() == {"MESSAGE": text}


def test_a_journal_that_was_started_anew_is_found_again(
    journal: Journal, sender: JournalSender
) -> None:
    """`systemctl restart systemd-journald` must not silence the daemon."""
    sender.send(encode({"MESSAGE": "before"}))
    assert journal.entry() == {"MESSAGE": "before"}
    journal.socket.close()
    with pytest.raises(OSError, match=r"refused|No such"):
        sender.send(encode({"MESSAGE": "while it is away"}))
    journal.listen()
    sender.send(encode({"MESSAGE": "after"}))
    assert journal.entry() == {"MESSAGE": "after"}


def test_a_busy_journal_holds_nobody_up(journal: Journal, sender: JournalSender) -> None:
    """Its queue is short; who sends decides what becomes of the rest."""

    def send_many() -> None:
        for _ in range(100_000):
            sender.send(encode({"MESSAGE": "x"}))

    with pytest.raises(BlockingIOError):
        send_many()
    assert journal.entry() == {"MESSAGE": "x"}


def test_where_no_journal_listens_there_is_no_sender(tmp_path: Path) -> None:
    """A container without systemd that inherited the variable."""
    with pytest.raises(FileNotFoundError):
        JournalSender(str(tmp_path / "none"))


def test_only_the_very_descriptor_that_systemd_names_is_the_journal(tmp_path: Path) -> None:
    """Whoever writes `2>file` into ExecStart wants a file."""
    with (tmp_path / "file").open("w") as file:
        found = os.fstat(file.fileno())
        assert is_journal_stream(f"{found.st_dev}:{found.st_ino}", file.fileno())
        assert not is_journal_stream(f"{found.st_dev}:{found.st_ino + 1}", file.fileno())
        assert not is_journal_stream("", file.fileno())
    assert not is_journal_stream("1:1", 9999)
