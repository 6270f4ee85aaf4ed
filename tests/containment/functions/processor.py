"""Handlers that use the processor, or look at what they were given of it."""

import subprocess
import sys
import time


def spin_in_processes(event, context):
    """Burn processor time in children that end soon, each less than it would take alone."""
    code = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
    while True:
        subprocess.run([sys.executable, "-I", "-S", "-c", code], check=False)


def spin_for(event, context):
    """Use what processor time there is for so many seconds of the clock; returns how much that was."""
    before, end = time.process_time(), time.monotonic() + event
    while time.monotonic() < end:
        pass
    return time.process_time() - before


def wait_idly(event, context):
    time.sleep(event)


def read_oom_score(event, context):
    with open("/proc/self/oom_score_adj") as file:
        return int(file.read())
