"""Reloads while events, files and ticks flow: the short run of the suite and the long one share it."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.daemon.harness import DaemonProcess, wait_for, write_project

__all__ = ["ReloadLoad", "write_code"]

#: Two files whose constants must always agree, and a directory of data in their midst.
_APP = """
    import os
    from faasd import every, files, function, queue
    from part import PART

    WHOLE = {number}

    @function(triggers=[queue("orders")], timeout="30s")
    def order(event, context):
        return [WHOLE, PART]

    @function(triggers=[every("1s", name="tick", overlap="allow", catch_up="all")])
    def tick(event, context):
        return [WHOLE, PART]

    @function(triggers=[files("inbox", settle="50ms", on_success="move:done")])
    def picture(event, context):
        return [WHOLE, PART]
"""


def write_code(directory: Path, number: int) -> None:
    """Write both files, each by a rename, as editors do. Between the two renames they disagree."""
    functions = directory / "functions"
    for name, text in (("part.py", f"PART = {number}\n"), ("app.py", _dedented(number))):
        new = functions / f".{name}.new"
        new.write_text(text)
        new.rename(functions / name)


def _dedented(number: int) -> str:
    return "\n".join(line[4:] for line in _APP.format(number=number).splitlines()) + "\n"


@dataclass
class ReloadLoad:
    """A daemon with work that flows, until `stop`; `sent` are the invocations that were acknowledged."""

    directory: Path
    sent: list[str] = field(default_factory=list)
    dropped: int = 0
    _stopping: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.directory / "functions").mkdir()
        (self.directory / "functions" / "part.py").write_text("PART = 0\n")
        (self.directory / "inbox").mkdir()
        self.daemon = DaemonProcess(write_project(self.directory, _APP.format(number=0)))

    def begin(self) -> None:
        """Send events one after the other, and drop a file now and then, until `stop`."""
        for work in (self._send, self._drop):
            thread = threading.Thread(target=work)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Send no more."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def reload(self, number: int) -> dict[str, Any]:
        """Change the code and reload."""
        write_code(self.directory, number)
        report: dict[str, Any] = self.daemon.client.request("POST", "/api/v1/reload")
        return report

    def check(self) -> Counter[int]:
        """Wait until everything has run; each once, and on a whole version. Returns runs by version."""
        rows = wait_for(self._all_done, "everything to be done", 60.0)
        versions: Counter[int] = Counter()
        for row in rows:
            found = self.daemon.invocation(row["id"])
            records = found["attempt_records"]
            assert [one["outcome"] for one in records] == ["ok"], found
            whole, part = found["result"]
            assert whole == part, f"{found['id']} ran on half of one version and half of another"
            versions[whole] += 1
        assert {row["id"] for row in rows} >= set(self.sent), "an acknowledged event is lost"
        files = [row for row in rows if row["function"] == "picture"]
        assert len(files) == self.dropped, "a file was lost or seen twice"
        self._check_ticks([row for row in rows if row["function"] == "tick"])
        return versions

    def _check_ticks(self, rows: list[dict[str, Any]]) -> None:
        times = sorted(datetime.fromisoformat(row["scheduled_for"]) for row in rows)
        gaps = [(b - a).total_seconds() for a, b in itertools.pairwise(times)]
        assert gaps, "no tick ran"
        assert set(gaps) == {1.0}, f"a tick was missed or came twice: {gaps}"

    def _all_done(self) -> list[dict[str, Any]]:
        query = {"limit": 10_000}
        rows = self.daemon.client.request("GET", "/api/v1/invocations", query=query)["invocations"]
        is_done = all(row["state"] == "done" for row in rows if row["function"] != "tick")
        dropped = sum(row["function"] == "picture" for row in rows)
        wanted = [row for row in rows if row["state"] == "done"]
        has_ticked = sum(row["function"] == "tick" for row in wanted) >= 3
        return wanted if is_done and dropped >= self.dropped and has_ticked else []

    def _send(self) -> None:
        while not self._stopping.is_set():
            self.sent.append(self.daemon.client.enqueue("orders", {"n": len(self.sent)}))
            self._stopping.wait(0.05)

    def _drop(self) -> None:
        while not self._stopping.is_set():
            new = self.directory / f"{self.dropped}.part"
            new.write_text(str(time.time()))
            os.rename(new, self.directory / "inbox" / f"{self.dropped}.txt")
            self.dropped += 1
            self._stopping.wait(0.2)
