"""The view that a zygote's sandboxes have of the file system, built before the zygote's Landlock forbids mounting.

In the zygote's own mount namespace everything is read-only but what the function may write, the daemon's places are
covered, and /proc shows the zygote's processes alone. /run holds only what the function was given of it: no other wall
keeps anybody from connecting to a Unix socket that he can name. A small file system in memory, kept out of all
copies, holds a slot for each attempt that may run at once: its own directories, in memory and bounded, and a root,
which is a copy of the whole view with these in place of /tmp and /dev/shm. An attempt's process changes its root to
its slot's. The zygote has such directories as well, for the import.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from typing import Any

from faasd.linux import mounts

__all__ = ["PrivateView", "Slot", "is_in"]

#: Of the host as a whole, and not even root's to write from inside.
_PROC_READ_ONLY = ("sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi", "mtrr")
#: Where the slots may be: a directory that the function has nothing to do with.
_PLACES = ("/mnt", "/media", "/srv", "/boot", "/dev/mqueue", "/var/tmp", "/opt")
#: Where services listen; the usual ones that have their sockets elsewhere.
_RUN = "/run"
_SERVICES = (
    "/var/lib/mysql", "/var/lib/sss/pipes", "/var/lib/libvirt", "/var/lib/lxd", "/var/lib/incus",
    "/var/snap/lxd/common/lxd", "/var/spool/postfix",
)  # fmt: skip
#: A mount that another one covers, or that is in a directory closed to this user.
_OUT_OF_REACH = frozenset({errno.ENOENT, errno.EINVAL, errno.EACCES, errno.ENOTDIR})
_BYTES_PER_INODE = 16384
_INODES = (1024, 65536)


class Slot:
    """One attempt's own directories and its root."""

    def __init__(self, path: str) -> None:
        self.root = os.path.join(path, "root")
        self.own = os.path.join(path, "own")
        self.directories = [os.path.join(self.own, name) for name in ("tmp", "shm")]


class PrivateView:
    """Builds the view; `slots` are ready afterwards."""

    def __init__(self, policy: dict[str, Any], read: list[str], write: list[str]) -> None:
        """Take the policy, and what the function may read and write: existing places, links followed."""
        self.slots: list[Slot] = []
        #: Names in a slot's /tmp and /dev/shm under which parts of the host's are.
        self.kept: dict[str, set[str]] = {"tmp": set(), "shm": set()}
        #: The zygote's own directories, for the import.
        self.directories: list[str] = []
        self._policy = policy
        #: Where attempts begin: it must be there, though a command may have been given nothing in it.
        self._directory = os.path.realpath(policy["code_dir"])
        self._read = read
        self._write = write
        self._hidden: list[str] = [os.path.realpath(path) for path in policy["files"]["hidden"]]
        self._replaced = {"shm": os.path.realpath("/dev/shm"), "tmp": policy["tmp_at"]}
        self._replaced = {
            name: path
            for name, path in self._replaced.items()
            if os.path.isdir(path) and path not in (*read, *write)
        }
        # Whoever was given all of /run, or of what it is in, has it.
        is_given = any(is_in(_RUN, path) for path in (*read, *write))
        self._covers_run = os.path.isdir(_RUN) and not os.path.islink(_RUN) and not is_given

    def build(self) -> None:
        """Build everything. Raises OSError, naming the place."""
        mounts.detach_from_host()
        if self._policy["private_proc"]:
            # Functions that share a zygote do not see each other's processes; Landlock keeps them from tracing.
            mounts.mount_proc("/proc", hides_others=self._policy["is_shared"])
        for name in _PROC_READ_ONLY:
            if os.path.exists(f"/proc/{name}"):
                mounts.bind(f"/proc/{name}", f"/proc/{name}")
        for path in self._write:
            mounts.bind(path, path, recursive=True)
        shown = [os.path.realpath(path) for path in self._policy["files"]["shown"]]
        kept = [(path, os.open(path, os.O_PATH | os.O_CLOEXEC)) for path in shown]
        for path in self._hidden:
            _cover(path, [one for one in kept if is_in(one[0], path)])
        for _, fd in kept:
            os.close(fd)
        for path in _SERVICES:
            if not any(is_in(one, path) or is_in(path, one) for one in self._read + self._write):
                _cover(path)
        self._make_read_only()
        place = self._place()
        count = self._policy["slots"]
        mounts.mount_tmpfs(place, 2**22 + 2**14 * count, 4096 + 8 * count, 0o755, unbindable=True)
        skeleton = self._make_skeleton(os.path.join(place, "skeleton"))
        if self._covers_run:  # Before the slots: their roots are copies.
            mounts.bind(os.path.join(place, "skeleton", "run"), _RUN, recursive=True)
        for number in range(count):
            slot = Slot(os.path.join(place, str(number)))
            self._make_directories(slot, skeleton)
            self._make_root(slot)
            self.slots.append(slot)
        ours = Slot(os.path.join(place, "import"))
        self._make_directories(ours, skeleton)
        self._replace(ours, "")
        self.directories = ours.directories

    def _make_read_only(self) -> None:
        """Make every mount read-only but those at and below what may be written.

        Landlock does not look at changes of modes, owners, times and attributes; this does.
        """
        for path in _mount_points():
            # In /proc, a sandbox that enters its user namespace writes its maps; its own root has no such.
            if path != "/proc" and not any(is_in(path, place) for place in self._write):
                try:
                    mounts.make_read_only(path)
                except OSError as error:
                    if error.errno not in _OUT_OF_REACH:
                        raise

    def _place(self) -> str:
        """Return where the slots go: neither in a place of the function's or one that is covered, nor around one.

        A path in a slot's root lies below here too, so a rule on anything above would allow all of it.
        """
        given: list[str] = [*self._read, *self._write, *self._replaced.values(), _RUN]
        for path in (*self._hidden, *_PLACES):
            is_apart = not any(is_in(path, one) or is_in(one, path) for one in given)
            if is_apart and os.path.isdir(path) and not os.path.islink(path):
                return path
        raise OSError("no directory to mount private directories on: all are in `read` or `write`")

    def _make_skeleton(self, place: str) -> dict[str, list[str]]:
        """Make what of the host's /tmp, /dev/shm and /run the function was given; returns it by what it is to be in."""
        found: dict[str, list[str]] = {}
        os.mkdir(place)
        mounts.mount_tmpfs(place, 2**22, 4096, 0o755)
        for name, at in {**self._replaced, "run": _RUN}.items():
            base = os.path.join(place, name)
            os.mkdir(base)
            tops = self._given_in(at)
            for path in tops:
                _make_mount_point(base, os.path.relpath(path, at), like=path)
                mounts.bind(path, os.path.join(base, os.path.relpath(path, at)), recursive=True)
            if self._directory != at and is_in(self._directory, at):
                os.makedirs(os.path.join(base, os.path.relpath(self._directory, at)), exist_ok=True)
                tops = [*tops, self._directory]
            names = sorted({os.path.relpath(path, at).split("/")[0] for path in tops})
            found[name] = [os.path.join(base, top) for top in names]
            self.kept[name] = set(names)
        self._complete_run(os.path.join(place, "run"))
        mounts.make_read_only(place)
        return found

    def _given_in(self, at: str) -> list[str]:
        """Return the outermost places that the function was given in a directory: what is in them is there with them."""
        inside = sorted({path for path in self._read + self._write if is_in(path, at)})
        return [p for p in inside if not any(is_in(p, q) for q in inside if q != p)]

    def _complete_run(self, base: str) -> None:
        """Add what gives access to nothing: links, and the places of directories that the function has for itself."""
        for path in self._replaced.values():
            if is_in(path, _RUN):
                os.makedirs(os.path.join(base, os.path.relpath(path, _RUN)), exist_ok=True)
        for entry in os.scandir(_RUN):
            if entry.is_symlink() and not os.path.lexists(os.path.join(base, entry.name)):
                os.symlink(os.readlink(entry.path), os.path.join(base, entry.name))

    def _make_directories(self, slot: Slot, skeleton: dict[str, list[str]]) -> None:
        """Make a slot's own directories, with what of the host's is to be in them."""
        size_bytes = self._policy["tmp_size_bytes"]
        least, most = _INODES
        inodes = min(max(size_bytes // _BYTES_PER_INODE, least), most)
        for path in (os.path.dirname(slot.own), slot.own):
            os.mkdir(path)
        mounts.mount_tmpfs(slot.own, size_bytes, inodes, 0o755)
        for path in slot.directories:
            os.mkdir(path)
            os.chmod(path, 0o1777)
            for top in skeleton.get(os.path.basename(path), ()):
                name = os.path.basename(top)
                _make_mount_point(path, name, like=top)
                mounts.bind(top, os.path.join(path, name), recursive=True)

    def _make_root(self, slot: Slot) -> None:
        os.mkdir(slot.root)
        mounts.bind("/", slot.root, recursive=True)
        mounts.make_read_only(slot.root + "/proc")
        self._replace(slot, slot.root)

    def _replace(self, slot: Slot, root: str) -> None:
        """Put a slot's own directories where those of the host are, below `root`."""
        for path in slot.directories:
            at = self._replaced.get(os.path.basename(path))
            if at is not None:
                mounts.bind(path, root + at, recursive=True)


def is_in(path: str, directory: str) -> bool:
    """Whether an absolute path is a directory or below it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _cover(path: str, shown: Sequence[tuple[str, int]] = ()) -> None:
    """Hide what is at a path: nothing is in the directory but what is to be shown; nobody answers at the socket.

    `shown` has directories in it with a descriptor of each, opened before.
    """
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return  # Nothing is there, or nothing that we could reach.
    if stat.S_ISDIR(mode):
        depths = [os.path.relpath(one, path).count("/") + 1 for one, _ in shown]
        mounts.mount_tmpfs(path, 4096, 1 + sum(depths), 0o755 if shown else 0o555)
        for one, fd in shown:
            os.makedirs(one, exist_ok=True)
            mounts.bind(f"/proc/self/fd/{fd}", one)
    elif not stat.S_ISLNK(mode):
        mounts.bind("/dev/null", path)


def _make_mount_point(base: str, relative: str, like: str) -> None:
    path = os.path.join(base, relative)
    if os.path.isdir(like):
        os.makedirs(path, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))


def _mount_points() -> list[str]:
    """Return where something is mounted, in our mount namespace."""
    with open("/proc/self/mountinfo", "rb") as file:
        fields = [line.split()[4] for line in file]
    # Blanks are written as octal escapes.
    return sorted({os.fsdecode(f.decode("unicode_escape").encode("latin-1")) for f in fields})
