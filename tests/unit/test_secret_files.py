"""Secrets on disk: what is read, and what is refused with a way out."""

from __future__ import annotations

import os
import pwd
import struct
from pathlib import Path

import pytest

from faasd.errors import SecretError
from faasd.secret_files import (
    SECRET_BYTES_MAX,
    SECRETS_BYTES_MAX,
    name_problem,
    read_secret,
    read_secrets,
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write(tmp_path / "plain", b"value\n")
    return tmp_path


def write(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def refusal(place: Path, name: str) -> str:
    with pytest.raises(SecretError) as caught:
        read_secret(str(place), name)
    return str(caught.value)


def test_a_secret_is_its_file_byte_for_byte(place: Path) -> None:
    """What to strip is the reader's decision."""
    assert read_secret(str(place), "plain") == b"value\n"


def test_a_credential_of_systemd_is_read(place: Path) -> None:
    """Its files are read-only."""
    write(place / "credential", b"x", 0o400)
    assert read_secret(str(place), "credential") == b"x"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o602])
def test_a_file_that_others_may_read_or_change_is_refused(place: Path, mode: int) -> None:
    """With the mode that it has and the command that helps."""
    write(place / "open", b"x", mode)
    message = refusal(place, "open")
    assert f"(mode 0{mode:o})" in message
    assert f"run: chmod 600 {place}/open" in message


ACL_OF_SYSTEMD = [(0x01, 4, -1), (0x02, 4, 0), (0x04, 0, -1), (0x10, 4, -1), (0x20, 0, -1)]
ACL_OF_A_FRIEND = [(0x01, 6, -1), (0x02, 4, 4242), (0x04, 0, -1), (0x10, 4, -1), (0x20, 0, -1)]


@pytest.mark.parametrize(("entries", "is_read"), [(ACL_OF_SYSTEMD, True), (ACL_OF_A_FRIEND, False)])
def test_an_access_control_list_is_read_entry_by_entry(
    place: Path, entries: list[tuple[int, int, int]], is_read: bool
) -> None:
    """systemd lets the service's user in by one, which makes the mode look as if the group were."""
    path = write(place / "listed", b"x", 0o400)
    ours = [(tag, allowed, os.geteuid() if who == 0 else who) for tag, allowed, who in entries]
    packed = b"".join(struct.pack("<HHI", t, a, w & 0xFFFFFFFF) for t, a, w in ours)
    try:
        os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + packed)
    except OSError as error:
        pytest.skip(f"no access control lists on this file system: {error}")
    assert path.stat().st_mode & 0o070  # As it looks.
    if is_read:
        assert read_secret(str(place), "listed") == b"x"
    else:
        assert "chmod 600" in refusal(place, "listed")


def test_a_link_may_not_lead_out_of_the_directory(place: Path) -> None:
    """Within it may: mounted secrets are made of links."""
    inside = place / "secrets"
    inside.mkdir()
    write(inside / "..data-1", b"x")
    (inside / "link").symlink_to("..data-1")
    assert read_secret(str(inside), "link") == b"x"
    (inside / "out").symlink_to(place / "plain")
    assert "is a link out of its directory" in refusal(inside, "out")


def test_what_is_no_plain_file_is_refused(place: Path) -> None:
    """And a pipe that nobody writes to does not make us wait."""
    os.mkfifo(place / "pipe", 0o600)
    (place / "directory").mkdir(0o700)
    assert "is not a file" in refusal(place, "pipe")
    assert "is not a file" in refusal(place, "directory")


def test_a_missing_file_and_a_missing_directory_say_where(place: Path) -> None:
    """The path that was looked at is what people need."""
    assert f"{place}/gone does not exist" in refusal(place, "gone")
    assert f"{place}/none/gone does not exist" in refusal(place / "none", "gone")


def test_there_is_a_limit_for_one_and_for_all(place: Path) -> None:
    """And exactly the limit is within it."""
    write(place / "full", b"x" * SECRET_BYTES_MAX)
    assert len(read_secret(str(place), "full")) == SECRET_BYTES_MAX
    write(place / "over", b"x" * (SECRET_BYTES_MAX + 1))
    assert "larger than a secret may be, 64KiB" in refusal(place, "over")
    names = [f"s{number}" for number in range(SECRETS_BYTES_MAX // SECRET_BYTES_MAX + 1)]
    for name in names:
        write(place / name, b"x" * SECRET_BYTES_MAX)
    assert len(read_secrets(str(place), names[:-1])) == len(names) - 1
    with pytest.raises(SecretError, match="512KiB together"):
        read_secrets(str(place), names)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".hidden", "a b", "a\n", "x" * 101])
def test_a_name_is_that_of_a_file_in_the_directory(place: Path, name: str) -> None:
    """Whoever names a secret names no other path."""
    assert name_problem(name) is not None
    assert "cannot be the name of a secret" in refusal(place, name)
    assert name_problem("smtp-password_2.key@host") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_users_file_is_refused(place: Path) -> None:
    """Its owner can read and change it."""
    path = write(place / "theirs", b"x")
    os.chown(path, 65534, -1)
    me = pwd.getpwuid(os.geteuid()).pw_name
    assert f"belongs to another user, {pwd.getpwuid(65534).pw_name}" in refusal(place, "theirs")
    assert f"run: chown {me} {path}" in refusal(place, "theirs")
