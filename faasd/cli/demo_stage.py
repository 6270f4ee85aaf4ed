"""The stage of `faasd demo`: a scratch directory with real pictures, orders and functions."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

__all__ = ["BROKEN", "ORDERS", "PICTURES", "POISON_ORDER", "SLOW_ORDER", "Stage", "has_pillow"]

PICTURES = 6
ORDERS = 20
POISON_ORDER = 13  # For no pieces at all: it fails however often it is tried.
SLOW_ORDER = 7  # Its bank answers only the second time.
BROKEN = "broken"

_CONFIG = """\
# Written by `faasd demo`. Paths are relative to this file.

[daemon]
state_dir = "state"
socket = "faasd.sock"
functions = ["functions"]
slots = 8
drain_timeout = "2s"
log_format = "json"

[defaults]
# A demo runs on hosts with fewer walls, too, and says at its end which were missing.
containment = "best-effort"

[functions.pack]
command = ["./pack.sh"]
timeout = "10s"
write = ["packed"]
"""

_PACK = """\
#!/bin/sh
# A command as a function: the event is on standard input, exit status 0 means success.
set -eu
cd "$(dirname "$0")"
tar -czf packed/.thumbnails.part thumbnails
mv packed/.thumbnails.part packed/thumbnails.tar.gz
echo "packed $(ls thumbnails | wc -l) thumbnails"
"""


def has_pillow() -> bool:
    """Whether real JPEGs can be made and shrunk here."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        return False
    return True


class Stage:
    """Everything in one directory. Nothing outside it is touched."""

    def __init__(self, root: Path, is_jpeg: bool) -> None:
        self.root = root
        self.is_jpeg = is_jpeg
        self.config = root / "faasd.toml"
        self.socket = root / "faasd.sock"
        self.daemon_log = root / "daemon.log"
        self.suffix = ".jpg" if is_jpeg else ".ppm"

    def set_up(self) -> None:
        """Write configuration, functions and empty directories."""
        for name in ("inbox", "done", "failed", "thumbnails", "orders", "functions"):
            (self.root / name).mkdir()
        self.config.write_text(_CONFIG, encoding="utf-8")
        functions = Path(__file__).with_name("demo_functions.py")
        shutil.copyfile(functions, self.root / "functions" / functions.name)
        (self.root / "reports.ndjson").touch()
        script = self.root / "pack.sh"
        script.write_text(_PACK, encoding="utf-8")
        script.chmod(0o755)

    def drop_pictures(self) -> None:
        """Put pictures into the watched directory by rename, one of them cut off in the middle."""
        for number in range(PICTURES):
            self._drop(f"picture-{number + 1}", self._picture(number))
        whole = self._picture(PICTURES)
        self._drop(BROKEN, whole[: len(whole) // 2])

    def orders(self) -> list[dict[str, Any]]:
        """Return the orders as enqueue takes them; one is poison, one succeeds only when retried."""
        bodies: list[dict[str, Any]] = [
            {"number": number, "pieces": 1 + number % 5} for number in range(1, ORDERS + 1)
        ]
        bodies[POISON_ORDER - 1]["pieces"] = 0
        bodies[SLOW_ORDER - 1]["bank_is_slow"] = True
        return [{"body": body} for body in bodies]

    def names_in(self, directory: str) -> set[str]:
        """Return the names of the visible files in a directory of the stage."""
        return {path.name for path in (self.root / directory).iterdir() if path.name[:1] != "."}

    def lines_in(self, relative: str) -> int:
        """Return how many lines a file has; 0 when it is missing."""
        try:
            return len((self.root / relative).read_text(encoding="utf-8").splitlines())
        except FileNotFoundError:
            return 0

    def _drop(self, stem: str, content: bytes) -> None:
        unfinished = self.root / "inbox" / f".{stem}.unfinished"
        unfinished.write_bytes(content)
        unfinished.rename(self.root / "inbox" / f"{stem}{self.suffix}")

    def _picture(self, number: int) -> bytes:
        return _jpeg(number) if self.is_jpeg else _ppm(number)


def _jpeg(number: int) -> bytes:
    from PIL import Image

    ramp = Image.linear_gradient("L").resize((1280, 960)).rotate(25 * number)
    picture = Image.merge("RGB", (ramp, ramp.rotate(90), ramp.rotate(180)))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90)
    return file.getvalue()


def _ppm(number: int, width: int = 320, height: int = 240) -> bytes:
    """Return a picture without any library: the portable pixmap is a header and plain bytes."""
    red = bytes(x * 255 // width for x in range(width))
    rows = (
        bytes(
            channel
            for x in range(width)
            for channel in (red[x], y * 255 // height, 40 * number % 256)
        )
        for y in range(height)
    )
    return b"P6\n%d %d\n255\n" % (width, height) + b"".join(rows)
