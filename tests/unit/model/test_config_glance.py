from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasd.model.config_glance import glance_daemon_table

_LINES = [
    "[daemon]",
    " [ daemon ] # here",
    "[http]",
    "[daemon.more]",
    "[[daemon]]",
    'state_dir = "a"',
    'socket = "b" # "c"',
    "socket = 'b'",
    '"socket" = "q"',
    "socket = 5",
    'state_dir.x = "d"',
    "# [daemon]",
    "functions = [",
    'functions = ["x", "y"]',
    "]",
    '["daemon"],',
    '  "state_dir = ",',
    'daemon = { socket = "e" }',
    'daemon.socket = "f"',
    '"daemon".socket = "g"',
    'retry = { attempts = 3, on = ["a"] }',
    "text = '[daemon]'",
    "",
]


def by_tomllib(text: str) -> dict[str, str]:
    table = tomllib.loads(text).get("daemon", {})
    if not isinstance(table, dict):
        return {}
    names = ("state_dir", "socket")
    return {name: table[name] for name in names if isinstance(table.get(name), str)}


@given(st.lists(st.sampled_from(_LINES), max_size=9))
def test_what_the_glance_reads_it_reads_as_toml_does(lines: list[str]) -> None:
    """A wrong socket is a wrong daemon; being unsure costs eight milliseconds."""
    text = "\n".join(lines)
    try:
        expected = by_tomllib(text)
    except tomllib.TOMLDecodeError:
        return
    found = glance_daemon_table(text)
    assert found is None or found == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ('[http]\nsocket = "x"\n', {}),
        ('[daemon]\r\nstate_dir = "/a b"  # here\r\n[http]\r\n', {"state_dir": "/a b"}),
        (
            '[daemon]\nfunctions = ["f"]\nsocket = "s"\nstate_dir = "t"',
            {"socket": "s", "state_dir": "t"},
        ),
        ('[daemon]\nsocket = "a\\u0062"', None),
        ('x = """\n[daemon]\n"""', None),
    ],
)
def test_the_usual_configurations_are_read_at_a_glance(
    text: str, expected: dict[str, str] | None
) -> None:
    """The control of the test above: always being unsure would pass it."""
    assert glance_daemon_table(text) == expected
