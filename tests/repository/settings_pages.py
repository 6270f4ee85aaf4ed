"""Renders the settings, which are declared once, as an example file, a page and a JSON schema."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo

from faasd.config.http_settings import HttpSettings
from faasd.config.settings import (
    DaemonSettings,
    DefaultSettings,
    FileSettings,
    FunctionSettings,
    RetrySettings,
)
from faasd.config.trigger_settings import (
    AtSettings,
    CronSettings,
    EverySettings,
    FilesSettings,
    QueueSettings,
    Settings,
)
from faasd.config.values import Kind

__all__ = ["configuration_page", "example_file", "json_schema", "settings_of"]

TRIGGERS: tuple[type[Settings], ...] = (
    CronSettings,
    EverySettings,
    AtSettings,
    FilesSettings,
    QueueSettings,
)


def settings_of(model: type[Settings]) -> Iterator[tuple[str, FieldInfo]]:
    """Yield each setting's name in TOML with its declaration: what is required first, `type` left out."""
    fields = [(field.alias or name, field) for name, field in model.model_fields.items()]
    # `name` and `filter` stand in a base class, hence first; they are asked for least.
    fields.sort(key=lambda one: (not one[1].is_required(), one[0] == "name", one[0] == "filter"))
    yield from (one for one in fields if one[0] != "type")


def kind_of(field: FieldInfo) -> Kind | None:
    """Return what knows how values of this setting are written."""
    return next((one for one in field.metadata if isinstance(one, Kind)), None)


def unit(field: FieldInfo) -> str:
    """Say what is written in a setting."""
    kind = kind_of(field)
    if kind is not None:
        return kind.unit
    text = str(field.annotation)
    for sign, word in (
        ("Literal", "word"),
        ("bool", "true or false"),
        ("int", "whole number"),
        ("float", "number"),
        ("RetrySettings", "table"),
        ("dict", "table"),
        ("list[str]", "list of text"),
        ("list", "list of tables"),
        ("str", "text"),
    ):
        if sign in text:
            return word + _bounds(field)
    return "a pattern, or a list"


def _bounds(field: FieldInfo) -> str:
    ends = {
        name: getattr(one, name)
        for one in field.metadata
        for name in ("ge", "le")
        if hasattr(one, name)
    }
    if "ge" in ends and "le" in ends:
        return f", {ends['ge']} to {ends['le']}"
    return f", at least {ends['ge']}" if "ge" in ends else ""


def default_words(field: FieldInfo) -> str | None:
    """Return the words that a declaration has for its default, if it has any."""
    extra = field.json_schema_extra
    return str(extra["default_text"]) if isinstance(extra, dict) else None


def shown(field: FieldInfo, value: Any) -> str:
    """Write a value as TOML."""
    kind = kind_of(field)
    return toml(kind.show(value) if kind is not None else value)


def toml(value: Any) -> str:
    """Write a plain value as TOML."""
    if isinstance(value, dict):
        pairs = ", ".join(f"{key} = {toml(one)}" for key, one in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml(one) for one in value)}]"
    return json.dumps(value, ensure_ascii=False)


def sample(field: FieldInfo) -> str:
    """Return an example as TOML, or the default where that is as good."""
    return toml(field.examples[0]) if field.examples else constant(field)


def constant(field: FieldInfo) -> str:
    """Return the default as TOML."""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, RetrySettings):
        return toml({key: json.loads(sample(one)) for key, one in settings_of(RetrySettings)})
    return shown(field, value)


def default(field: FieldInfo) -> str:
    """Say what holds when nothing is written."""
    if field.is_required():
        return "required"
    return default_words(field) or (constant(field) if constant(field) != "[]" else "none")


def example_file() -> str:
    """Render config.example.toml: every setting, commented out, with what it means and its default."""
    parts = [EXAMPLE_HEAD]
    for table, model in (
        ("[daemon]", DaemonSettings),
        ("[http]", HttpSettings),
        ("[defaults]", DefaultSettings),
    ):
        parts.append(f"{table}\n{_comment(str(model.__doc__))}")
        parts += [_example_setting(key, field) for key, field in settings_of(model)]
    parts.append(f"#[functions.thumbnail]\n{_comment(EXAMPLE_FUNCTION)}")
    own = dict(settings_of(FunctionSettings))
    for key, _ in settings_of(DefaultSettings):
        del own[key]
    command = own.pop("command")  # A function has a handler or a command.
    parts += [_example_setting(key, field) for key, field in own.items()]
    parts.append(EXAMPLE_TRIGGERS)
    explained: dict[str, FieldInfo] = {}
    for model in TRIGGERS:
        kind = _type_of(model)
        function = EXAMPLE_NAMES[kind]
        line = (
            f"#command = {sample(command)}" if explained else _example_setting("command", command)
        )
        parts.append(f"#[functions.{function}]\n{line}")
        parts.append(
            f'#[[functions.{function}.triggers]]\n{_comment(str(model.__doc__))}\n#type = "{kind}"'
        )
        parts += _example_trigger(model, explained)
    return "\n\n".join(parts) + "\n"


def _example_trigger(model: type[Settings], explained: dict[str, FieldInfo]) -> Iterator[str]:
    """Yield a trigger's settings; those that an earlier trigger has explained only by name."""
    known = []
    for key, field in settings_of(model):
        if key in explained and explained[key].description == field.description:
            known.append(key)
        else:
            explained[key] = field
            yield _example_setting(key, field)
    if known:
        yield _comment(f"As above: {', '.join(known)}.")


def _attribute(model: type[Settings], key: str) -> str:
    return next(name for name, field in model.model_fields.items() if (field.alias or name) == key)


def _type_of(model: type[Settings]) -> str:
    return str(model.model_fields["type"].annotation.__args__[0])  # type: ignore[union-attr]


def _example_setting(key: str, field: FieldInfo) -> str:
    note = f"{field.description} ({unit(field)}"
    if field.is_required() or default(field) != sample(field):
        note += "; required" if field.is_required() else f"; default: {default(field)}"
    return f"{_comment(note + ')')}\n#{key} = {sample(field)}"


def _comment(text: str) -> str:
    return "\n".join(
        textwrap.wrap(text.replace("`", ""), 98, initial_indent="# ", subsequent_indent="# ")
    )


def configuration_page() -> str:
    """Render docs/configuration.md."""
    parts = [
        PAGE_HEAD,
        _section("[daemon]", DaemonSettings),
        _section("[http]", HttpSettings),
        _section("[defaults]", DefaultSettings),
    ]
    parts.append(PAGE_RETRY)
    parts.append(_table(RetrySettings))
    parts.append("## [functions.NAME]\n\nEverything that may stand in `[defaults]`, and:")
    parts.append(_table(FunctionSettings, without=DefaultSettings))
    parts.append(PAGE_TRIGGERS)
    for model in TRIGGERS:
        parts.append(f'### `type = "{_type_of(model)}"`\n\n{model.__doc__}')
        parts.append(_table(model))
    return "\n\n".join(parts) + "\n"


def _section(title: str, model: type[Settings]) -> str:
    return f"## {title}\n\n{model.__doc__}\n\n{_table(model)}"


def _table(model: type[Settings], without: type[Settings] | None = None) -> str:
    left_out = set(without.model_fields) if without else set()
    rows = ["| Setting | Written as | Default | Meaning |", "|---|---|---|---|"]
    for key, field in settings_of(model):
        if _attribute(model, key) not in left_out:
            cells = (f"`{key}`", unit(field), _default_cell(field), str(field.description))
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def _default_cell(field: FieldInfo) -> str:
    is_words = field.is_required() or default_words(field) or default(field) == "none"
    return default(field) if is_words else f"`{default(field)}`"


def json_schema() -> str:
    """Render the JSON schema that editors complete and check by."""
    schema = FileSettings.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "faasd configuration"
    for model in (
        DaemonSettings,
        HttpSettings,
        DefaultSettings,
        FunctionSettings,
        RetrySettings,
        *TRIGGERS,
    ):
        properties = schema["$defs"][model.__name__]["properties"]
        for key, field in settings_of(model):
            for noise in ("default", "default_text", "title"):
                properties[key].pop(noise, None)
            value = field.get_default(call_default_factory=True)
            if (
                not field.is_required()
                and not default_words(field)
                and not isinstance(value, Settings)
            ):
                kind = kind_of(field)
                properties[key]["default"] = kind.show(value) if kind else value
    for part in schema["properties"].values():
        part.pop("default", None)
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


EXAMPLE_HEAD = """\
# Every setting of faasd with its meaning and its default. Generated by `make generate`.
#
# Settings are written as `#name = value`; take the `#` away to change one. Durations and sizes carry
# units: "500ms", "90s", "1h30m", "2d"; "64KiB", "256MiB", "1GiB" ("256M" means MiB, as in systemd).
# Relative paths start from the directory of this file."""

EXAMPLE_FUNCTION = """\
One function, named by its table. Every setting of [defaults] may stand here too, and each of them \
wins over the function's decorator."""

EXAMPLE_NAMES = {
    "cron": "nightly-report",
    "every": "heartbeat",
    "at": "new-year",
    "files": "import-csv",
    "queue": "send-mail",
}

EXAMPLE_TRIGGERS = """\
# ---- Triggers ----
# In TOML they are a list: triggers = [{ type = "every", interval = "5m" }], or tables as below."""

PAGE_HEAD = """\
# Configuration

Generated by `make generate` from `faasd/config/settings.py`; do not edit.

faasd reads one TOML file: the one given with `--config FILE`, else `FAASD_CONFIG`, else the first of
`./faasd.toml`, `$XDG_CONFIG_HOME/faasd/faasd.toml` (that is `~/.config/faasd/faasd.toml`) and
`/etc/faasd/faasd.toml`. `faasd check` reports every mistake at once, with line and column.

- **Layers.** A function's setting comes from its table `[functions.NAME]`, else from its decorator in
  Python, else from `[defaults]`, else from the default below. `retry` and `env` are laid over each other
  key by key; everything else is replaced whole, `triggers` too.
- **Units.** Durations: `500ms`, `90s`, `5m`, `1h30m`, `2d`, `1w`. Sizes: `64KiB`, `256MiB`, `1GiB`,
  `10MB`; a bare `256M` means MiB, as in systemd. A number without a unit is an error.
- **Paths** start from the directory of the configuration file, also those in a decorator. `~` is the home directory.
- **Names** of functions, queues and triggers are up to 100 letters, digits, dots, dashes and
  underscores, and begin with a letter or digit.
- **Where functions are found.** In a directory that `functions` names: each `.py` file and each package
  directly in it, except names that begin with `_` or `.`, `test_*.py`, `*_test.py`, `conftest.py` and
  `setup.py`. Each module is imported in a process of its own, with `env` and `pass_env` of `[defaults]`;
  a module that needs an `env` or a `python` of `[functions.NAME]` to be imported gets it.
- **A mistake in the file** keeps the daemon from starting. A mistake in a module leaves out the
  functions of that module; the others run.
- Editors can complete and check with the JSON schema, `config/schema.json` in the installed package:
  `python -c "import faasd; print(faasd.__path__[0] + '/config/schema.json')"` prints where."""

PAGE_RETRY = """\
### `retry`

The wait before attempt n + 1 is `first` (fixed), `first * n` (linear) or `first * 2**(n - 1)`
(exponential), at most `max`."""

PAGE_TRIGGERS = """\
## Triggers

A list of tables, each with its `type`. In Python the same names are arguments of `cron()`, `every()`,
`at()`, `files()` and `queue()`; the first setting of each may stand there without its name."""
