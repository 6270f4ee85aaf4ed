"""A function without network reaches nothing outside, one with a list of ports those alone; each with its control.

What is to be reached are listeners of the test itself, on the host's loopback.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faasd.model.permissions import Permissions, Ports
from faasd.sandbox.sandboxes import ProcessSandboxes
from tests.containment.as_ordinary_user import run_as_user
from tests.containment.bench import Bench, skip_without_ports

NONE = Permissions(network=False)
OUTSIDE = ("tcp", "mptcp", "fast-open", "udp")


@pytest.fixture
def outside() -> Iterator[dict[str, Any]]:
    """Listeners on TCP, UDP and an abstract Unix socket."""
    name = f"faasd-test-{secrets.token_hex(8)}"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        udp.bind(("127.0.0.1", 0))
        abstract.bind("\0" + name)
        abstract.listen()
        yield {"port": tcp.getsockname()[1], "udp": udp.getsockname()[1], "abstract": name}


async def reach(
    tmp_path: Path, event: dict[str, Any], permissions: Permissions, **options: Any
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Run the probe with walls of one's own choice; returns what it found and which walls were missing."""
    sandboxes = ProcessSandboxes(tmp_path / "state", **options)
    await sandboxes.start()
    try:
        outcome = await Bench(sandboxes).run("networking:reach", event, permissions=permissions)
    finally:
        await sandboxes.stop()
    assert outcome.word == "ok", outcome.error
    return json.loads(outcome.result_json or "{}"), outcome.degraded


async def test_without_network_nothing_outside_is_there(
    tmp_path: Path, outside: dict[str, Any]
) -> None:
    """In a network of its own: loopback is there, and works, and is not the host's."""
    found, missing = await reach(tmp_path, outside, NONE)
    assert "network" not in missing
    if found["interfaces"] != ["lo"]:
        pytest.skip("this host gives no network namespace")
    assert {found[name] for name in ("tcp", "fast-open")} == {"ECONNREFUSED"}
    assert found["mptcp"] in ("ECONNREFUSED", "EPROTONOSUPPORT", "ENOPROTOOPT")
    assert found["abstract"] in ("ECONNREFUSED", "EPERM")
    assert found["itself"] == "ok"


@pytest.mark.parametrize(
    "options", [{"without": {"network_namespace"}}, {"pid_namespaces": False}], ids=str
)
async def test_where_there_is_no_namespace_there_are_no_internet_sockets(
    tmp_path: Path, outside: dict[str, Any], options: dict[str, Any]
) -> None:
    """Not even to itself."""
    found, missing = await reach(tmp_path, outside, NONE, **options)
    assert "network" not in missing
    assert {name: found[name] for name in (*OUTSIDE, "itself")} == dict.fromkeys(
        (*OUTSIDE, "itself"), "EPERM"
    )


async def test_control_with_neither_everything_is_reached(
    tmp_path: Path, outside: dict[str, Any]
) -> None:
    """And the missing wall is told."""
    off = {"network_namespace", "seccomp", "landlock"}
    found, missing = await reach(tmp_path, outside, NONE, without=off)
    assert "network" in missing
    assert (found["tcp"], found["udp"], found["abstract"]) == ("ok", "ok", "ok")


async def test_control_a_function_with_network_reaches_it(
    tmp_path: Path, outside: dict[str, Any]
) -> None:
    """With all walls up; network = true is the default."""
    found, missing = await reach(tmp_path, outside, Permissions())
    assert "network" not in missing
    assert (found["tcp"], found["udp"], found["itself"]) == ("ok", "ok", "ok")


async def test_an_import_has_no_more_network_than_an_attempt(
    bench: Bench, outside: dict[str, Any]
) -> None:
    """The wall stands before the module is read. The control: with network, it connects."""
    found = []
    for network in (False, True):
        permissions = Permissions(network=network, env={"PORT": str(outside["port"])})
        outcome = await bench.run("networking_at_import:handler", permissions=permissions)
        found.append(json.loads(outcome.result_json or "[]"))
    assert found[0][0] in ("ECONNREFUSED", "EPERM")
    assert found[1] == ["ok"]


async def test_two_functions_without_network_do_not_meet(bench: Bench) -> None:
    """Each zygote has a network of its own; the attempts of one function share it."""
    function = bench.function("networking:network_namespace", permissions=NONE)
    other = Permissions(network=False, env={"OTHER": "1"})
    found = [
        (await bench.run("networking:network_namespace", permissions=permissions)).result_json
        for permissions in (NONE, NONE, other)
    ]
    assert function.permissions is NONE
    own = str(os.stat("/proc/self/ns/net").st_ino)
    if own in found:
        pytest.skip("this host gives no network namespace")
    assert found[0] == found[1] != found[2]


async def test_only_the_ports_in_the_list_are_reached(
    bench: Bench, outside: dict[str, Any]
) -> None:
    """Nothing goes around the list: no UDP, no Multipath TCP, no fast open. The control is the listed port."""
    with socket.create_server(("127.0.0.1", 0)) as listed:
        ports = Ports(connect=(listed.getsockname()[1],))
        permissions = Permissions(network=ports)
        outcome = await bench.run(
            "networking:reach_tcp", [*ports.connect, outside["port"]], permissions=permissions
        )
        skip_without_ports(outcome)
        assert json.loads(outcome.result_json or "[]") == ["ok", "EACCES"]
        outcome = await bench.run("networking:reach", outside, permissions=permissions)
        found = json.loads(outcome.result_json or "{}")
        assert found["tcp"] == "EACCES"
        assert {found[name] for name in ("udp", "mptcp", "fast-open")} == {"EPERM"}


async def test_only_the_ports_in_the_list_are_listened_on(bench: Bench) -> None:
    """The control is the listed port."""
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        free, other = one.getsockname()[1], two.getsockname()[1]
    permissions = Permissions(network=Ports(bind=(free,)))
    outcome = await bench.run("networking:listen", [free, other], permissions=permissions)
    skip_without_ports(outcome)
    assert json.loads(outcome.result_json or "[]") == ["ok", "EACCES"]


async def test_nothing_listens_where_the_kernel_chooses_the_port(bench: Bench) -> None:
    """`listen` on what was never bound goes by the rules for ports. The control is a function with all of the network."""
    listed = Permissions(network=Ports(connect=(9,)))
    found = [
        await bench.run("networking:listen_unbound", permissions=permissions)
        for permissions in (listed, Permissions())
    ]
    skip_without_ports(found[0])
    assert [one.result_json for one in found] == ['["EACCES","EACCES"]', '["ok","ok"]']


def test_the_same_holds_for_an_ordinary_user(outside: dict[str, Any]) -> None:
    """In a namespace, without one, and with neither wall."""
    expected = [
        ({}, {"ECONNREFUSED", "EPERM"}, False),
        ({"without": ["network_namespace"]}, {"EPERM"}, False),
        ({"pid_namespaces": False}, {"EPERM"}, False),
        ({"without": ["network_namespace", "seccomp", "landlock"]}, {"ok"}, True),
    ]
    for options, answers, is_missing in expected:
        word, found, error, missing = run_as_user(
            "networking:reach", outside, options=options,
            permissions={"network": False},
        )  # fmt: skip
        assert word == "ok", error
        assert found["tcp"] in answers
        assert ("network" in missing) is is_missing
