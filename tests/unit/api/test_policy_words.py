"""The effective policy in sentences that somebody can compare with what they meant."""

from __future__ import annotations

import pytest

from faasd.api.policy_words import policy_words
from faasd.model.function import Function
from faasd.model.limits import Limits
from faasd.model.permissions import Permissions, Ports
from faasd.model.trigger import FilesTrigger
from faasd.model.walls import MissingWall

GONE = MissingWall("files", "no Landlock", "use Linux 5.13 or newer")
WEAKER = MissingWall("memory-cgroup", "no cgroup", "delegate one")


def said(missing: tuple[MissingWall, ...] = (), **permissions: object) -> str:
    function = Function(
        "thumb",
        "m:h",
        code_dir="/srv/code",
        limits=Limits(cpu=0.5, tmp_size_bytes=2**20),
        permissions=Permissions(**permissions),  # type: ignore[arg-type]
        files=(FilesTrigger("inbox", "/srv/inbox"),),
    )
    return "\n".join(policy_words(function, missing))


def test_what_it_was_given_is_named_and_nothing_else() -> None:
    """A files trigger's directory is among what it may read."""
    text = said(read=("/srv/prices",), write=("/srv/out",), env={"A": "secret value"}, secrets=("smtp",))  # fmt: skip
    assert "may read its code in /srv/code" in text
    assert "/srv/prices, /srv/inbox." in text
    assert "private temporary directory, 1MiB at most, and /srv/out." in text
    assert "network as the host does" in text
    assert "with A." in text
    assert "smtp" in text
    assert "secret value" not in text
    assert "0.5 processors" in text
    assert "runs as the daemon's user" in text
    assert text.endswith("This host builds every wall that it is promised.")


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (False, "may not use the network"),
        (Ports(connect=(443, 53)), "connect to 443, 53, and listen on none"),
    ],
)
def test_the_network_is_what_the_setting_says(network: bool | Ports, words: str) -> None:
    """Ports by number."""
    assert words in said(network=network)


def test_a_missing_wall_says_what_is_left_of_its_promise() -> None:
    """And whether the function runs at all."""
    strict = said((GONE,))
    assert "It is refused" in strict
    assert "Missing wall 'files': no Landlock. To get it, use Linux 5.13 or newer." in strict
    assert "Without it" not in strict
    bold = said((GONE,), containment="best-effort")
    assert "Without it: Nothing: it may open whatever its user may." in bold
    assert "It is refused" not in bold
    weaker = said((WEAKER,))
    assert "have something in their place" in weaker
    assert "Without it: RLIMIT_DATA" in weaker
