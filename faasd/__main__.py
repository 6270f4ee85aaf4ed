"""`python -m faasd` is `faasd`."""

from __future__ import annotations

import sys

from faasd.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
