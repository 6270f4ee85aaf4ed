"""Frames survive any cutting, and hostile ones are refused before they cost memory."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from faasd import wire
from faasd.errors import WireError


@pytest.mark.parametrize("size", [1, 3, 5, 1000])
def test_frames_do_not_depend_on_how_the_bytes_arrive(size: int) -> None:
    """A stream socket keeps no boundaries."""
    data = wire.encode({"a": 1}) + wire.encode_raw(b"[]") + wire.encode({})
    reader = wire.FrameReader(100)
    frames = [
        frame for at in range(0, len(data), size) for frame in reader.feed(data[at : at + size])
    ]
    assert frames == [b'{"a":1}', b"[]", b"{}"]
    assert not reader.is_within_frame


def test_a_frame_over_the_limit_is_refused_from_its_length_alone() -> None:
    """Nobody waits for four gigabytes."""
    with pytest.raises(WireError, match="over the limit of 100"):
        wire.FrameReader(100).feed(b"\xff\xff\xff\xff")


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[1]", b"\xff", b"[" * 200_000, b" {}", b"{} ", b"{}{}"]
)
def test_what_is_no_json_object_is_refused(text: bytes) -> None:
    """With our error, whatever json raises."""
    with pytest.raises(WireError):
        wire.decode(text)


def test_descriptors_travel_beside_their_frame() -> None:
    """And a promise of more than came is refused."""
    ours, theirs = socket.socketpair()
    read, write = os.pipe()
    with ours, theirs:
        wire.send(ours, {"fds": 1}, [write])
        os.close(write)
        reader = wire.FrameReader(100)
        assert reader.receive(theirs) == [b'{"fds":1}']
        [received] = reader.take_fds(1)
        assert not os.get_inheritable(received)
        os.write(received, b"x")
        os.close(received)
        assert os.read(read, 1) == b"x"
        with pytest.raises(WireError, match="promised 1"):
            reader.take_fds(1)
    os.close(read)


def test_a_blocking_reader_takes_one_frame_and_knows_the_end() -> None:
    """Half a frame is an error, no frame is the end."""
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            ours.sendall(wire.encode([1]) + wire.encode([2]) + b"\x00\x00")
        assert wire.receive(theirs, 100) == b"[1]"
        assert wire.receive(theirs, 100) == b"[2]"
        with pytest.raises(WireError, match="within a frame"):
            wire.receive(theirs, 100)
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs:
        assert wire.receive(theirs, 100) is None


def test_one_frame_is_taken_with_its_descriptors_and_no_more() -> None:
    """What comes behind it may have descriptors of its own."""
    ours, theirs = socket.socketpair()
    read, write = os.pipe()
    with theirs:
        with ours:
            wire.send_text(ours, b'{"id":1}', write)
            wire.send_text(ours, b'{"id":2}')
            ours.sendall(wire.encode_raw(b"x" * 101))
        os.close(write)
        text, [received] = wire.receive_with_fds(theirs, 100)
        assert text == b'{"id":1}'
        assert not os.get_inheritable(received)
        os.write(received, b"x")
        os.close(received)
        assert os.read(read, 2) == b"x"
        assert wire.receive_with_fds(theirs, 100) == (b'{"id":2}', [])
        with pytest.raises(WireError, match="over the limit of 100"):
            wire.receive_with_fds(theirs, 100)
    os.close(read)


@pytest.mark.parametrize("sent", [b"", b"\0\0", b"\0\0\0\x02{"])
def test_the_end_of_a_channel_is_no_frame(sent: bytes) -> None:
    """Within one too: who has gone will not send the rest."""
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            ours.sendall(sent)
        assert wire.receive_with_fds(theirs, 100) == (None, [])


def test_a_receiver_reads_what_came_together_once_and_in_order() -> None:
    """Header and event of an attempt, and those of the next, come in one piece: each is a frame all the same."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        receiver = wire.Receiver(theirs)
        ours.sendall(wire.encode_raw(b"one") + wire.encode_raw(b"") + wire.encode_raw(b"three")[:6])
        assert (receiver.receive(10), receiver.receive(10)) == (b"one", b"")
        ours.sendall(wire.encode_raw(b"three")[6:])
        assert receiver.receive(10) == b"three"
        ours.close()
        assert receiver.receive(10) is None


def test_a_receiver_takes_a_frame_that_is_larger_than_what_it_reads_at_once() -> None:
    """Events may have megabytes."""
    ours, theirs = socket.socketpair()
    text = bytes(range(256)) * 4096
    with ours, theirs:
        writer = threading.Thread(target=ours.sendall, args=(wire.encode_raw(text) * 2,))
        writer.start()
        receiver = wire.Receiver(theirs)
        assert receiver.receive(len(text)) == text
        assert receiver.receive(len(text)) == text
        writer.join()


@pytest.mark.parametrize("cut", [2, 7])
def test_a_receiver_says_when_the_channel_ends_within_a_frame(cut: int) -> None:
    """Half a frame is no frame, wherever it was cut."""
    ours, theirs = socket.socketpair()
    with theirs:
        ours.sendall(wire.encode_raw(b"hello")[:cut])
        ours.close()
        with pytest.raises(WireError):
            wire.Receiver(theirs).receive(10)


def test_a_receiver_refuses_a_frame_over_the_limit() -> None:
    """As `receive` does."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(wire.encode_raw(b"x" * 11))
        with pytest.raises(WireError):
            wire.Receiver(theirs).receive(10)
