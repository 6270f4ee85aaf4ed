"""What people get wrong, and what they are told."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from tests.unit.config.conftest import Project


def trigger(text: str) -> str:
    return f"[functions.f]\ncommand = ['true']\ntriggers = [{{ {text} }}]\n"


def function(text: str) -> str:
    return f"[functions.f]\ncommand = ['true']\n{text}\n"


CASES = [
    # The file
    ("[daemon\n", r"1:8: is not TOML: Expected ']' at the end of a table declaration"),
    ("a = 'x", r"1:7: is not TOML: "),
    ("[deamon]\n", r'1:2: deamon: unknown table; did you mean "daemon"\?'),
    ("defaults = 3\n", r"1:1: defaults: expected a table: \[defaults\]"),
    # Names
    ("[daemon]\nslot = 3\n", r'2:1: daemon.slot: unknown setting; did you mean "slots"\?'),
    ("[daemon]\ntimeout = '3s'\n", r"2:1: daemon.timeout: unknown setting; it is a setting of \[defaults\] and of functions"),
    (function("pattern = '*'"), r'3:1: functions.f.pattern: unknown setting; it is a setting of triggers of type "files"'),
    (function("zzz = 3"), r"3:1: functions.f.zzz: unknown setting$"),
    (function("retry = { attemps = 3 }"), r'3:11: functions.f.retry.attemps: unknown setting; did you mean "attempts"\?'),
    ('[functions."a/b"]\ncommand = ["true"]\n', r"1:12: functions.a/b: this cannot be the name of a function: expected at most 100"),
    # Kinds
    (function("timeout = 30"), r'3:1: functions.f.timeout: expected a duration .* not 30; did you mean "30s"\?'),
    (function("memory = 256"), r'3:1: functions.f.memory: expected a size with its unit, .* did you mean "256MiB"\?'),
    (function("memory = '1KiB'"), r"3:1: functions.f.memory: expected at least 16MiB, not 1KiB"),
    (function("timeout = '8d'"), r"3:1: functions.f.timeout: expected at most 7d, not 8d"),
    (function("processes = '3'"), r"3:1: functions.f.processes: expected a whole number, not '3'; did you mean 3, without quotes\?"),
    (function("processes = true"), r"3:1: functions.f.processes: expected a whole number, not True"),
    (function("processes = 0"), r"3:1: functions.f.processes: expected at least 1, not 0"),
    (function("dead_letter = 'no'"), r"3:1: functions.f.dead_letter: expected true or false, not 'no'; did you mean false, without quotes\?"),
    (function("containment = 'strickt'"), r'3:1: functions.f.containment: expected "strict" or "best-effort", not \'strickt\'; did you mean "strict"\?'),
    (function("env = { A = 1 }"), r'3:9: functions.f.env.A: expected text, not 1; did you mean "1"\?'),
    (function("env = { 'A B' = '' }"), r"3:1: functions.f.env: expected the name of an environment variable, not 'A B'"),
    (function("env = { FAASD_TRIGGER = 'x' }"), r"3:1: functions.f.env: FAASD_TRIGGER is set by faasd, and cannot be given"),
    (function("pass_env = 'CREDENTIALS_DIRECTORY'"), r"3:1: functions.f.pass_env: CREDENTIALS_DIRECTORY is set by faasd, .* in `secrets`"),
    (function("secrets = '../state/faasd.db'"), r"3:1: functions.f.secrets: '../state/faasd.db' cannot be the name of a secret"),
    (function("secrets = ['gone']"), r"3:1: functions.f.secrets: there is no secret 'gone': secrets/gone does not exist"),
    (function("user = 'nobdoy'"), r"3:1: functions.f.user: there is no user 'nobdoy' on this host; did you mean \"nobody\"\?"),
    (function("retry = { first = '1h', max = '5m' }"), r"3:25: functions.f.retry.max: 5m is shorter than the first wait, 1h"),
    (function("on_failure = 'g'"), r'3:1: functions.f.on_failure: expected .* not \'g\'; did you mean "function:g"\?'),
    # What runs
    ("[functions.f]\n", r"1:12: functions.f: no function of this name is declared in Python; it needs a handler or a command"),
    ("[functions.f]\ncommand = 'true'\n", r"2:1: functions.f.command: expected a list, not 'true'; put it in brackets"),
    ("[functions.f]\ncommand = ['./gone.sh']\n", r"2:12: functions.f.command\[0\]: gone.sh does not exist"),
    ("[functions.f]\ncommand = ['no-such-program']\n", r"2:12: functions.f.command\[0\]: there is no program 'no-such-program' in PATH"),
    ("[functions.f]\ncommand = ['./faasd.toml']\n", r"2:12: functions.f.command\[0\]: faasd.toml is not executable; run: chmod \+x"),
    ("[functions.f]\nhandler = 'm:f'\ncommand = ['true']\n", r"3:1: functions.f.command: a function has a handler or a command, not both"),
    ("[functions.f]\nhandler = 'm.f'\n", r'2:1: functions.f.handler: expected "module:function"'),
    ("[functions.f]\nhandler = 'gone:f'\n", r"2:1: functions.f.handler: module 'gone' cannot be imported: ModuleNotFoundError"),
    ("[defaults]\npython = './gone'\n[functions.f]\nhandler = 'm:f'\n", r"2:1: defaults.python: gone does not exist"),
    ("[functions.f]\nhandler = 'm:f'\npython = './gone'\n", r"3:1: functions.f.python: gone does not exist"),
    (function("python = 'python3'"), r"3:1: functions.f.python: has no effect on a command"),
    ("[daemon]\nfunctions = ['functoins']\n", r"2:14: daemon.functions\[0\]: functoins does not exist"),
    ("[daemon]\nfunctions = ['no.such.module']\n", r"2:1: daemon.functions: module 'no.such.module' cannot be imported"),
    ("[daemon]\nsocket_group = 'no-such-group'\n", r"2:1: daemon.socket_group: there is no group 'no-such-group' on this host"),
    (f"[daemon]\nsocket = '/{'x' * 107}'\n", r"2:1: daemon.socket: \S+ is 108 bytes long, and the kernel takes at most 107"),
    # Triggers
    (trigger("type = 'crn'"), r"3:13: functions.f.triggers\[0\]: no trigger has the type 'crn'; .* did you mean \"cron\"\?"),
    (trigger("path = '/srv'"), r"3:13: functions.f.triggers\[0\]: a trigger needs a type"),
    (trigger("type = 'files'"), r"3:13: functions.f.triggers\[0\].path: is required; expected text"),
    (trigger("type = 'every', interval = '5m', overlp = 'skip'"), r'3:48: functions.f.triggers\[0\].overlp: unknown setting; did you mean "overlap"\?'),
    (trigger("type = 'cron', expression = 'x', timezone = 'Europe/Berln'"), r'3:48: functions.f.triggers\[0\].timezone: .* did you mean "Europe/Berlin"\?'),
    (trigger("type = 'at', time = '2030-01-01T00:00:00'"), r'3:28: functions.f.triggers\[0\].time: has no time zone; write for example "2030-01-01T00:00:00Z"'),
    (trigger("type = 'at', time = 2030-01-01"), r'3:28: functions.f.triggers\[0\].time: expected a time .* did you mean "2030-01-01T00:00:00Z"\?'),
    (trigger("type = 'every', interval = '5m', start = 2030-01-02T00:00:00Z, end = 2030-01-01T00:00:00Z"), r"functions.f.triggers\[0\].end: is not after `start`"),
    (trigger("type = 'queue', name = 'q', visibility_timeout = '30s'"), r"3:43: functions.f.triggers\[0\].visibility_timeout: 30s is shorter than the function's timeout of 1m"),
    (trigger("type = 'queue', name = 'q', rate = '10'"), r"3:43: functions.f.triggers\[0\].rate: expected a rate such as"),
    (trigger("type = 'files', path = 'in', on_success = 'mv:out'"), r'functions.f.triggers\[0\].on_success: expected "keep", "delete" or "move:DIR"'),
    (trigger("type = 'files', path = 'in', on_success = 'move:in'"), r"functions.f.triggers\[0\].on_success: in is the watched directory itself"),
    (trigger("type = 'files', path = 'in', recursive = true, on_failure = 'move:in/bad'"), r'functions.f.triggers\[0\].on_failure: .* add exclude = \["bad/\*"\]'),
    (trigger("type = 'files', path = 'in', marker = 'a/b'"), r"functions.f.triggers\[0\].marker: expected the end of a file name"),
    (trigger("type = 'files', path = 'in', pattern = '/srv/*'"), r"functions.f.triggers\[0\].pattern: '/srv/\*' can never match"),
    (trigger("type = 'every', interval = '5m', filter = 3"), r"functions.f.triggers\[0\].filter: expected a table, or a list of tables"),
    # Between functions
    (function("on_success = 'function:f'"), r"3:1: functions.f.on_success: 'function:f' is the function itself"),
    (function("on_success = 'function:g'\n[functions.gg]\ncommand = ['true']"), r"3:1: functions.f.on_success: there is no function 'g'"),
    (function("on_failure = 'queue:emial'\ntriggers = [{type = 'queue', name = 'email'}]"), r'3:1: functions.f.on_failure: there is no queue \'emial\'; did you mean "email"\?'),
    (trigger("type = 'queue', name = 'q'") + "[functions.g]\ncommand = ['true']\ntriggers = [{ type = 'queue', name = 'q' }]\n", r"6:31: functions.g.triggers\[0\].name: queue 'q' is consumed by function 'f' \(faasd.toml:1\) already"),
    (trigger("type = 'queue', name = 'g'") + "[functions.g]\ncommand = ['true']\n", r"functions.f.triggers\[0\].name: queue 'g' is named like a function"),
    (trigger("type = 'every', interval = '5m', name = 'g'") + "[functions.g]\ncommand = ['true']\ntriggers = [{ type = 'every', interval = '1m' }]\n", r"6:13: functions.g.triggers\[0\].name: schedule 'g' belongs to function 'f'"),
    (function("triggers = [{type='files', path='in'}, {type='files', path='./in'}]"), r"functions.f.triggers\[1\].name: two triggers of this function are files trigger"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("toml", "expected"), CASES, ids=[str(number) for number in range(len(CASES))]
)
async def test_a_mistake_is_named_with_its_place_and_the_likely_intention(
    project: Project, toml: str, expected: str
) -> None:
    """The one line that somebody reads must be enough to put it right."""
    problems = await project.problems(toml)
    assert len(problems) == 1, problems
    assert re.match(f"faasd.toml:.*{expected}", problems[0]), problems[0]
    place = re.match(r"\d+:\d+", expected.replace("\\", ""))
    if place:
        assert problems[0].startswith(f"faasd.toml:{place[0]}: ")


async def test_a_secret_that_cannot_be_used_says_why_and_what_helps(project: Project) -> None:
    """One that is open to others, and one that is misspelt; the same ones closed and spelt right are fine."""
    path = project.write("secrets/smtp-password", "x", 0o644)
    toml = function("secrets = ['smtp-password', 'smtp-pasword']")
    problems = await project.problems(toml)
    assert len(problems) == 2
    assert "may be read or changed by others (mode 0644); run: chmod 600 secrets/" in problems[0]
    assert problems[1].endswith(
        'does not exist; write it there, or set `secrets_dir`; did you mean "smtp-password"?'
    )
    path.chmod(0o600)
    loaded = await project.load(function("secrets = ['smtp-password', 'smtp-password']"))
    assert loaded.problems == ()
    assert loaded.functions[0].permissions.secrets == ("smtp-password",)


async def test_another_user_needs_a_daemon_that_is_root(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said at check; with best-effort it is a warning, and the function runs as the daemon does."""
    toml = function("user = 'nobody'")
    monkeypatch.setattr("os.geteuid", lambda: 1)
    [problem] = await project.problems(toml)
    assert (
        "functions.f.user: running as 'nobody' needs the daemon to run as root; it runs as daemon"
        in problem
    )
    loaded = await project.load(toml + "containment = 'best-effort'\n")
    assert [problem.is_warning for problem in loaded.problems] == [True]
    assert [one.permissions.user for one in loaded.functions] == ["nobody"]
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert (await project.load(toml)).problems == ()


async def test_every_mistake_is_reported_at_once(project: Project) -> None:
    """One at a time means as many runs of `faasd check` as there are mistakes."""
    project.write(
        "functions/a.py",
        """
        from faasd import cron, function

        @function(timeout="5", triggers=[cron("* * * * *", overlap="skp")])
        def late(event, context): ...
        """,
    )
    problems = await project.problems(
        """
        [daemon]
        slots = 0
        log_level = "inf"
        [defaults]
        timeout = 1
        retry = { attempts = 0, jitter = 2 }
        [functions.f]
        commnd = ["x"]
        [functions.late]
        memory = "1"
        """
    )
    settings = [re.sub(r"^(\S+): ([\w.\[\]]+): .*", r"\1 \2", problem) for problem in problems]
    assert settings == [
        "faasd.toml:2:1 daemon.slots",
        "faasd.toml:3:1 daemon.log_level",
        "faasd.toml:5:1 defaults.timeout",
        "faasd.toml:6:11 defaults.retry.attempts",
        "faasd.toml:6:25 defaults.retry.jitter",
        "faasd.toml:8:1 functions.f.commnd",
        "faasd.toml:10:1 functions.late.memory",
        "functions/a.py:3 functions.late.timeout",
        "functions/a.py:3 functions.late.triggers[0].overlap",
    ]


async def test_a_wrong_setting_does_not_hide_what_is_found_out_later(project: Project) -> None:
    """A path, a filter or a name of another function can be looked at although a neighbour is wrong."""
    problems = await project.problems(
        """
        [daemon]
        functions = []
        slots = "many"
        [functions.f]
        command = ["./gone.sh"]
        memory = "12 parsecs"
        retry = { first = "1h", max = "1s", attemps = 3 }
        on_failure = "queue:nowhere"
        triggers = [
            { type = "queue", name = "q", rate = "5" },
            { type = "queue", name = "q" },
        ]
        """
    )
    settings = [re.sub(r"^(\S+): ([\w.\[\]]+): .*", r"\1 \2", problem) for problem in problems]
    assert settings == [
        "faasd.toml:3:1 daemon.slots",
        "faasd.toml:5:12 functions.f.command[0]",
        "faasd.toml:6:1 functions.f.memory",
        "faasd.toml:7:25 functions.f.retry.max",
        "faasd.toml:7:37 functions.f.retry.attemps",
        "faasd.toml:8:1 functions.f.on_failure",
        "faasd.toml:10:35 functions.f.triggers[0].rate",
        "faasd.toml:11:23 functions.f.triggers[1].name",
    ]


async def test_a_function_with_a_mistake_is_never_among_those_that_run(project: Project) -> None:
    """It is looked at as far as it can be understood, and that must not be how it runs."""
    project.write(
        "functions/a.py",
        """
        from faasd import function

        @function(timeout="5")
        def bad(event, context): ...

        @function(on_failure="function:bad")
        def good(event, context): ...
        """,
    )
    loaded = await project.load("")
    assert [function.name for function in loaded.functions] == ["good"]
    assert len(loaded.problems) == 1


async def test_what_others_know_about_schedules_and_patterns_is_reported_in_place(
    project: Project,
) -> None:
    """Cron arithmetic and filter patterns live elsewhere; their verdicts belong to the same list."""
    text = trigger("type = 'cron', expression = '61 * * * *', filter = { a = 3 }")
    problems = await project.problems(text, check_pattern=lambda pattern: f"no lists in {pattern}")
    assert problems == ["faasd.toml:3:57: functions.f.triggers[0].filter: no lists in {'a': 3}"]
    text = trigger("type = 'cron', expression = '61 * * * *'")
    problems = await project.problems(
        text, check_schedule=lambda one: f"minute of {one.expression}"
    )
    assert problems == ["faasd.toml:3:30: functions.f.triggers[0].expression: minute of 61 * * * *"]


async def test_a_file_that_is_not_utf8_or_not_there_is_one_clear_problem(project: Project) -> None:
    """These come before any setting can be read."""
    assert await project.problems() == ["faasd.toml: cannot be read: No such file or directory"]
    project.config.write_bytes(b"[daemon]\n# caf\xe9\n")
    [problem] = await project.problems()
    assert problem.startswith("faasd.toml:2: is not UTF-8")


async def test_a_file_named_like_the_standard_library_is_refused(project: Project) -> None:
    """It would replace that module for everything that the handler imports."""
    project.write("functions/queue.py", "")
    [problem] = await project.problems("")
    assert problem.startswith("functions/queue.py: hides the standard library's module 'queue'")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import gone\n", r"functions/a.py:1: cannot be imported: ModuleNotFoundError: No module named 'gone'; install it for"),
        ("x = (\n", r"functions/a.py:1: cannot be imported: SyntaxError"),
        ("def f():\n    1 / 0\nf()\n", r"functions/a.py:2: cannot be imported: ZeroDivisionError: division by zero\n    functions/a.py:3 in <module>\n    functions/a.py:2 in f"),
        ("import faasd\n@faasd.function(timout='3s')\ndef f(e, c): ...\n", r"functions/a.py:2: functions.f.timout: unknown setting; did you mean \"timeout\"\?"),
        ("import faasd\n@faasd.function(command=['x'])\ndef f(e, c): ...\n", r"functions/a.py:2: functions.f.command: can be set in TOML only"),
        ("import faasd\n@faasd.function\ndef f(event): ...\n", r"functions/a.py:2: f\(event\) cannot be called as handler\(event, context\)"),
        ("import faasd\nfaasd.function(name='f')(lambda e, c: 0)\n", r"functions/a.py:2: is a lambda"),
        ("import faasd\n@faasd.function\ndef f(e, c): yield 1\n", r"functions/a.py:2: 'f' is a generator"),
        ("import faasd\n@faasd.function(env={'A': object()})\ndef f(e, c): ...\n", r"functions/a.py:2: its setting 'env' cannot be read: <object"),
        ("import faasd\n@faasd.function(env={1: 'x'}, concurrency=0)\ndef f(e, c): ...\n", r"functions/a.py:2: functions.f.concurrency: expected at least 1, not 0|.*functions.f.env"),
    ],
)  # fmt: skip
async def test_a_broken_module_is_explained_at_its_own_line(
    project: Project, source: str, expected: str
) -> None:
    """People look for the mistake in their file, not in faasd's."""
    project.write("functions/a.py", source)
    problems = await project.problems("")
    assert re.match(expected, problems[0]), problems[0]


async def test_no_mistake_in_a_module_hides_another(project: Project) -> None:
    """A misspelt argument is not a TypeError that ends the import before the rest was seen."""
    project.write(
        "functions/a.py",
        "from faasd import *\n"
        "nightly = cron('0 0 * * *', timezon='UTC')\n"
        "@function(triggers=[nightly, files(pth='in'), every('5x'), at(), queue('q', rat=3)])\n"
        "def f(e, c): ...\n"
        "@function(timeout=5, memroy='1M', env={'A': {1}.pop}, concurrency=0)\n"
        "def g(e, c): ...\n",
    )
    problems = await project.problems("[daemon]\nslot = 3\n[functions.f]\ntimout = '3s'\n")
    expected = (
        "daemon.slot: functions.f.timout: triggers[0].timezon: triggers[1].path: triggers[1].pth: "
        "triggers[2].interval: triggers[3].time: triggers[4].rat: functions.g.timeout: concurrency: "
        "memroy: 'env'"
    )
    for problem, said in zip(problems, expected.split(": "), strict=True):
        assert said in problem, problems


async def test_a_broken_module_does_not_take_the_others_with_it(project: Project) -> None:
    """Nine functions must not stop because the tenth has a typing error."""
    project.write("functions/bad.py", "import gone")
    project.write("functions/good.py", "import faasd\n@faasd.function\ndef good(e, c): ...\n")
    loaded = await project.load("[functions.lost]\ntimeout = '3s'\n")
    assert [one.name for one in loaded.functions] == ["good"]
    assert [one.path for one in loaded.errors] == [str(project.root / "functions/bad.py")]
    assert not loaded.fatal
    # It may be the one that `bad` declares, so the file is not to blame.
    [warning] = [one for one in loaded.problems if one.is_warning]
    assert (warning.function, warning.line) == ("lost", 1)


async def test_a_mistake_in_the_file_is_fatal_and_one_in_a_module_is_not(project: Project) -> None:
    """The daemon starts with a broken module, and does not start with a broken configuration."""
    project.write(
        "functions/a.py", "import faasd\n@faasd.function(timeout='x')\ndef f(e, c): ...\n"
    )
    loaded = await project.load("[daemon]\nslots = 0\n")
    assert [one.setting for one in loaded.fatal] == ["daemon.slots"]
    assert [one.setting for one in loaded.errors] == ["daemon.slots", "functions.f.timeout"]


async def test_two_functions_of_one_name_are_both_left_out(project: Project) -> None:
    """Running either of them would be a guess."""
    for name in ("a", "b"):
        project.write(f"functions/{name}.py", "import faasd\n@faasd.function\ndef f(e, c): ...\n")
    loaded = await project.load("")
    assert loaded.functions == ()
    [problem] = loaded.problems
    assert "two functions are named 'f'" in problem.message
    assert f"{project.root}/functions/a.py:2" in problem.message


async def test_a_handler_for_a_function_that_python_declares_is_refused(project: Project) -> None:
    """Two answers to what runs under one name."""
    project.write(
        "functions/a.py", "import faasd\n@faasd.function\ndef f(e, c): ...\ndef g(e, c): ...\n"
    )
    [problem] = await project.problems("[functions.f]\nhandler = 'a:g'\n")
    assert problem.startswith(
        "faasd.toml:2:1: functions.f.handler: the function is declared in Python"
    )
    assert await project.problems("[functions.f]\nhandler = 'a:f'\n") == []


async def test_a_handler_that_is_not_there_is_named_with_its_neighbour(project: Project) -> None:
    """The commonest typing error of all."""
    project.write("thumbs.py", "def make(event, context): ...\n")
    [problem] = await project.problems("[functions.f]\nhandler = 'thumbs:mak'\n")
    expected = (
        "faasd.toml:2:1: functions.f.handler: there is no 'mak' in thumbs; did you mean \"make\"?"
    )
    assert problem == expected


def test_checking_again_gives_the_same_answer(tmp_path: Path) -> None:
    """An order that depends on which process ended first would make every run look different."""
    project = Project(tmp_path)
    for index in range(4):
        project.write(
            f"functions/m{index}.py",
            f"import faasd\n@faasd.function(timeout={index})\ndef f{index}(e, c): ...\n",
        )
    answers: list[Any] = [asyncio.run(project.problems("[x]\n")) for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(answers[0]) == 5
