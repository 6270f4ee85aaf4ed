"""A function reads and writes what it was given, its code and the system's libraries; each wall beside its control.

Two walls stand here: Landlock, and the read-only view that a mount namespace gives. So what must not be written is
tried without both for the control.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.containment.probing import probe, world

AS = pytest.mark.parametrize(
    "is_ordinary",
    [False, True] if os.geteuid() == 0 else [True],
    ids=lambda o: "ordinary" if o else "root",
)
REFUSED = {"EACCES", "EPERM", "EROFS"}

READABLE = {
    "own code": "open('{world}/code/file').read()",
    "given": "open('{world}/readable/file').read()",
    "the trigger's directory": "open('{world}/inbox/file').read(); os.listdir('{world}/inbox')",
    "what it may write": "open('{world}/out/file').read()",
    "libraries": "os.listdir('/usr/lib'); open(os.__file__).read()",
    "users": "open('/etc/passwd').read(); open('/etc/hosts').read()",
    "devices": "open('/dev/null', 'w').write('x'); open('/dev/urandom', 'rb').read(1)",
}
UNREADABLE = {
    "another function's code": "open('{world}/other/file')",
    "its names": "os.listdir('{world}/other')",
    "a file elsewhere": "open('{world}/elsewhere/file')",
    "by a link of its own": "os.symlink('{world}/elsewhere/file', '{world}/out/l'); open('{world}/out/l')",
    "by a link in its tmp": "os.symlink('{world}/elsewhere/file', os.environ['TMPDIR'] + '/l'); open(os.environ['TMPDIR'] + '/l')",
    "by way of /proc": "open('/proc/self/root{world}/elsewhere/file')",
    "by way of its cwd": "open('/proc/self/cwd/../elsewhere/file')",
    "terminals": "os.open('/dev/ptmx', os.O_RDWR)",
}
WRITABLE = {
    "a file": "open('{world}/out/file', 'a').write('x')",
    "a new one": "open('{world}/out/new', 'w').write('x'); os.rename('{world}/out/new', '{world}/out/newer')",
    "directories": "os.makedirs('{world}/out/a/b'); os.rename('{world}/out/newer', '{world}/out/a/b/c')",
    "a removal": "os.remove('{world}/out/a/b/c'); os.removedirs('{world}/out/a/b')",
    "modes": "os.chmod('{world}/out/file', 0o600)",
    "links": "os.link('{world}/out/file', '{world}/out/hard'); os.symlink('file', '{world}/out/soft')",
    "its tmp": "open(os.environ['TMPDIR'] + '/x', 'w').write('x')",
}
UNWRITABLE = {
    "its code": "open('{world}/code/file', 'a')",
    "a module beside it": "open('{world}/code/json.py', 'w')",
    "the trigger's directory": "open('{world}/inbox/new', 'w')",
    "a truncation": "os.truncate('{world}/readable/file', 0)",
    "an opening that truncates": "open('{world}/readable/file', 'w')",
    "an opening to read that truncates": "os.open('{world}/readable/file', os.O_RDONLY | os.O_TRUNC)",
    "an opening for neither that truncates": "os.open('{world}/readable/file', os.O_ACCMODE | os.O_TRUNC)",
    "a removal": "os.remove('{world}/inbox/file')",
    "a directory elsewhere": "os.mkdir('{world}/elsewhere/new')",
    "a rename away": "os.rename('{world}/readable/file', '{world}/readable/other')",
    "a socket": "import socket; socket.socket(socket.AF_UNIX).bind('{world}/elsewhere/socket')",
    "a mode": "os.chmod('{world}/elsewhere/file', 0o777)",
    "times": "os.utime('{world}/elsewhere', (1, 1))",
    "an attribute": "os.setxattr('{world}/elsewhere/file', 'user.x', b'1')",
}


@pytest.fixture(
    params=[False, True] if os.geteuid() == 0 else [True], ids=lambda o: "ordinary" if o else "root"
)
def is_ordinary(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def tried(codes: dict[str, str], is_ordinary: bool, *without: str, **more: Any) -> dict[str, Any]:
    with world(is_ordinary=is_ordinary) as made:
        [found] = probe(made, [codes], is_ordinary=is_ordinary, without=without, **more)
    return found


@pytest.mark.parametrize("without", [(), ("mounts",)], ids=["all", "no-mounts"])
def test_what_was_given_can_be_used_and_nothing_else(
    is_ordinary: bool, without: tuple[str, ...]
) -> None:
    """Every try by itself; by a mount namespace's view or not."""
    allowed = {
        **{f"r {n}": c for n, c in READABLE.items()},
        **{f"w {n}": c for n, c in WRITABLE.items()},
    }
    denied = {
        **{f"r {n}": c for n, c in UNREADABLE.items()},
        **{f"w {n}": c for n, c in UNWRITABLE.items()},
    }
    if without:  # Landlock does not look at these.
        denied = {
            n: c for n, c in denied.items() if n not in ("w a mode", "w times", "w an attribute")
        }
    found = tried(
        {**{f"+{n}": c for n, c in allowed.items()}, **{f"-{n}": c for n, c in denied.items()}},
        is_ordinary,
        *without,
    )
    assert {n: e for n, e in found.items() if n[0] == "+" and e != "ok"} == {}
    assert {n: e for n, e in found.items() if n[0] == "-" and e not in REFUSED} == {}


def test_without_landlock_everything_can_be_read_and_without_both_it_can_be_written(
    is_ordinary: bool,
) -> None:
    """The controls: nothing but these walls has refused."""
    found = tried(UNREADABLE, is_ordinary, "landlock")
    assert {name: error for name, error in found.items() if error != "ok"} == {}
    found = tried(UNWRITABLE, is_ordinary, "landlock", "mounts")
    found.pop("an attribute", None)  # Not every file system has them.
    assert {name: error for name, error in found.items() if error != "ok"} == {}
    assert set(tried(UNWRITABLE, is_ordinary, "landlock").values()) == {"EROFS"}


TRUNCATIONS = {name: code for name, code in UNWRITABLE.items() if "truncat" in name}
OPENED_FOR_WRITING = {
    "an opening": "open('{world}/out/file', 'w').close()",
    "ftruncate": "open('{world}/out/file', 'r+').truncate(0)",
}


@pytest.mark.parametrize("abi", [1, 2])
def test_an_old_landlock_is_helped_out_where_it_knows_nothing_of_truncation(
    is_ordinary: bool, abi: int
) -> None:
    """By the read-only view, or else by the system-call filter; with neither, files are emptied."""
    old: dict[str, Any] = {"landlock_at_most": abi}
    for without in ((), ("mounts",)):
        found = tried(TRUNCATIONS | OPENED_FOR_WRITING, is_ordinary, *without, **old)
        assert {found.pop(name) for name in OPENED_FOR_WRITING} == {"ok"}
        assert set(found.values()) <= REFUSED, found
    control = tried(TRUNCATIONS, is_ordinary, "mounts", "seccomp", **old)
    plain = control.pop("an opening that truncates")  # Which is an opening for writing.
    assert plain in REFUSED
    assert set(control.values()) == {"ok"}


OWN = {
    "the state directory": "open('{world}/state/file')",
    "its names": "out = 'ok' if 'file' in os.listdir('{world}/state') else 'EMPTY'",
    "the configuration": "out = open('{world}/faasd.toml').read() and 'ok' or 'EMPTY'",
}


def test_the_daemons_own_places_are_out_of_reach(is_ordinary: bool) -> None:
    """Covered where mounts are, refused where only Landlock is; and there, where neither is."""
    assert set(tried(OWN, is_ordinary).values()) <= {"ENOENT", "EMPTY", "EACCES"}
    assert set(tried(OWN, is_ordinary, "landlock").values()) <= {"ENOENT", "EMPTY"}
    assert set(tried(OWN, is_ordinary, "mounts").values()) == {"EACCES"}
    assert set(tried(OWN, is_ordinary, "mounts", "landlock").values()) == {"ok"}


LINKS = {
    "hard": "os.link('{world}/readable/file', '{world}/out/hard'); open('{world}/out/hard', 'a')",
    "hard to tmp": "os.link('{world}/readable/file', os.environ['TMPDIR'] + '/hard')",
    "rename": "os.rename('{world}/inbox/file', '{world}/out/moved')",
    "exchange in": "os.rename('{world}/out/file', '{world}/code/probes.py')",
}


def test_a_file_cannot_be_brought_to_where_more_is_allowed(is_ordinary: bool) -> None:
    """By link(2) and rename(2): EXDEV is how both walls say it, so that programs copy instead."""
    for without in ((), ("mounts",)):
        assert set(tried(LINKS, is_ordinary, *without).values()) <= {"EXDEV", *REFUSED}
    found = tried(LINKS, is_ordinary, "mounts", "landlock")
    assert set(found.values()) == {"ok"}


def test_a_dropped_file_that_turned_into_a_link_leads_nowhere(is_ordinary: bool) -> None:
    """Between the daemon's look and the handler's open, whoever may write to the inbox can put a link in its place.

    A hard link is a file like any other: making one of what one may not read is what the kernel forbids, where
    fs.protected_hardlinks is set.
    """
    opened = {"link": "open('{world}/inbox/link')", "in between": "open('{world}/inbox/dir/file')"}
    with world(is_ordinary=is_ordinary) as made:
        (made.root / "inbox" / "link").symlink_to(made.root / "elsewhere" / "file")
        (made.root / "inbox" / "dir").symlink_to(made.root / "elsewhere")
        for without in ((), ("mounts",), ("landlock",), ("landlock", "mounts")):
            [found] = probe(made, [opened], is_ordinary=is_ordinary, without=without)
            is_walled = "landlock" not in without
            assert set(found.values()) <= (REFUSED if is_walled else {"ok"}), without
        os.link(made.root / "elsewhere" / "file", made.root / "inbox" / "hard")
        [found] = probe(made, [{"hard": "open('{world}/inbox/hard')"}], is_ordinary=is_ordinary)
        assert found == {"hard": "ok"}


def test_nobody_has_capabilities(is_ordinary: bool) -> None:
    """Neither the handler nor what it starts, which root's programs would otherwise get anew; nor the zygote."""
    codes = {
        "handler": "out = [l.split()[1] for l in open('/proc/self/status') if l[:6] in ('CapEff', 'CapPrm', 'CapInh', 'CapAmb')]",
        "program": "import subprocess; out = subprocess.run(['grep', '-E', 'Cap(Eff|Prm|Inh|Amb)', '/proc/self/status'], capture_output=True, text=True).stdout.split()[1::2]",
        "zygote": "out = [l.split()[1] for l in open('/proc/1/status') if l[:6] in ('CapEff', 'CapPrm', 'CapInh', 'CapAmb')]",
    }
    found = tried(codes, is_ordinary)
    zygotes = found.pop("zygote")
    assert list(found.values()) == [["0" * 16] * 4] * 2
    # Root's zygote keeps what it forks sandboxes with, in its user namespace: CAP_SYS_CHROOT and CAP_SYS_ADMIN.
    kept = "0" * 16 if is_ordinary else f"{1 << 18 | 1 << 21:016x}"
    assert zygotes == ["0" * 16, kept, kept, "0" * 16]


def test_device_nodes_cannot_be_made(is_ordinary: bool) -> None:
    """Nor used where somebody else made them: what holds private directories takes none."""
    code = (
        "import stat; os.mknod(os.environ['TMPDIR'] + '/n', 0o600 | stat.S_IFCHR, os.makedev(1, 3))"
    )
    assert tried({"node": code}, is_ordinary)["node"] in REFUSED


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user may not read these anyway")
def test_a_function_of_roots_reads_no_passwords_and_writes_no_cgroup() -> None:
    """Root owns them all; only the walls are between."""
    codes = {
        "shadow": "open('/etc/shadow')",
        "sysctl": "os.open('/proc/sys/vm/drop_caches', os.O_WRONLY)",
        "cgroup": """
lines = [line.strip().split(':', 2) for line in open('/proc/self/cgroup')]
paths = [(f'/sys/fs/cgroup/{c}{p}' if c else f'/sys/fs/cgroup{p}') + '/cgroup.procs' for _, c, p in lines]
paths = [path for path in paths if os.path.exists(path)]
for path in paths: os.open(path, os.O_WRONLY)
""",
    }
    assert set(tried(codes, False).values()) <= REFUSED
    assert set(tried(codes, False, "mounts").values()) <= REFUSED
    control = tried(codes, False, "mounts", "landlock")
    assert control == {"shadow": "ok", "sysctl": "ok", "cgroup": "ok"}
