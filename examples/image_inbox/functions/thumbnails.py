"""A picture in inbox/ becomes a small one in thumbnails/."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from faasd import function

LONGEST_SIDE = 200


@function(write=["thumbnails"])
def thumbnail(event, context):
    source = Path(event["path"])
    target = source.parent.parent / "thumbnails" / f"{source.stem}.jpg"
    target.parent.mkdir(exist_ok=True)
    with Image.open(source) as picture:
        width, height = picture.size
        small = picture.convert("RGB")
        small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    # An attempt may be repeated, and may be killed at any line. Written aside and renamed, the
    # thumbnail is there whole or not at all, and a second attempt replaces it with the same.
    unfinished = target.with_name(f".{target.name}.{context.aws_request_id}")
    small.save(unfinished, "JPEG", quality=85)
    unfinished.replace(target)
    print(f"{source.name}: {width}x{height} -> {small.width}x{small.height}")
    return {"thumbnail": str(target), "width": small.width, "height": small.height}
