"""Which files a function is given follows from its settings and the daemon's places alone."""

from __future__ import annotations

from faasd.model.function import Function
from faasd.model.permissions import Permissions
from faasd.model.trigger import FilesTrigger
from faasd.sandbox.file_rules import Premises, file_rules, tmp_at

FUNCTION = Function(
    "f",
    "m:h",
    code_dir="/srv/code",
    permissions=Permissions(read=("/srv/prices",), write=("/srv/out", "/srv/both")),
    files=(FilesTrigger("inbox", "/srv/inbox"),),
)


def test_code_interpreter_lists_and_watched_directories_are_readable() -> None:
    """Never the root, although an interpreter may say that it lives there."""
    rules = file_rules(FUNCTION, ["/opt/python", "/"], Premises())
    assert {"/usr", "/srv/code", "/opt/python", "/srv/prices", "/srv/inbox"} <= set(rules["read"])
    assert rules["write"] == ["/srv/both", "/srv/out"]
    assert not {"/", "/etc", "/home", "/root", "/srv/out"} & set(rules["read"])


def test_a_commands_program_is_readable() -> None:
    """Wherever it is; its directory is not."""
    command = Function("c", command=("/opt/tool/run",), code_dir="/srv")
    assert "/opt/tool/run" in file_rules(command, [], Premises())["read"]


def test_the_resolvers_directory_is_readable_where_it_keeps_the_file_in_run() -> None:
    """It is replaced whenever the network changes."""
    resolved = Premises(resolv_conf="/run/systemd/resolve/stub-resolv.conf")
    assert "/run/systemd/resolve" in file_rules(FUNCTION, [], resolved)["read"]
    assert not any(path.startswith("/run") for path in file_rules(FUNCTION, [], Premises())["read"])


def test_another_file_of_the_same_name_means_another_zygote() -> None:
    """Of the system's, of the daemon's own, and of those that the function was given; of no others."""
    before = file_rules(FUNCTION, [], Premises(hidden=("/run/sock",)))
    for path in ("/etc/resolv.conf", "/run/sock", "/srv/inbox", "/srv/code"):
        premises = Premises(hidden=("/run/sock",), identities={path: (1, 2)})
        assert file_rules(FUNCTION, [], premises) != before
    others = Premises(hidden=("/run/sock",), identities={"/srv/elsewhere": (1, 2)})
    assert file_rules(FUNCTION, [], others) == before


def test_the_private_directory_gives_way_to_a_tmp_that_was_asked_for() -> None:
    """Who names /tmp gets the host's."""
    premises = Premises(state_dir="/var/lib/faasd")
    assert tmp_at(FUNCTION, premises) == "/tmp"
    shared = Function("f", "m:h", permissions=Permissions(write=("/tmp",)))
    assert tmp_at(shared, premises) == "/var/lib/faasd"
