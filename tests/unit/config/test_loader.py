"""What becomes of a configuration that is right."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from faasd.config.loader import load
from faasd.config.starter import STARTER_FILES, write_starter
from faasd.errors import Conflict
from faasd.functions.code_version import code_version
from faasd.model.declaration import Declared, Discovered, Module
from faasd.model.function import Destination, Function
from faasd.model.limits import Limits
from faasd.model.retry import RetryPolicy
from faasd.model.trigger import FilesTrigger, QueueTrigger, ScheduleTrigger
from tests.unit.config.conftest import Project


async def test_a_plain_function_gets_the_defaults_of_the_model(project: Project) -> None:
    """The defaults are declared once, in model/; a second set here would drift."""
    project.write("functions/a.py", "from faasd import function\n\n@function\ndef f(e, c): ...\n")
    loaded = await project.load("")
    assert loaded.problems == ()
    code_dir = str(project.root / "functions")
    assert loaded.functions == (
        Function(
            "f",
            handler="a:f",
            code_dir=code_dir,
            code_version=code_version(code_dir),
            origin=f"{code_dir}/a.py:3",
        ),
    )


async def test_toml_wins_over_the_decorator_and_both_over_the_defaults(project: Project) -> None:
    """Whoever runs a function must be able to tune it without touching its code."""
    project.write(
        "functions/a.py",
        """
        from faasd import every, function

        @function(
            timeout="5s", memory="64MiB", triggers=[every("1h")],
            retry={"attempts": 7, "first": "1s"}, env={"A": "code", "B": "code"},
        )
        def f(event, context): ...
        """,
    )
    loaded = await project.load(
        """
        [defaults]
        timeout = "1s"
        memory = "32MiB"
        processes = 5
        retry = { attempts = 2, backoff = "fixed", first = "3s" }
        env = { A = "defaults", D = "defaults" }
        [functions.f]
        memory = "128MiB"
        retry = { first = "2s" }
        env = { B = "toml" }
        triggers = [{ type = "every", interval = "2h", name = "slow" }]
        """
    )
    assert loaded.problems == ()
    [function] = loaded.functions
    assert function.limits == Limits(timeout_s=5.0, memory_bytes=128 * 2**20, processes=5)
    assert function.retry == RetryPolicy(attempts=7, backoff="fixed", first_s=2.0)
    assert function.permissions.env == {"A": "code", "B": "toml", "D": "defaults"}
    assert function.schedules == (ScheduleTrigger("slow", "every", interval_s=7200.0),)


async def test_every_kind_of_trigger_arrives_as_it_was_written(project: Project) -> None:
    """The rooms behind act on these values and on nothing else."""
    project.write(
        "functions/a.py",
        """
        from datetime import datetime, timedelta
        from pathlib import Path
        from faasd import at, cron, every, files, function, queue

        @function(timeout="45s", triggers=[
            cron("0 3 * * *", timezone="Europe/Berlin", catch_up="all", overlap="queue",
                 start=datetime(2030, 1, 1), filter={"missed": [False]}),
            every("5m", jitter="30s", start_deadline="1m"),
            at("2030-01-01T00:00:00Z", name="new-year"),
            files(Path("inbox"), pattern=["*.csv", "*.tsv"], recursive=True, settle="2s",
                  on_success="move:done", batch_size=10, batch_window="3s"),
            queue("mail", rate="10/s", concurrency=2, filter=[{"a": [1]}, {"b": [2]}]),
        ])
        def f(event, context): ...
        """,
    )
    loaded = await project.load("")
    assert loaded.problems == ()
    [function] = loaded.functions
    berlin = datetime(2029, 12, 31, 23, tzinfo=UTC).timestamp()
    assert function.schedules == (
        ScheduleTrigger(
            "f", "cron", "0 3 * * *", timezone="Europe/Berlin", catch_up="all", overlap="queue",
            start=berlin, filter=({"missed": [False]},),
        ),
        ScheduleTrigger("f-2", "every", interval_s=300.0, jitter_s=30.0, start_deadline_s=60.0),
        ScheduleTrigger("new-year", "at", at=datetime(2030, 1, 1, tzinfo=UTC).timestamp()),
    )  # fmt: skip
    inbox = f"{project.root}/inbox"
    assert function.files == (
        FilesTrigger(
            f"f:{inbox}", inbox, ("*.csv", "*.tsv"), recursive=True, settle_s=2.0,
            on_success=f"move:{project.root}/done", batch_size=10, batch_window_s=3.0,
        ),
    )  # fmt: skip
    assert function.queues == (
        QueueTrigger(
            "mail", rate=(10, 1.0), concurrency=2, visibility_timeout_s=45.0, filter=({"a": [1]}, {"b": [2]})
        ),
    )  # fmt: skip


async def test_a_default_destination_is_not_its_own(project: Project) -> None:
    """`on_failure` for all, to a function that is one of all, would alert about its alerts for ever."""
    loaded = await project.load(
        """
        [defaults]
        on_failure = "function:alert"
        [functions.alert]
        command = ["true"]
        [functions.work]
        command = ["true"]
        on_success = ["queue:done", "function:alert"]
        [functions.done]
        command = ["true"]
        triggers = [{ type = "queue", name = "done" }]
        """.replace('name = "done"', 'name = "finished"').replace("queue:done", "queue:finished")
    )
    assert loaded.problems == ()
    alert, done, work = loaded.functions
    assert alert.on_failure == ()
    assert work.on_failure == done.on_failure == (Destination("function", "alert"),)
    assert work.on_success == (Destination("queue", "finished"), Destination("function", "alert"))


async def test_a_function_can_be_declared_in_toml_alone(project: Project) -> None:
    """Existing code and programs run without a line of faasd in them."""
    project.write("lib/thumbs.py", "def make(event, context): ...\n")
    script = project.write("bin/report.sh", "#!/bin/sh\n", mode=0o755)
    loaded = await project.load(
        """
        [daemon]
        functions = ["lib"]
        [functions.thumbnail]
        handler = "thumbs:make"
        [functions.report]
        command = ["bin/report.sh", "--daily"]
        [functions.plain]
        command = ["true"]
        [functions.off]
        command = ["true"]
        enabled = false
        """
    )
    assert loaded.problems == ()
    assert loaded.disabled == ("off",)
    plain, report, thumbnail = loaded.functions
    assert (thumbnail.handler, thumbnail.code_dir) == ("thumbs:make", f"{project.root}/lib")
    assert report.command == (str(script), "--daily")
    assert (report.code_dir, report.origin) == (str(project.root), f"{project.config}:5")
    assert report.readable_code == (f"{project.root}/bin",)
    assert thumbnail.readable_code == (f"{project.root}/lib",)
    assert plain.readable_code == ()
    assert plain.command is not None
    assert Path(plain.command[0]).is_absolute()
    before = report.code_version
    script.write_text("#!/bin/sh\necho\n")
    assert {one.name: one.code_version for one in (await project.load()).functions}[
        "report"
    ] != before


async def test_an_installed_module_can_be_named(project: Project) -> None:
    """Functions may come as a package, into the environment of their interpreter."""
    loaded = await project.load(
        "[daemon]\nfunctions = []\n[functions.f]\nhandler = 'json.encoder:py_encode_basestring'\n"
    )
    [problem] = loaded.problems
    assert "cannot be called as handler(event, context)" in problem.message
    loaded = await project.load("[functions.f]\nhandler = 'os.path:relpath'\n")
    assert [one.handler for one in loaded.functions] == ["os.path:relpath"]


async def test_a_function_is_imported_under_its_own_interpreter_and_environment(
    project: Project,
) -> None:
    """What is installed for one interpreter, or set for one function, is not there for another."""
    wrapper = project.write(
        "py/python", f'#!/bin/sh\nSPECIAL=1 exec {sys.executable} "$@"\n', mode=0o755
    )
    project.write(
        "functions/needy.py",
        """
        import os
        from faasd import function
        os.environ["SPECIAL"], os.environ["TOKEN"]

        @function
        def needy(event, context): ...
        """,
    )
    assert "KeyError: 'SPECIAL'" in (await project.problems(""))[0]
    loaded = await project.load("[functions.needy]\npython = 'py/python'\nenv = { TOKEN = 'x' }\n")
    assert loaded.problems == ()
    [function] = loaded.functions
    assert (function.python, function.handler) == (str(wrapper), "needy:needy")


async def test_an_interpreter_that_lacks_what_the_handler_imports_is_reported(
    project: Project,
) -> None:
    """The decorator was read by one interpreter, and another one is to run the handler."""
    project.write("py/python", f'#!/bin/sh\nLACKING=1 exec {sys.executable} "$@"\n', mode=0o755)
    project.write(
        "functions/a.py",
        """
        import os
        from faasd import function
        if "LACKING" in os.environ: import gone

        @function(python="py/python")
        def f(event, context): ...
        """,
    )
    loaded = await project.load("")
    assert loaded.functions == ()
    [problem] = loaded.problems
    assert problem.message.startswith(
        "cannot be imported: ModuleNotFoundError: No module named 'gone'"
    )
    assert (problem.function, problem.line) == ("f", 3)


async def test_passed_variables_reach_the_import(project: Project) -> None:
    """And no other variable of the daemon does: it may hold secrets of other functions."""
    project.environ |= {"PASSED": "yes", "HIDDEN": "yes"}
    project.write(
        "functions/a.py",
        """
        import os
        from faasd import function

        @function(name=os.environ["PASSED"] + os.environ.get("HIDDEN", ""))
        def f(event, context): ...
        """,
    )
    loaded = await project.load("[defaults]\npass_env = ['PASSED', 'ABSENT']\n")
    assert [one.name for one in loaded.functions] == ["yes"]


async def test_tests_and_private_files_beside_functions_are_left_alone(project: Project) -> None:
    """They import test libraries, and importing them would run them."""
    for name in (
        "_helpers.py",
        "test_a.py",
        "a_test.py",
        "conftest.py",
        "setup.py",
        ".a.py",
        "notes.txt",
    ):
        project.write(f"functions/{name}", "import gone")
    project.write("functions/pkg/__init__.py", "from pkg import inner")
    project.write("functions/pkg/inner.py", "import faasd\n@faasd.function\ndef f(e, c): ...\n")
    project.write("functions/user.py", "from pkg.inner import f\nimport _note\n")
    project.write("functions/_note.py", "")
    loaded = await project.load("")
    assert loaded.problems == ()
    assert [one.handler for one in loaded.functions] == ["pkg.inner:f"]


async def test_what_comes_and_goes_in_watched_directories_is_not_code(project: Project) -> None:
    """Else every dropped file would make a new code version, and a new zygote."""
    project.write(
        "a.py", "import faasd\n@faasd.function(triggers=[faasd.files('in')])\ndef f(e, c): ...\n"
    )
    toml = "[daemon]\nfunctions = ['a.py']\nstate_dir = 'state'\n"
    versions = []
    for name in ("in/x.csv", "state/faasd.sqlite", "__pycache__/x.pyc", "data.json"):
        versions.append((await project.load(toml)).functions[0].code_version)
        project.write(name, "x")
    versions.append((await project.load(toml)).functions[0].code_version)
    assert versions[0] == versions[1] == versions[2] == versions[3] != versions[4]


async def test_the_daemon_gets_its_settings_with_absolute_paths(project: Project) -> None:
    """It may change its working directory, and its clients start anywhere."""
    loaded = await project.load("[daemon]\nstate_dir = 'state'\ndrain_timeout = '5s'\n")
    assert loaded.daemon.state_dir == project.root / "state"
    assert loaded.daemon.socket == project.root / "state" / "faasd.sock"
    assert loaded.daemon.drain_timeout_s == 5.0
    assert loaded.daemon.slots >= 4
    assert (
        await project.load("[daemon]\nsocket = '../s'\n")
    ).daemon.socket == project.root.parent / "s"
    project.environ["STATE_DIRECTORY"] = "/srv/state"
    assert (await project.load("")).daemon.socket == Path("/srv/state/faasd.sock")
    with pytest.raises(ValueError, match="frozen"):
        loaded.daemon.slots = 3


async def test_an_empty_configuration_is_a_right_one(project: Project) -> None:
    """Also without the default directory of functions."""
    loaded = await project.load("")
    assert (loaded.functions, loaded.problems) == ((), ())


async def test_the_starter_works_as_it_is(tmp_path: Path) -> None:
    """Five minutes after hearing of faasd, something must run."""
    written = write_starter(tmp_path)
    assert written == [tmp_path / name for name in STARTER_FILES]
    loaded = await Project(tmp_path).load()
    assert loaded.problems == ()
    assert [one.name for one in loaded.functions] == ["count_words", "greet", "heartbeat"]
    assert loaded.functions[0].files[0].path == str(tmp_path / "inbox")
    assert (tmp_path / "inbox").is_dir()


def test_the_starter_never_overwrites(tmp_path: Path) -> None:
    """`faasd init` in the wrong directory must not cost anybody their configuration."""
    (tmp_path / "faasd.toml").write_text("mine")
    with pytest.raises(Conflict, match=r"faasd\.toml already there"):
        write_starter(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["faasd.toml"]
    assert (tmp_path / "faasd.toml").read_text() == "mine"


async def test_loading_a_module_costs_a_few_interpreters(project: Project) -> None:
    """Ten functions must load in well under half a second, where an interpreter starts in 10 ms.

    Measured beside bare interpreters in the same run, because other work slows both.
    """
    for index in range(8):
        project.write(
            f"functions/m{index}.py", f"import faasd\n@faasd.function\ndef f{index}(e, c): ...\n"
        )
    project.write("faasd.toml", "")
    ours, bare = [], []
    for _ in range(4):  # The best counts; the first run also compiles.
        start = time.perf_counter()
        loaded = await project.load()
        ours.append(time.perf_counter() - start)
        assert len(loaded.functions) == 8
        start = time.perf_counter()
        for _ in range(8):
            subprocess.run([sys.executable, "-I", "-c", "pass"], check=True)
        bare.append(time.perf_counter() - start)
    assert min(ours) < 20 * min(bare), (ours, bare)


async def test_a_discovery_that_answers_nonsense_cannot_stop_the_others(project: Project) -> None:
    """The loader takes any discovery that keeps the seam; what a module reports is not trusted."""

    async def hostile(modules: list[Module]) -> list[Discovered]:
        odd = Declared(
            "../x", "m:f", {"timeout": [], "handler": "os:system", "triggers": {}}, "m.py", -1
        )
        return [Discovered(module, (odd,)) for module in modules]

    project.write("functions/m.py", "")
    project.write("faasd.toml", "[functions.ok]\ncommand = ['true']\n")
    loaded = await load(
        project.config,
        discover=hostile,  # type: ignore[arg-type]
        code_version=code_version,
        check_schedule=lambda _: None,
        check_pattern=lambda _: None,
    )
    assert [one.name for one in loaded.functions] == ["ok"]
    said = [problem.setting.rpartition("/")[2] for problem in loaded.problems]
    assert said == ["x.timeout", "x.triggers", "x.handler", "x"]


async def test_secrets_are_where_the_setting_or_systemd_says_or_beside_the_file(
    project: Project,
) -> None:
    """What the loader hands out is absolute."""
    assert (await project.load("")).daemon.secrets_dir == project.root / "secrets"
    project.environ["CREDENTIALS_DIRECTORY"] = "/run/credentials/faasd.service"
    assert (await project.load("")).daemon.secrets_dir == Path("/run/credentials/faasd.service")
    written = await project.load("[daemon]\nsecrets_dir = '../keys'\n")
    assert written.daemon.secrets_dir == project.root.parent / "keys"
