"""Functions of one module share its import in a real daemon, from discovery to `functions show`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.daemon.harness import DaemonProcess, write_project

FUNCTIONS = """
    import os
    from faasd import function

    TOKEN = os.urandom(8).hex()
    print("imported", TOKEN)

    @function(timeout="5s")
    def one(event, context):
        return [TOKEN, context.function_name, os.environ["AWS_LAMBDA_FUNCTION_NAME"]]

    @function(timeout="50s", reuse=10, keep_warm=True)
    async def two(event, context):
        return one(event, context)

    @function(env={"OTHER": "x"})
    def other(event, context):
        return one(event, context)
"""


def test_one_import_serves_the_functions_that_see_the_same(tmp_path: Path) -> None:
    """Each is itself, hears what the import printed, and a reload replaces it for all of them."""
    config = write_project(tmp_path, FUNCTIONS)
    daemon = DaemonProcess(config)
    with daemon.running():
        first = tokens(daemon)
        assert first["one"] == first["two"] != first["other"]
        for name in ("one", "two"):
            assert f"imported {first[name]}" in daemon.cli("logs", "--function", name).stdout
        assert zygote(daemon, "one") == {"shared_with": ["two"], "own_because": None}
        assert zygote(daemon, "other") == {"shared_with": [], "own_because": None}
        assert "shared with two" in daemon.cli("functions", "show", "one").stdout

        looks = FUNCTIONS.replace(
            "import os\n", "import os\n    NAME = os.environ.get('_HANDLER')\n"
        )
        write_project(tmp_path, looks)
        daemon.client.request("POST", "/api/v1/reload")
        second = tokens(daemon)
        assert len({*first.values(), *second.values()}) == 5
        said = daemon.cli("functions", "show", "two").stdout
        assert "this function's own, because its module looks at which function it is" in said


def tokens(daemon: DaemonProcess) -> dict[str, str]:
    found = {}
    for name in ("one", "two", "other"):
        token, in_context, in_environment = daemon.client.invoke(name, {})["result"]
        assert in_context == in_environment == name
        found[name] = token
    return found


def zygote(daemon: DaemonProcess, name: str) -> Any:
    return json.loads(daemon.cli("functions", "show", name, "--json").stdout)["zygote"]
