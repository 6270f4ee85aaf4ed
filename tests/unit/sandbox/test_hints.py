"""A hint names the path, the wall and the one setting; and blames no wall for what none did."""

from __future__ import annotations

import dataclasses
import errno
from typing import Any

import pytest

from faasd.model.function import Function
from faasd.model.limits import Limits
from faasd.model.permissions import Permissions, Ports
from faasd.sandbox.failures import NAME_LOOKUP, Failure, failures_in_report
from faasd.sandbox.hints import Given, hint

FUNCTION = Function(
    "thumb",
    "m:h",
    code_dir="/srv/code",
    limits=Limits(tmp_size_bytes=2**20, processes=7),
    permissions=Permissions(read=("/srv/in",), write=("/srv/out",)),
)
GIVEN = Given(
    FUNCTION,
    readable=("/usr", "/srv/code", "/srv/in"),
    writable=("/srv/out",),
    private="/tmp",
    hidden=("/var/lib/faasd",),
    is_in_memory=True,
)


def said(failure: Failure, **changes: Any) -> str:
    return hint([failure], dataclasses.replace(GIVEN, **changes)) or ""


def with_network(network: bool | Ports) -> Function:
    return dataclasses.replace(FUNCTION, permissions=Permissions(network=network))


@pytest.mark.parametrize(
    ("path", "needs", "setting"),
    [
        ("/srv/x", "read", 'set read = ["/srv/in", "/srv/x"]'),
        ("/srv/y/new.txt", "write", 'set write = ["/srv/out", "/srv/y"]'),
        ("/etc/shadow", "read", 'set read = ["/srv/in", "/etc/shadow"]'),
        ("/etc/new", "write", 'set write = ["/srv/out", "/etc/new"]'),
        ("/srv/in/a", "write", 'set write = ["/srv/out", "/srv/in"]'),
        ("/srv/code/cache/a", "write", 'set write = ["/srv/out", "/srv/code/cache"]'),
        ("/srv/inside", "read", 'set read = ["/srv/in", "/srv/inside"]'),
    ],
)
def test_a_path_outside_names_the_wall_and_the_whole_setting(
    path: str, needs: str, setting: str
) -> None:
    """To be copied as it stands: what the list holds now stays in it."""
    text = said(Failure(errno.EACCES, path, needs=needs))
    assert "the wall 'files'" in text
    assert f'"{path}"' in text
    assert text.endswith(setting)


def test_where_the_operation_cannot_be_told_both_settings_are() -> None:
    """A message seldom says what a program wanted of a file."""
    text = said(Failure(errno.EACCES, "/srv/y/a"))
    assert 'read = ["/srv/in", "/srv/y/a"]' in text
    assert 'write = ["/srv/out", "/srv/y"]' in text


@pytest.mark.parametrize(
    ("path", "needs", "changes"),
    [
        ("/srv/in/a", "read", {}),
        ("/srv/out/a", "write", {}),
        ("/srv/out/a", "read", {}),
        ("/tmp/a", "write", {}),
        ("/srv/x", "read", {"missing": ("files",)}),
    ],
)
def test_a_files_own_permissions_are_not_blamed_on_a_wall(
    path: str, needs: str, changes: dict[str, Any]
) -> None:
    """Somebody would widen the lists for ever, and nothing would change."""
    text = said(Failure(errno.EACCES, path, needs=needs), **changes)
    assert text.startswith("the file's own permissions refuse")
    assert "set " not in text
    assert "the wall" not in text


def test_what_is_faasds_own_and_other_processes_cannot_be_given() -> None:
    """A setting that the next `faasd check` refuses would be no help."""
    state = said(Failure(errno.EACCES, "/var/lib/faasd/faasd.db", needs="read"))
    assert "no setting opens it" in state
    proc = said(Failure(errno.EACCES, "/proc/1/environ", needs="read"))
    assert "private-proc" in proc
    assert "set read" not in proc


def test_of_two_paths_the_one_outside_is_named() -> None:
    """`mv` and os.rename tell both."""
    text = said(Failure(errno.EACCES, "/srv/out/a", "/srv/y/b", "write"))
    assert text.endswith('set write = ["/srv/out", "/srv/y"]')


def test_renaming_out_of_the_private_directory_says_what_to_do_instead() -> None:
    """The most usual way to write a file in one piece."""
    text = said(Failure(errno.EXDEV, "/tmp/a", "/srv/out/a"))
    assert "shutil.move" in text


def test_a_full_private_directory_names_its_size() -> None:
    """And a full disk elsewhere is no wall's doing."""
    assert "tmp_size = 1MiB" in said(Failure(errno.ENOSPC, "/tmp/a"))
    assert said(Failure(errno.ENOSPC, "/srv/out/a")) == ""
    assert said(Failure(errno.ENOSPC)).startswith("if this was written to the private")


def test_a_read_only_file_system_is_told_apart_from_a_path_not_given() -> None:
    """The daemon's own unit file may protect what the function was given."""
    assert "ReadWritePaths=" in said(Failure(errno.EROFS, "/srv/out/a"))
    assert 'write = ["/srv/out", "/srv/y"]' in said(Failure(errno.EROFS, "/srv/y/a"))


def test_the_hosts_tmp_is_not_the_attempts() -> None:
    """Only where the attempt has one of its own."""
    missing = Failure(errno.ENOENT, "/tmp/socket")
    assert "each attempt has a /tmp of its own" in said(missing)
    assert 'read = ["/srv/in", "/tmp/socket"]' in said(missing)
    assert said(missing, readable=("/tmp/socket",)) == ""
    assert said(missing, is_in_memory=False, private="/var/lib/x") == ""


@pytest.mark.parametrize(
    ("network", "failure", "words"),
    [
        (False, Failure(errno.ENETUNREACH, address="10.0.0.1:80"), ['"10.0.0.1:80"', "network = true"]),
        (False, Failure(errno.ECONNREFUSED), ["network = false", "network = true"]),
        (False, Failure(errno.EPERM, call="socket.socket(socket.AF_INET)"), ["the wall 'network'"]),
        (False, Failure(NAME_LOOKUP), ["the wall 'network'"]),
        (Ports((443,)), Failure(errno.EACCES, address="h:80"), ['"h:80"', "network = [443, 80]"]),
        (Ports((443,), (1,)), Failure(errno.EACCES, address="h:80"), ["{ connect = [443, 80], bind = [1] }"]),
        (Ports((443,)), Failure(errno.EACCES, call="s.bind(a)"), ["the wall 'network'", "bind = [...]"]),
        (Ports((443,)), Failure(NAME_LOOKUP), ["port 53", "network = [443, 53]"]),
    ],
)  # fmt: skip
def test_a_refused_connection_names_address_and_ports(
    network: bool | Ports, failure: Failure, words: list[str]
) -> None:
    """As far as the address is known."""
    text = said(failure, function=with_network(network))
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize(
    ("network", "failure", "missing"),
    [
        (True, Failure(errno.ECONNREFUSED, call="connect"), ()),
        (True, Failure(NAME_LOOKUP), ()),
        (Ports((443,)), Failure(errno.ECONNREFUSED, call="connect"), ()),
        (Ports((53,)), Failure(NAME_LOOKUP), ()),
        (False, Failure(errno.ECONNREFUSED), ("network",)),
    ],
)
def test_the_other_ends_refusal_is_not_blamed_on_a_wall(
    network: bool | Ports, failure: Failure, missing: tuple[str, ...]
) -> None:
    """A server that does not listen is the usual reason."""
    assert said(failure, function=with_network(network), missing=missing) == ""


def test_limits_name_their_setting_and_value() -> None:
    """EAGAIN and EMFILE say nothing of whose limit it was."""
    assert "processes = 7; raise `processes`" in said(Failure(errno.EAGAIN, call="os.fork()"))
    assert said(Failure(errno.EAGAIN, call="recv")) == ""
    assert "open_files = 1024; raise `open_files`" in said(Failure(errno.EMFILE))
    assert "file_size = 1GiB" in said(Failure(errno.EFBIG))


def test_a_refused_call_leads_to_the_list_of_calls() -> None:
    """And signals to others have no setting at all."""
    assert "docs/system-calls.md" in said(Failure(errno.EPERM, call="os.mount()"))
    assert said(Failure(errno.EPERM, call="x"), missing=("system-calls",)) == ""
    assert "signal its own processes" in said(Failure(errno.EPERM, call="os.kill(1, 9)"))
    assert "abstract" in said(Failure(errno.EPERM, call="s.connect(a)"))


def test_a_refused_call_is_shown_by_its_line() -> None:
    """Not with the functions around it, by whose names it is judged."""
    record = {
        "errno": errno.EPERM,
        "frames": ["run", "_call", "handler"],
        "line": "    time.clock_settime(time.CLOCK_REALTIME, 0)",
    }
    [failure] = failures_in_report({"os_errors": [record]})
    assert '("time.clock_settime(time.CLOCK_REALTIME, 0)")' in said(failure)


def test_the_name_of_the_module_of_sockets_is_no_connection() -> None:
    """Its module also sets the name of the host."""
    assert "abstract" not in said(Failure(errno.EPERM, call="f socket.sethostname('x')"))
    assert "abstract" in said(Failure(errno.EPERM, call="_socket.socket.__init__(self, family)"))
    assert "abstract" in said(Failure(errno.EPERM, call="socket: Operation not permitted"))


def test_what_is_faasds_own_is_said_so_where_it_seems_not_to_be_there() -> None:
    """The view of a sandbox leaves it out."""
    assert "belongs to faasd itself" in said(Failure(errno.ENOENT, "/var/lib/faasd/faasd.db"))
    assert said(Failure(errno.ENOENT, "/var/lib/other")) == ""


def test_a_directory_that_holds_what_is_faasds_own_is_not_suggested() -> None:
    """`faasd check` would refuse it."""
    text = said(
        Failure(errno.EACCES, "/srv/shop/new.txt", needs="write"), hidden=("/srv/shop/state",)
    )
    assert 'set write = ["/srv/out", "/srv/shop/new.txt"]' in text


def test_the_first_failure_with_a_hint_counts() -> None:
    """Others may be of the handler's own making."""
    failures = [Failure(errno.ENOENT, "/nowhere"), Failure(errno.EMFILE)]
    assert "open_files" in (hint(failures, GIVEN) or "")
    assert hint([], GIVEN) is None
