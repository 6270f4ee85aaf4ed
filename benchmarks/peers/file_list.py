"""A script that lists a directory's files and writes a row for each to SQLite, in one durable transaction.

`file_list DIRECTORY DATABASE`; prints how many, how long it took, and what it used.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time

from benchmarks.usage import cpu_s, memory_bytes


def main() -> None:
    me = {os.getpid()}
    used = -cpu_s(me)
    began = time.perf_counter()
    database = sqlite3.connect(sys.argv[2])
    database.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE files (name TEXT PRIMARY KEY, size INTEGER, modified_at REAL)")
    rows = []
    with os.scandir(sys.argv[1]) as entries:
        for entry in entries:
            seen = entry.stat(follow_symlinks=False)
            rows.append((entry.name, seen.st_size, seen.st_mtime))
    with database:
        database.executemany("INSERT INTO files VALUES (?, ?, ?)", rows)
    seconds = time.perf_counter() - began
    used += cpu_s(me)
    [(count,)] = database.execute("SELECT count(*) FROM files")
    database.close()
    print(
        json.dumps(
            {"files": count, "seconds": seconds, "cpu_s": used, "memory_bytes": memory_bytes(me)}
        )
    )


if __name__ == "__main__":
    main()
