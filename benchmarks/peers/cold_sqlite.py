"""A script that starts, commits one row with fsync through bare sqlite3, and ends."""

from __future__ import annotations

import os
import sqlite3

connection = sqlite3.connect(os.environ["BENCH_DATABASE"])
connection.execute("PRAGMA journal_mode=WAL")
connection.execute("PRAGMA synchronous=FULL")
connection.execute("CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, body TEXT)")
connection.execute("INSERT INTO events (body) VALUES ('{}')")
connection.commit()
connection.close()
