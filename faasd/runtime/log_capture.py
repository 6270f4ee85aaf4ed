"""`logging` in a handler: records become log frames, with their level, beside what is printed."""

from __future__ import annotations

import logging
import os
import sys
from typing import Callable

__all__ = ["capture_logging"]

_TEXT_CHARS_MAX = 32768  # Well below a frame's limit, whatever a record holds.


class _FrameHandler(logging.Handler):
    """Sends records on the sandbox's channel; to stderr while there is none, and in forked children."""

    def __init__(self) -> None:
        super().__init__()
        self.send: Callable[[dict[str, object]], object] | None = None
        self.owner_pid = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)[:_TEXT_CHARS_MAX]
            if self.send is None or os.getpid() != self.owner_pid:
                print(f"{record.levelname} {text}", file=sys.stderr)  # noqa: T201 - it is captured.
            else:
                frame: dict[str, object] = {"op": "log", "at": record.created}
                self.send({**frame, "level": record.levelname, "text": text})
        except Exception:  # noqa: BLE001 - logging's contract: a broken record never stops the program.
            self.handleError(record)


_handler = _FrameHandler()


def capture_logging(send: Callable[[dict[str, object]], object] | None = None) -> None:
    """Put our handler on the root logger, before the handler's module is imported; later give it its channel.

    Levels stay as the program sets them: the root logger's is WARNING until it says otherwise.
    """
    if send is None:
        _handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        logging.getLogger().addHandler(_handler)
    _handler.send = send
    _handler.owner_pid = os.getpid()
