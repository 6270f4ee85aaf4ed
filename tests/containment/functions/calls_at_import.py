"""A module that makes its system calls while it is imported, in the zygote."""

import calls

FOUND = {
    name: probe()
    for name, probe in calls.PROBES.items()
    if name not in ("clone3", "chroot-as-owner")
}


def handler(event, context):
    return FOUND
