"""`did you mean`: the likely word behind a typing error."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["did_you_mean"]

_LISTED_MAX = 8


def did_you_mean(word: str, known: Iterable[str], *, or_list: bool = False) -> str:
    """Return `; did you mean "…"?` for a likely typing error, else nothing.

    With `or_list`, what there is instead of nothing, when that is short.
    """
    import difflib  # Only a mistake needs it, and the command line counts milliseconds.

    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    if close:
        return f'; did you mean "{close[0]}"?'
    if not or_list:
        return ""
    if not names:
        return "; there is none"
    return f"; there is {', '.join(names)}" if len(names) <= _LISTED_MAX else ""
