"""Which names in a watched directory count: temporary names, globs, markers and sidecars. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

from faasd.model.trigger import FilesTrigger

__all__ = [
    "SIDECAR_SUFFIX",
    "NameRules",
    "glob_regex",
    "move_target",
    "name_rules",
    "numbered",
    "shown",
    "temporary",
    "with_suffix",
]

#: Names that writers use while a file is not finished. rsync's `.name.XXXXXX` is covered by `.*`.
TEMPORARY_PATTERNS = (".*", "*.part", "*.tmp", "*.swp", "*~", "*.filepart", "*.crdownload")
SIDECAR_SUFFIX = b".error.json"

_NAME_BYTES_MAX = 255


def temporary(name: bytes) -> str | None:
    """Return the temporary pattern that a name matches, or None."""
    if name.startswith(b"."):
        return ".*"
    for pattern in TEMPORARY_PATTERNS[1:]:
        if name.endswith(pattern[1:].encode()):
            return pattern
    return None


def glob_regex(pattern: str) -> re.Pattern[str]:
    """Compile a glob: `*` and `?` stay within one directory, `**` crosses directories, `[…]` is a set."""
    text, i = "", 0
    while i < len(pattern):
        if pattern.startswith("**/", i):
            text, i = text + "(?:.*/)?", i + 3
        elif pattern.startswith("**", i):
            text, i = text + ".*", i + 2
        elif pattern[i] == "*":
            text, i = text + "[^/]*", i + 1
        elif pattern[i] == "?":
            text, i = text + "[^/]", i + 1
        elif pattern[i] == "[" and (end := pattern.find("]", i + 2)) > 0:
            inside = pattern[i + 1 : end].replace("\\", r"\\").replace("[", r"\[")
            if inside.startswith("!"):  # A negated set must not match the separator either.
                inside = "^/" + inside[1:]
            elif inside.startswith("^"):
                inside = "\\" + inside
            text, i = text + f"[{inside}]", end + 1
        else:
            text, i = text + re.escape(pattern[i]), i + 1
    return re.compile(text, re.DOTALL)  # A name may hold newlines.


@dataclass(frozen=True)
class NameRules:
    """What of a watched tree counts, by name alone."""

    root: bytes
    include: tuple[tuple[str, re.Pattern[str]], ...]
    exclude: tuple[tuple[str, re.Pattern[str]], ...]
    recursive: bool
    marker: bytes | None
    closed_dirs: frozenset[bytes]  # Absolute paths that are never descended into.
    takes_all: bool  # No globs to try: every name that is not ignored counts.

    def why_ignored(self, relative: bytes) -> str | None:
        """Return why a path relative to the root is no event, as the end of a sentence, or None."""
        name = relative.rpartition(b"/")[2]
        if pattern := temporary(name):
            return f"the name matches the temporary pattern {pattern}"
        if name.endswith(SIDECAR_SUFFIX):
            return "it is a sidecar that tells of a failed file"
        if self.marker is not None and name.endswith(self.marker):
            return f"it is a marker ({os.fsdecode(self.marker)}) and no event itself"
        if self.takes_all:
            return None
        path = os.fsdecode(relative)
        if not _matches(self.include, path):
            shown = ", ".join(pattern for pattern, _ in self.include)
            return f"the name does not match the pattern {shown}"
        for pattern, regex in self.exclude:
            if _matches(((pattern, regex),), path):
                return f"the name matches the exclude pattern {pattern}"
        return None

    def why_not_below(self, relative: bytes) -> str | None:
        """Return why the directory that holds a path is not looked into, or None."""
        *parents, _ = relative.split(b"/")
        if parents and not self.recursive:
            return "it is in a sub-directory and the trigger is not recursive"
        for depth, name in enumerate(parents, 1):
            if not self.descends(b"/".join(parents[:depth])):
                return f"the directory {shown(name)} is not looked into"
        return None

    def descends(self, relative_dir: bytes) -> bool:
        """Whether a recursive trigger looks into this sub-directory."""
        if not self.recursive or relative_dir.rpartition(b"/")[2].startswith(b"."):
            return False
        return os.path.join(self.root, relative_dir) not in self.closed_dirs

    def marked_by(self, relative: bytes) -> bytes | None:
        """Return the path that this marker stands for; None when it is no marker."""
        if self.marker is None or not relative.endswith(self.marker):
            return None
        marked = relative[: -len(self.marker)]
        return marked if marked and not marked.endswith(b"/") else None


def name_rules(trigger: FilesTrigger) -> NameRules:
    """Return a trigger's rules about names."""
    root = os.path.abspath(os.fsencode(trigger.path))
    targets = (
        move_target(root, trigger.on_success),
        move_target(root, trigger.on_failure),
    )
    return NameRules(
        root=root,
        include=_compiled(trigger.pattern),
        exclude=_compiled(trigger.exclude),
        recursive=trigger.recursive,
        marker=os.fsencode(trigger.marker) if trigger.marker else None,
        closed_dirs=frozenset(target for target in targets if target is not None),
        takes_all=trigger.pattern == ("*",) and not trigger.exclude,
    )


def move_target(root: bytes, action: str) -> bytes | None:
    """Return the directory of a `move:DIR` action, absolute; a relative one starts at the watched directory."""
    if not action.startswith("move:"):
        return None
    return os.path.normpath(os.path.join(root, os.fsencode(action[len("move:") :])))


def with_suffix(name: bytes, suffix: bytes) -> bytes:
    """Append to a name, shortening it where the result would be longer than file systems take."""
    return name[: _NAME_BYTES_MAX - len(suffix)] + suffix


def numbered(name: bytes, number: int) -> bytes:
    """Return `name.1.ext` for `name.ext`, shortened where it would be too long."""
    stem, dot, extension = name.rpartition(b".")
    if not dot or not stem or len(extension) > 32:
        stem, extension = name, b""
    tail = b".%d" % number + (b"." + extension if extension else b"")
    return with_suffix(stem, tail)


def shown(path: bytes) -> str:
    """Return a path for a sentence: bytes that are no text are escaped, so that it can be printed."""
    return path.decode("utf-8", "backslashreplace")


def _compiled(patterns: Iterable[str]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((pattern, glob_regex(pattern.removeprefix("./"))) for pattern in patterns)


def _matches(globs: tuple[tuple[str, re.Pattern[str]], ...], path: str) -> bool:
    name = path.rpartition("/")[2]
    return any(regex.fullmatch(path if "/" in glob else name) for glob, regex in globs)
