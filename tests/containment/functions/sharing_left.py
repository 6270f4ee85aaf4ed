"""As `sharing`, but its import leaves behind what the variable LEAVES names, by which attempts could meet."""

import mmap
import os
import subprocess
import threading

from sharing import about as one

LEAVES = os.environ.get("LEAVES")
if LEAVES == "descriptor":
    KEPT = os.pipe()
elif LEAVES == "memory":
    KEPT = mmap.mmap(-1, 4096)
elif LEAVES == "thread":
    threading.Thread(target=threading.Event().wait, daemon=True).start()
elif LEAVES == "process":
    KEPT = subprocess.Popen(["sleep", "1000"])
elif LEAVES == "program":
    subprocess.run(["true"], check=True)

two = one
