"""What a zygote makes ready for a handler that its module was not imported for."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys, types
sys.path.insert(0, ".")
from faasd.runtime.handler_loader import prepare_another
module = sys.modules["m"] = types.ModuleType("m")
exec("async def later(e, c): ...\\ndef now(e, c): ...\\nclass Odd:\\n __code__ = 1\\nodd = Odd()", vars(module))
said = []
for name in ("now", "odd", "missing", "now.and.then", "later"):
    prepare_another("m", name)
    said.append("asyncio" in sys.modules)
prepare_another("gone", "later")
print(said)
"""


def test_asyncio_is_there_before_an_async_handler_needs_it() -> None:
    """Else each of its sandboxes would import it anew; nobody else pays for it, and nothing of the module's runs."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, check=False)
    assert done.stdout.decode().strip() == "[False, False, False, False, True]", done.stderr
