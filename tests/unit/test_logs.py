"""The daemon's own log stream, when the other side misbehaves."""

from __future__ import annotations

import json
import os

from faasd.logs import LogStream


def test_lines_beyond_what_is_kept_are_dropped_and_counted_and_the_rest_is_whole() -> None:
    """A hanging reader costs a bounded memory, and learns later what it has missed."""
    reading, writing = os.pipe()
    stream = LogStream(writing)
    line = "x" * 999 + "\n"
    for _ in range(1500):
        stream.write(line)
    got = b""
    while b"\nlast" not in got:
        got += os.read(reading, 2**20)
        stream.write("last\n" if len(got) > 2**20 else "")
    lines = got.splitlines()
    kept = [one for one in lines if one == b"x" * 999]
    notes = [json.loads(one) for one in lines if one.startswith(b"{")]
    assert [note["event"] for note in notes] == ["log_lines_dropped"]
    assert len(kept) + notes[0]["count"] == 1500
    assert len(kept) * 1000 <= 2**20 + 65536
    os.close(reading)
    stream.write("nobody hears this\n")
    os.close(writing)
