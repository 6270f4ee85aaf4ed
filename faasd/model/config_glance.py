"""A glance into a configuration for the two settings that say where a daemon is.

`tomllib` would be a quarter of a cold `faasd enqueue`. What this reads, it reads as TOML does;
whenever it could be mistaken it says so, and its caller asks `tomllib`.
"""

from __future__ import annotations

import re

__all__ = ["glance_daemon_table"]

_HEADER = re.compile(r"^[ \t]*\[[ \t]*daemon[ \t]*\][ \t]*(?:#.*)?\r?$", re.MULTILINE)
#: Every way in which TOML could say something about the table `daemon`.
_MENTION = re.compile(r"""^[ \t]*\[*[ \t]*["']?daemon(?![\w-])""", re.MULTILINE)
_NEXT_TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)
_OPEN_VALUE = re.compile(r"=[ \t]*[\[{]")
_KEY = re.compile(r"""^[ \t]*["']?(state_dir|socket)["']?[ \t]*[.=]""", re.MULTILINE)
_PLAIN = re.compile(
    r'^[ \t]*(state_dir|socket)[ \t]*=[ \t]*"([^"\\\x00-\x1f]*)"[ \t]*(?:#.*)?\r?$', re.MULTILINE
)


def glance_daemon_table(text: str) -> dict[str, str] | None:
    """Return `state_dir` and `socket` of the table `daemon`, as far as they are set; None when unsure."""
    # Escapes in a quoted key could spell `daemon`, and a long string could look like a table.
    if '"""' in text or "'''" in text or "\\" in text:
        return None
    mentions = len(_MENTION.findall(text))
    if mentions == 0:
        return {}
    header = _HEADER.search(text)
    if mentions != 1 or header is None:
        return None
    rest = text[header.end() :]
    following = _NEXT_TABLE.search(rest)
    table = rest[: following.start()] if following else rest
    for line in table.splitlines():
        # An array over several lines may hold what looks like the next table.
        if _OPEN_VALUE.search(line) and line.count("[") != line.count("]"):
            return None
    found = dict(_PLAIN.findall(table))
    return found if len(found) == len(_KEY.findall(table)) else None
