"""When a wall stops a handler, its error says what it wanted, which wall that was, and the one setting."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faasd.model.limits import Limits
from faasd.model.outcome import Outcome
from faasd.model.permissions import Permissions, Ports
from tests.containment.bench import Bench, an_attempt, skip_without_ports
from tests.containment.test_commands import a_command


def hint_of(outcome: Outcome) -> str:
    assert outcome.word in ("error", "crashed", "init-error"), outcome
    assert outcome.error is not None
    return outcome.error.hint or ""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that nobody was given, and not in /tmp, which may be the attempt's own."""
    path = Path(tempfile.mkdtemp(prefix="faasd-test-", dir="/var/tmp"))
    path.chmod(0o755)
    (path / "x").write_text("content")
    yield path
    shutil.rmtree(path)


async def test_a_file_that_was_not_given_names_path_and_setting(bench: Bench, place: Path) -> None:
    """And with just that setting the same handler runs."""
    path = str(place / "x")
    said = hint_of(await bench.run("refused:read", {"path": path}))
    assert said == (
        f"the wall 'files' is in the way: function 'read' was not given \"{path}\" for reading it; "
        f'set read = ["{path}"]'
    )
    given = Permissions(read=(path,))
    outcome = await bench.run("refused:read", {"path": path}, permissions=given)
    assert outcome.result_json == '"content"'


async def test_a_new_file_names_the_directory_it_would_be_in(bench: Bench, place: Path) -> None:
    """The file itself does not exist yet, so no list could hold it."""
    said = hint_of(await bench.run("refused:write", {"path": str(place / "new")}))
    assert said.endswith(f'set write = ["{place}"]')
    given = Permissions(write=(str(place),))
    event = {"path": str(place / "new")}
    assert (await bench.run("refused:write", event, permissions=given)).word == "ok"


@pytest.mark.parametrize(
    "source",
    [
        "open({path!r})",
        "import snapshot_restore_py as s; s.register_before_snapshot(open, {path!r})",
        "import snapshot_restore_py as s; s.register_after_restore(open, {path!r})",
    ],
    ids=["import", "hook-before", "hook-after"],
)
async def test_a_refused_import_or_hook_names_path_and_setting(
    bench: Bench, place: Path, tmp_path: Path, source: str
) -> None:
    """The module runs in the zygote, behind the same wall. The control: with that setting it is imported."""
    code = tmp_path / "code"
    code.mkdir()
    path = str(place / "x")
    (code / "loading.py").write_text(
        f"{source.format(path=path)}\ndef handler(event, context): ...\n"
    )
    bench.code_dir = str(code)
    outcome = await bench.run("loading:handler")
    assert outcome.word == ("error" if "after" in source else "init-error")
    assert f'set read = ["{path}"]' in hint_of(outcome)
    given = Permissions(read=(path,))
    assert (await bench.run("loading:handler", permissions=given)).word == "ok"


async def test_the_cause_of_an_exception_of_the_handlers_own_is_found(
    bench: Bench, place: Path
) -> None:
    """Good programs wrap."""
    outcome = await bench.run("refused:wrapped", {"path": str(place / "x")})
    assert outcome.error is not None
    assert outcome.error.type == "ValueError"
    assert f'read = ["{place}/x"]' in hint_of(outcome)


async def test_what_a_child_says_on_stderr_is_read_too(bench: Bench, place: Path) -> None:
    """The handler knows no more than an exit code."""
    said = hint_of(await bench.run("refused:run_cat", {"path": str(place / "x")}))
    assert f'read = ["{place}/x"]' in said


@pytest.mark.parametrize(
    ("script", "setting"),
    [
        ('cat "{place}/x"', 'read = ["{place}/x"]'),
        ('echo 1 > "{place}/new"', 'write = ["{place}"]'),
        ('touch "{place}/new"', 'write = ["{place}"]'),
        ('mkdir "{place}/d"', 'write = ["{place}"]'),
        ("python3 -c \"open('{place}/x')\"", 'read = ["{place}/x"]'),
    ],
)
async def test_a_command_gets_its_hint_from_its_last_lines(
    bench: Bench, place: Path, tmp_path: Path, script: str, setting: str
) -> None:
    """Each program in its own words."""
    command = a_command("sh", "-c", script.format(place=place), code_dir=tmp_path)
    said = hint_of(await bench.run_attempt(an_attempt(command)))
    assert setting.format(place=place) in said


async def test_a_refused_mount_leads_to_the_list_of_calls(
    bench: Bench, place: Path, tmp_path: Path
) -> None:
    """mount(8) says of the call what others say of a path; a path in `write` would not help."""
    command = a_command("mount", "-t", "tmpfs", "none", str(place), code_dir=tmp_path)
    said = hint_of(await bench.run_attempt(an_attempt(command)))
    assert "docs/system-calls.md" in said
    assert "write = [" not in said


async def test_a_files_own_permissions_are_not_blamed_on_the_wall(
    bench: Bench, place: Path
) -> None:
    """The list allows it; its mode does not. Somebody would widen the list for ever."""
    (place / "x").chmod(0)
    given = Permissions(read=(str(place),))
    outcome = await bench.run("refused:read", {"path": str(place / "x")}, permissions=given)
    said = hint_of(outcome)
    assert said.startswith("the file's own permissions refuse")
    assert "read = [" not in said


async def test_a_file_of_nobodys_has_no_hint(bench: Bench) -> None:
    """No wall, no setting: a typing error is told by the error itself."""
    assert hint_of(await bench.run("refused:read", {"path": "/usr/no/such/file"})) == ""


async def test_descriptors_at_their_limit_name_it(bench: Bench) -> None:
    """EMFILE does not say whose limit that was."""
    outcome = await bench.run("refused:open_many", {}, open_files=100)
    assert "open_files = 100; raise `open_files`" in hint_of(outcome)
    assert "1000" in str((await bench.run("refused:open_many", {}, open_files=1100)).error)


async def test_a_refused_call_leads_to_the_list_of_calls(bench: Bench) -> None:
    """EPERM has no path."""
    said = hint_of(await bench.run("refused:unshare", {}))
    assert "the wall 'system-calls'" in said
    assert "docs/system-calls.md" in said


@pytest.fixture
def port() -> Iterator[int]:
    """A port of the host on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("network", "setting"),
    [(False, "set network = true"), (Ports(connect=(9,)), "network = [9, {port}]")],
    ids=["none", "ports"],
)
async def test_a_connection_that_the_wall_stops_names_address_and_setting(
    bench: Bench, port: int, network: bool | Ports, setting: str
) -> None:
    """And one to a port where nobody listens is nobody's wall."""
    permissions = Permissions(network=network)
    outcome = await bench.run("refused:connect", {"port": port}, permissions=permissions)
    skip_without_ports(outcome)
    said = hint_of(outcome)
    assert "the wall 'network'" in said
    assert f"127.0.0.1:{port}" in said
    assert setting.format(port=port) in said
    assert (await bench.run("refused:connect", {"port": port})).word == "ok"
    assert hint_of(await bench.run("refused:connect", {"port": 1})) == ""


async def test_the_hint_of_a_liar_is_bounded(bench: Bench) -> None:
    """It may say what it likes, and only so much of it."""
    outcome = await bench.run("refused:lie", {})
    assert len(hint_of(outcome)) < 5000
    assert "\x1b" not in hint_of(outcome)


async def test_without_the_wall_nothing_is_blamed_on_it(tmp_path: Path, place: Path) -> None:
    """The control: the same handler, the wall off."""
    from faasd.sandbox.sandboxes import ProcessSandboxes

    sandboxes = ProcessSandboxes(tmp_path / "state", without={"landlock"})
    await sandboxes.start()
    try:
        bench = Bench(sandboxes)
        assert (await bench.run("refused:read", {"path": str(place / "x")})).word == "ok"
        said = hint_of(await bench.run("refused:connect", {"port": 1}))
    finally:
        await sandboxes.stop()
    assert said == ""


async def test_renaming_out_of_the_private_directory_says_what_to_do(
    bench: Bench, place: Path
) -> None:
    """The usual way to write a file in one piece; shutil.move does the same where rename cannot."""
    given = Permissions(write=(str(place),))
    event = {"path": str(place / "new"), "plainly": False}
    assert (await bench.run("refused:move_out", event, permissions=given)).word == "ok"
    event["plainly"] = True
    outcome = await bench.run("refused:move_out", event, permissions=given)
    if "tmp-quota" in outcome.degraded:
        pytest.skip("the private directory is on the same file system here, so rename works")
    assert "shutil.move" in hint_of(outcome)


async def test_the_hosts_tmp_is_not_in_sight_and_the_hint_says_so(
    bench: Bench, tmp_path: Path
) -> None:
    """A file that is plainly there is not found, which nobody would guess."""
    (tmp_path / "x").write_text("content")
    event = {"path": str(tmp_path / "x")}
    outcome = await bench.run("refused:read", event)
    if "tmp-quota" in outcome.degraded or not str(tmp_path).startswith("/tmp/"):
        pytest.skip("this host's /tmp is the attempts' too, or pytest's directories are elsewhere")
    assert "each attempt has a /tmp of its own" in hint_of(outcome)
    assert f'read = ["{tmp_path}/x"]' in hint_of(outcome)
    given = Permissions(read=(str(tmp_path / "x"),))
    assert (await bench.run("refused:read", event, permissions=given)).word == "ok"


async def test_a_full_private_directory_names_its_size(bench: Bench) -> None:
    """Where it is a file system of its own; elsewhere it is the disk's."""
    limits: dict[str, Any] = {"tmp_size_bytes": 2**20}
    outcome = await bench.run("refused:fill_tmp", {"mib": 3}, **limits)
    if "tmp-quota" in outcome.degraded:
        pytest.skip("no private directory in memory on this host; its size is watched instead")
    assert "tmp_size = 1MiB; raise `tmp_size`" in hint_of(outcome)
    assert (await bench.run("refused:fill_tmp", {"mib": 3})).word == "ok"
    assert Limits().tmp_size_bytes > 3 * 2**20
