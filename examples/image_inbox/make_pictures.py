"""Drops three real pictures and one broken one into inbox/. Usage: python make_pictures.py [COUNT]"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image

INBOX = Path(__file__).resolve().parent / "inbox"


def jpeg(number: int) -> bytes:
    gradient = Image.linear_gradient("L").resize((800, 600)).rotate(40 * number)
    picture = Image.merge("RGB", (gradient, gradient.rotate(90), gradient.rotate(180)))
    file = io.BytesIO()
    picture.save(file, "JPEG")
    return file.getvalue()


def drop(name: str, content: bytes) -> None:
    # Written under a name that starts with a dot, which is ignored, then renamed: the picture
    # appears complete. A plain `cp` works too; then it is taken once its size has settled.
    unfinished = INBOX / f".{name}"
    unfinished.write_bytes(content)
    unfinished.replace(INBOX / name)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    INBOX.mkdir(exist_ok=True)
    for number in range(1, count + 1):
        drop(f"picture-{number}.jpg", jpeg(number))
    whole = jpeg(0)
    drop("broken.jpg", whole[: len(whole) // 2])


if __name__ == "__main__":
    main()
