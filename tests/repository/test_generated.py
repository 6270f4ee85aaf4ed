"""Files that are written by `make generate`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from faasd.config.http_settings import HttpSettings
from faasd.config.loader import load
from faasd.config.settings import DaemonSettings, DefaultSettings, FileSettings, FunctionSettings
from faasd.functions.code_version import code_version
from faasd.functions.discovery import discover
from tests.repository import generate
from tests.repository.settings_pages import TRIGGERS, settings_of

ROOT = Path(__file__).parents[2]
MODELS = (DaemonSettings, HttpSettings, DefaultSettings, FunctionSettings, *TRIGGERS)


@pytest.mark.parametrize("path", generate.GENERATORS)
def test_generated_files_are_up_to_date(path: str) -> None:
    """A page that describes another version is worse than none."""
    assert (ROOT / path).read_text() == generate.GENERATORS[path](), "run `make generate`"


def test_check_names_a_file_that_is_out_of_date_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make check` only looks; `make generate` mends."""
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(generate, "GENERATORS", {"docs/a.md": lambda: "new\n"})
    assert generate.main(["--check"]) == 1
    assert "out of date: docs/a.md" in capsys.readouterr().err
    assert not (tmp_path / "docs").exists()
    assert generate.main([]) == 0
    assert (tmp_path / "docs/a.md").read_text() == "new\n"
    assert generate.main(["--check"]) == 0
    assert generate.main(["--chek"]) == 2


def test_the_generator_can_be_run_by_its_name() -> None:
    """The Makefile calls it so."""
    command = [sys.executable, "-m", "tests.repository.generate", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


async def test_the_example_is_a_right_configuration_as_it_stands(tmp_path: Path) -> None:
    """People copy it and go on from there."""
    config = tmp_path / "faasd.toml"
    config.write_text((ROOT / "config.example.toml").read_text())
    loaded = await load(
        config,
        discover=discover,
        code_version=code_version,
        check_schedule=lambda _: None,
        check_pattern=lambda _: None,
    )
    assert loaded.problems == ()


def test_every_setting_of_the_example_can_be_taken_as_it_is_written() -> None:
    """Without its `#`, each line must be a right one, and no setting may be missing."""
    text = re.sub(r"(?m)^#(?! )", "", (ROOT / "config.example.toml").read_text())
    tables = tomllib.loads(text)
    settings = FileSettings.model_validate(tables)
    written = {trigger.type for one in settings.functions.values() for trigger in one.triggers}
    assert written == {"cron", "every", "at", "files", "queue"}
    for model, table in (
        (DaemonSettings, "daemon"),
        (HttpSettings, "http"),
        (DefaultSettings, "defaults"),
    ):
        assert set(tables[table]) == {key for key, _ in settings_of(model)}
    in_functions = {key for table in tables["functions"].values() for key in table}
    defaults = {key for key, _ in settings_of(DefaultSettings)}
    assert in_functions == {key for key, _ in settings_of(FunctionSettings)} - defaults


def test_every_setting_is_documented_with_a_sentence() -> None:
    """A setting that nobody can read about does not exist."""
    page = (ROOT / "docs/configuration.md").read_text()
    for model in MODELS:
        for key, field in settings_of(model):
            assert field.description, key
            assert field.description.endswith("."), key
            assert f"| `{key}` |" in page
            assert field.description in page, key


def test_the_schema_says_what_the_models_say() -> None:
    """Editors complete names and refuse unknown ones by it."""
    schema = json.loads((ROOT / "faasd/config/schema.json").read_text())
    assert set(schema["properties"]) == {"daemon", "http", "defaults", "functions"}
    for model in MODELS:
        part = schema["$defs"][model.__name__]
        assert part["additionalProperties"] is False
        assert set(part["properties"]) - {"type"} == {key for key, _ in settings_of(model)}
    timeout = schema["$defs"]["DefaultSettings"]["properties"]["timeout"]
    assert timeout["default"] == "1m"
    assert re.fullmatch(timeout["pattern"], "1h30m")
    assert not re.fullmatch(timeout["pattern"], "90")
