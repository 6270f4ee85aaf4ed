"""The errors, and the tree of them that opens their module."""

from __future__ import annotations

import re

from faasd import errors


def test_the_tree_at_the_top_shows_every_error_under_the_one_that_it_is() -> None:
    """Whoever catches a family by the picture catches what the code raises."""
    drawn: dict[str, str] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        branch = re.match(r"([│├└─ ]*)([A-Z]\w+)", line)
        if branch is None or line.startswith("Every"):
            continue
        depth, name = len(branch[1]) // 4, branch[2]
        drawn[name] = above[depth - 1] if depth else ""
        above[depth:] = [name]
    real = {name: getattr(errors, name) for name in errors.__all__}
    bases = {name: "" if name == "FaasdError" else one.__base__ for name, one in real.items()}
    assert drawn == {name: getattr(base, "__name__", "") for name, base in bases.items()}
