"""The walls on the guest's own kernel, as people meet them: `doctor`, `check`, and functions of a daemon as a service.

Run by root in a guest that may be thrown away. What the kernel offers is asked of the kernel itself.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.rig.guest.service import FAASD, UNPRIVILEGED, Service, run_once

DELEGATED = ("Delegate=yes",)
FUNCTIONS = """
    import os, socket
    from faasd import function

    @function
    def plain(event, context):
        return "ran"

    @function(network={"connect": [443]})
    def listed(event, context):
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", event))

    @function(network={"connect": [443]}, containment="best-effort")
    def listed_if_possible(event, context):
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", event))
"""
OF_A_USER = """
    import os
    from faasd import function

    def groups():
        [path] = [line[3:].strip() for line in open("/proc/self/cgroup") if line.startswith("0::")]
        return "/sys/fs/cgroup" + path

    @function(user="nobody", memory="96MiB", processes=9)
    def look(event, context):
        with open(os.environ["TMPDIR"] + "/mine", "w") as file:
            file.write("x")
        read = {n: open(f"{groups()}/{n}").read().strip() for n in ("memory.max", "pids.max", "memory.swap.max")}
        return {**read, "uid": os.getuid(), "tmp": os.environ["TMPDIR"], "in_tmp": os.listdir("/tmp"),
                "processes": [name for name in os.listdir("/proc") if name.isdigit()]}

    @function(user="nobody")
    def change(event, context):
        found = {}
        for name in ("memory.max", "pids.max", "cgroup.procs", "cgroup.kill"):
            for path in (groups(), os.path.dirname(groups())):
                try:
                    if os.path.exists(f"{path}/{name}"):
                        os.close(os.open(f"{path}/{name}", os.O_WRONLY))
                        found[f"{path}/{name}"] = "opened"
                except OSError as error:
                    found[f"{path}/{name}"] = type(error).__name__
        return found

    @function(user="nobody", memory="64MiB", timeout="60s")
    def hog(event, context):
        kept = []
        while True:
            kept.append(bytearray(b"x") * 2**20)
"""


def landlock_abi() -> int:
    """Ask the kernel, by a system call of our own."""
    return int(ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1))


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that any user may reach."""
    path = Path(tempfile.mkdtemp(prefix="rig-", dir="/var/tmp"))
    yield path
    shutil.rmtree(path)


def strict(service: Service, functions: str = "") -> Service:
    """Ask for every wall, which the checks of services do not."""
    service.config.write_text(f'[daemon]\nstate_dir = "state"\n{functions}')
    return service


def doctor(properties: tuple[str, ...], *arguments: str) -> tuple[int, dict[str, Any]]:
    code, text = run_once("rig-doctor", properties, FAASD, "doctor", "--json", *arguments)
    return code, json.loads(text)


@pytest.mark.parametrize("delegation", [DELEGATED, ()], ids=["delegated", "plain"])
@pytest.mark.parametrize("identity", [(), UNPRIVILEGED], ids=["root", "user"])
def test_doctor_says_what_the_kernel_offers(
    identity: tuple[str, ...], delegation: tuple[str, ...]
) -> None:
    """Row by row; namespaces work on these kernels, for an ordinary user too."""
    _, report = doctor((*identity, *delegation))
    print(json.dumps(report["walls"], indent=1))
    rows = {row["wall"]: row for row in report["walls"]}
    abi = landlock_abi()
    assert abi > 0
    assert f"ABI {abi}" in rows["files"]["how"]
    expected = dict.fromkeys(rows, True)
    expected["network"] = abi >= 4  # Somebody may ask for a list of ports.
    expected["abstract-sockets"] = abi >= 6
    expected["user"] = not identity
    expected["memory-cgroup"] = expected["cpu-cap"] = bool(delegation)
    expected["process-cap"] = bool(delegation or identity)
    assert {name: row["available"] for name, row in rows.items()} == expected
    if delegation:
        assert rows["memory-cgroup"]["how"].startswith("cgroup v2")
        assert rows["cpu-cap"]["how"].startswith("cgroup v2")
        assert rows["process-cap"]["how"].startswith("pids cgroup")
    else:
        assert "Delegate=yes" in rows["memory-cgroup"]["remedy"]
    if abi < 4:
        assert f"this kernel has ABI {abi}" in rows["network"]["how"]
        assert "Linux 6.7" in rows["network"]["remedy"]


def test_doctor_ends_with_0_only_where_every_function_is_enforced(place: Path) -> None:
    """A list of ports is the one thing here that an older Landlock does not know."""
    service = strict(Service("judged", place, FUNCTIONS, *DELEGATED))
    code, report = doctor(DELEGATED, "--config", str(service.config))
    verdicts = {row["function"]: row["verdict"].split(",")[0] for row in report["functions"]}
    if landlock_abi() >= 4:
        assert code == 0
        assert set(verdicts.values()) == {"enforced"}
    else:
        assert code == 1
        assert verdicts == {
            "plain": "enforced",
            "listed": "refused",
            "listed_if_possible": "not enforced",
        }
    (place / "functions" / "app.py").write_text("from faasd import function\n@function\ndef f(e, c): pass\n")  # fmt: skip
    assert doctor(DELEGATED, "--config", str(service.config))[0] == 0


def test_a_list_of_ports_is_kept_or_refused_with_the_reason(place: Path) -> None:
    """At check, at start, and to who invokes it; best-effort runs without it and says so."""
    service = strict(Service("ports", place, FUNCTIONS, *DELEGATED))
    knows_ports = landlock_abi() >= 4
    command = ("/bin/sh", "-c", f"exec {FAASD} check --config {service.config} 2>&1")
    code, text = run_once("rig-check", DELEGATED, *command)
    print(text)
    if knows_ports:
        assert code == 0
    else:
        assert code == 1
        assert "function 'listed' is refused: the wall 'network' cannot be built" in text
        assert f"needs Landlock ABI 4, and this kernel has ABI {landlock_abi()}" in text
        assert "use Linux 6.7 or newer, or set network to true or false" in text
        assert "'listed_if_possible' runs without what it is promised" in text
    with service.running():
        assert service.word("plain") == "ok"
        outcome = service.client.invoke("listed_if_possible", 444)
        assert outcome["outcome"] == "ok"
        assert ("network" in outcome["degraded"]) is not knows_ports
        assert outcome["result"] == (13 if knows_ports else 111)  # EACCES, ECONNREFUSED.
        if knows_ports:
            assert service.client.invoke("listed", 443)["result"] == 111
            assert service.client.invoke("listed", 444)["result"] == 13
        else:
            with pytest.raises(Exception, match="needs Landlock ABI 4"):
                service.client.invoke("listed", 443)


def test_a_function_of_another_user_has_its_own_view_and_its_own_group(place: Path) -> None:
    """A daemon that is root with cgroup v2: another root directory, another user, the kernel's limits."""
    with strict(Service("users", place, OF_A_USER, *DELEGATED)).running() as service:
        outcome = service.client.invoke("look")
        assert outcome["outcome"] == "ok", outcome
        assert set(outcome["degraded"]) <= {"abstract-sockets"}
        found = outcome["result"]
        assert found["uid"] == 65534
        assert found["tmp"] == "/tmp"
        assert found["in_tmp"] == ["mine"]
        # Its zygote's and its own, with those that wait for an event; the machine has many more.
        assert len(found["processes"]) < 10 < sum(name.isdigit() for name in os.listdir("/proc"))
        assert found["memory.max"] == str(96 * 2**20)
        assert found["memory.swap.max"] == "0"
        assert found["pids.max"] == "10"
        tried = service.client.invoke("change")["result"]
        assert len(tried) >= 6
        assert set(tried.values()) <= {"PermissionError", "OSError"}, tried
        assert service.word("hog") == "oom"
