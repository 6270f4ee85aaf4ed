"""A module that forks without end while it is imported."""

import os
import signal

COUNT = 0
try:
    while COUNT < 2000:
        if os.fork() == 0:
            signal.pause()
        COUNT += 1
except OSError:
    pass
raise RuntimeError(f"forked {COUNT}")
