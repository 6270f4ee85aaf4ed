"""Which files a function may touch: pure functions from a function and its premises to the policy's table `files`.

What is out of reach whatever the lists say (the state directory, the socket, the secrets) is named there too,
because a list may hold a directory that they are in.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from faasd.model.function import Function

__all__ = ["DEVICES", "WATCHED", "Premises", "file_rules", "given_paths", "read_by_all", "tmp_at"]

PACKAGE_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

#: System libraries and programs, wherever distributions keep them, and what they look up.
_SYSTEM = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store",
    "/var/cache/fontconfig", "/sys/devices/system", "/sys/fs/cgroup",
    "/sys/kernel/mm/transparent_hugepage", "/sys/kernel/mm/hugepages",
)  # fmt: skip
#: Never all of /etc: a daemon that runs as root could read the password hashes and the host's keys there.
_ETC = (
    "ImageMagick-6", "ImageMagick-7", "alternatives", "bash.bashrc", "ca-certificates",
    "ca-certificates.conf", "crypto-policies", "debian_version", "fonts", "gai.conf", "group", "host.conf",
    "hostname", "hosts", "inputrc", "java-11-openjdk", "java-17-openjdk", "java-21-openjdk", "ld.so.cache",
    "ld.so.conf", "ld.so.conf.d", "ld.so.preload", "locale.alias", "locale.conf", "localtime", "login.defs",
    "lsb-release", "magic", "magic.mime", "mailcap", "mime.types", "networks", "nsswitch.conf", "os-release",
    "papersize", "passwd", "perl", "pki/ca-trust/extracted", "pki/tls/cert.pem", "pki/tls/certs",
    "pki/tls/openssl.cnf", "profile", "protocols", "python3", "resolv.conf", "rpc", "services", "shells",
    "ssl/cert.pem", "ssl/certs", "ssl/openssl.cnf", "terminfo", "timezone", "vulkan", "xattr.conf",
)  # fmt: skip
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")

#: Replaced by renaming, which makes another file of them that no rule made before knows.
WATCHED = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/localtime")


@dataclass(frozen=True)
class Premises:
    """Where the daemon lives, and how many attempts it runs at once."""

    state_dir: str = "/nonexistent"
    hidden: tuple[str, ...] = ()  # The socket, the secrets directory, the configuration.
    tmp_root: str = "/nonexistent/tmp"  # Private temporary directories on disk are below it.
    slots: int = 16
    #: Device and inode of what exists of WATCHED, of `hidden` and of what functions were given.
    identities: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    resolv_conf: str = "/etc/resolv.conf"  # Where the link leads.


def read_by_all() -> tuple[str, ...]:
    """Return what every function may read, before anything is known of it."""
    return (*_SYSTEM, *(f"/etc/{name}" for name in _ETC), PACKAGE_DIR)


def file_rules(
    function: Function, python_paths: Iterable[str], premises: Premises
) -> dict[str, Any]:
    """Return the policy's table `files`: sorted paths by what may be done there, links not followed yet."""
    given = function.permissions
    watched = {*WATCHED, *premises.hidden, *given_paths(function)}
    read = [*read_by_all()]
    read += [path for path in (*function.readable_code, *python_paths) if path != "/"]
    read += [os.path.dirname(function.copy_dir)] if function.copy_dir else []
    read += [layer.path for layer in function.layers]
    read += [function.bundle_dir] if function.bundle_dir else []
    read += [*given.read, *(trigger.path for trigger in function.files)]
    if function.command is not None and function.command[0].startswith("/"):
        read.append(function.command[0])
    # The directory, because a resolver replaces the file whenever the network changes.
    if premises.resolv_conf.startswith("/run/"):
        read.append(os.path.dirname(premises.resolv_conf))
    return {
        "read": sorted({*read} - {*given.write}),
        "write": sorted({*given.write}),
        "devices": list(DEVICES),
        "hidden": sorted({premises.state_dir, *premises.hidden}),
        # Out of what is hidden, this alone is there: the version that the function runs from, with what is
        # linked beside it, and what came with it.
        "shown": _shown(function),
        # Nothing is done with it, but another one means another zygote.
        "identities": {p: list(premises.identities.get(p, ())) for p in sorted(watched)},
    }


def _shown(function: Function) -> list[str]:
    published = [layer.path for layer in function.layers if layer.is_published]
    version = os.path.dirname(function.copy_dir) if function.copy_dir else ""
    return [path for path in (version, function.bundle_dir, *published) if path]


def given_paths(function: Function) -> set[str]:
    """Return what the function was given by name: code, lists, watched directories.

    Not the kept version of its code: that is never replaced.
    """
    given = function.permissions
    watched = (trigger.path for trigger in function.files)
    layers = [layer.path for layer in function.layers]
    paths = {*function.readable_code, *layers, *given.read, *given.write, *watched}
    return paths - {function.copy_dir}


def tmp_at(function: Function, premises: Premises) -> str:
    """Return where an attempt finds its private directory, where that is in memory.

    That is /tmp, unless the function was given the host's /tmp itself; then the place of the state directory,
    which nobody misses.
    """
    return premises.state_dir if given_paths(function) & {"/", "/tmp"} else "/tmp"
