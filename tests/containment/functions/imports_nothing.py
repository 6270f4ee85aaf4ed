"""A handler whose module imports next to nothing, so that what its zygote has is what ours brings."""

import os
import sys


def about(event, context):
    with open("/proc/self/environ", "rb") as file:
        begun_with = file.read().split(b"\0")
    return {
        "modules": sorted(sys.modules),
        "is_bound": b"LD_BIND_NOW=1" in begun_with,
        "env": dict(os.environ),
    }
