"""What a file of functions imports."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import faasd
from faasd import declare
from faasd.config.settings import FunctionSettings
from faasd.config.validate import TRIGGER_MODELS, keys_of


@pytest.fixture
def declarations() -> Iterator[list[declare.Declaration]]:
    kept = declare.DECLARATIONS[:]
    declare.DECLARATIONS.clear()
    yield declare.DECLARATIONS
    declare.DECLARATIONS[:] = kept


def test_a_decorated_function_is_still_the_plain_one(
    declarations: list[declare.Declaration],
) -> None:
    """People unit-test their functions by calling them."""

    def handler(event: dict[str, int], context: None) -> int:
        return event["x"] + 1

    assert faasd.function(handler) is handler
    assert faasd.function(timeout="3s", name="other")(handler) is handler
    assert handler({"x": 1}, None) == 2
    assert [(one.name, one.settings) for one in declarations] == [
        ("handler", {}),
        ("other", {"timeout": "3s"}),
    ]


def test_a_declaration_knows_where_it_was_written(declarations: list[declare.Declaration]) -> None:
    """Messages about its settings point there."""

    @faasd.function
    def handler(event: object, context: object) -> None: ...

    class Handler:
        def __call__(self, event: object, context: object) -> None: ...

    line = inspect.currentframe().f_lineno + 1  # type: ignore[union-attr]
    faasd.function(Handler())
    first, second = declarations
    assert (first.file, first.line) == (__file__, handler.__code__.co_firstlineno)
    assert (second.file, second.line) == (__file__, line)


def test_a_users_module_is_type_checked(tmp_path: Path) -> None:
    """The package says that it is typed, so a handler's context must not be Any."""
    (tmp_path / "m.py").write_text(
        "from typing import Any\n"
        "from faasd import Context, SoftTimeout, every, function\n"
        "@function(timeout='5s', triggers=[every('5m')])\n"
        "async def f(event: dict[str, Any], context: Context) -> int:\n"
        "    try:\n"
        "        return context.attempt\n"
        "    except SoftTimeout:\n"
        "        context.nothing()\n"
        "        raise\n"
        "reveal_type(f)\n"
        "every('5m', jiter='1s')\n"
        "function(timout='5s')\n"
    )
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=/dev/null"]
    done = subprocess.run(
        [*mypy, "m.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    said = done.stdout.splitlines()
    errors = [line for line in said if ": error: " in line]
    assert [line.split(":")[1] for line in errors] == ["8", "11", "12"], done.stdout + done.stderr
    assert said[0].startswith('m.py:8: error: "Context" has no attribute "nothing"')
    assert "Coroutine[Any, Any, int]" in said[1]


def test_triggers_say_only_what_was_given() -> None:
    """What was not written must be left to [defaults]; a default filled in here would win over it."""
    assert faasd.cron("@daily", catch_up="all") == {
        "type": "cron",
        "expression": "@daily",
        "catch_up": "all",
    }
    assert faasd.every("5m") == {"type": "every", "interval": "5m"}
    assert faasd.at("2030-01-01T00:00:00Z", name="x") == {
        "type": "at",
        "time": "2030-01-01T00:00:00Z",
        "name": "x",
    }
    assert faasd.files("in", recursive=False) == {"type": "files", "path": "in", "recursive": False}
    assert faasd.queue("q", batch_size=5) == {"type": "queue", "name": "q", "batch_size": 5}


def test_a_misspelt_argument_is_kept_for_the_models_to_refuse(
    declarations: list[declare.Declaration],
) -> None:
    """Raised here, it would end the import and hide the module's other mistakes."""
    call: Any = faasd.cron  # Type checkers refuse what follows.
    assert call("@daily", timezon="UTC") == {
        "type": "cron",
        "expression": "@daily",
        "timezon": "UTC",
    }
    assert call(expresion="@daily") == {"type": "cron", "expresion": "@daily"}
    with pytest.raises(TypeError, match="'type'"):
        call("@daily", type="every")
    call = faasd.function
    call(timout="3s", handler="x:y")(lambda event, context: None)
    assert declarations[0].settings == {"timout": "3s", "handler": "x:y"}


def test_python_and_toml_have_the_same_settings() -> None:
    """One that exists in only one of the two would be found out by somebody in the field."""
    parameters = set(inspect.signature(declare.function).parameters) - {
        "handler",
        "name",
        "unknown",
    }
    assert parameters == set(keys_of(FunctionSettings)) - {"handler", "command"}
    for kind, model in TRIGGER_MODELS.items():
        parameters = set(inspect.signature(getattr(declare, kind)).parameters)
        assert parameters == set(keys_of(model)) - {"type"}, kind


def test_both_spellings_of_the_decorator_have_the_same_parameters() -> None:
    """The overloads that type checkers read are written out a second time."""
    source = Path(declare.__file__).read_text()
    overload = source.split("@overload")[2].partition(") -> Callable")[0]
    for name in inspect.signature(declare.function).parameters:
        assert name in ("handler", "unknown") or f"\n    {name}: " in overload, name


def test_what_is_exported_is_what_can_be_imported() -> None:
    """A name in `__all__` that does not exist breaks `from faasd import *`."""
    lazy = {"Context", "SoftTimeout"}  # From model/context.py, on first use.
    for name in set(faasd.__all__) - lazy:
        assert getattr(faasd, name) is not None
    assert lazy < set(faasd.__all__)
    assert dir(faasd) == sorted(faasd.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = faasd.nothing  # type: ignore[attr-defined]


def test_importing_faasd_imports_nothing_else() -> None:
    """Every `faasd enqueue` pays for this import, and has 40 ms in all."""
    code = "import sys; before = set(sys.modules); import faasd; print(*sorted(set(sys.modules) - before))"
    root = Path(faasd.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["__future__", "faasd", "faasd.declare"]
