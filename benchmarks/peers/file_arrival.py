"""Bare watchdog on one directory: when its callback heard of each file.

`file_arrival INCOMING OUTSIDE COUNT PAUSE_S` renames COUNT files in, PAUSE_S apart, and prints how long each took
to be heard of, how many were lost, and how many were heard of twice.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from benchmarks.usage import cpu_s, memory_bytes

_PATIENCE_S = 10.0


class Heard(FileSystemEventHandler):
    """Notes the moment of each file that is complete: created by a rename, moved in, or closed."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}
        self.times: Counter[str] = Counter()

    def on_created(self, event: FileSystemEvent) -> None:
        self._note(event.src_path)

    def on_moved(self, event: FileSystemEvent) -> None:
        self._note(event.dest_path)

    def _note(self, path: bytes | str) -> None:
        name = Path(os.fsdecode(path)).name
        self.times[name] += 1
        self.at.setdefault(name, time.time())


def main() -> None:
    incoming, outside = Path(sys.argv[1]), Path(sys.argv[2])
    count, pause_s = int(sys.argv[3]), float(sys.argv[4])
    heard = Heard()
    observer = Observer()
    observer.schedule(heard, str(incoming))
    observer.start()
    for number in range(count):
        (outside / f"{number}.dat").write_bytes(b"x")
    me = {os.getpid()}
    used = -cpu_s(me)
    renamed = {}
    began = time.time()
    for number in range(count):
        name = f"{number}.dat"
        renamed[name] = time.time()
        (outside / name).rename(incoming / name)
        if pause_s:
            time.sleep(pause_s)
    deadline = time.time() + _PATIENCE_S
    while len(heard.at) < count and time.time() < deadline:
        time.sleep(0.002)
    used += cpu_s(me)
    memory = memory_bytes(me)
    observer.stop()
    observer.join()
    print(
        json.dumps(
            {
                "took_s": [heard.at[name] - at for name, at in renamed.items() if name in heard.at],
                "seconds": max(heard.at.values()) - began,
                "lost": count - len(heard.at),
                "twice": sum(1 for times in heard.times.values() if times > 1),
                "cpu_s": used,
                "memory_bytes": memory,
            }
        )
    )


if __name__ == "__main__":
    main()
