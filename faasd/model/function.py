"""The function: a named handler with its limits, permissions, triggers and retry policy."""

from __future__ import annotations

from dataclasses import dataclass, field

from faasd.model.layer import Layer, digest_of_layers
from faasd.model.limits import Limits
from faasd.model.permissions import Permissions
from faasd.model.retry import RetryPolicy
from faasd.model.trigger import FilesTrigger, QueueTrigger, ScheduleTrigger

__all__ = ["Destination", "Function", "Lane", "ZygoteUse"]


@dataclass(frozen=True)
class Destination:
    """Where a finished invocation's record is sent: `function:NAME` or `queue:NAME`."""

    kind: str
    name: str


@dataclass(frozen=True)
class ZygoteUse:
    """Which other functions of its module use a function's zygote, by name; or why it has its own."""

    shared_with: tuple[str, ...] = ()
    own_because: str = ""  # "" also where no other function could use it, or nobody has looked yet.


@dataclass(frozen=True)
class Lane:
    """One queue and how its invocations are claimed for a function.

    Every function has a lane named like itself; named queues and batching file triggers have theirs.
    """

    queue: str
    function: str
    batch_size: int = 1
    batch_window_s: float = 0.0
    is_batch: bool = False
    concurrency: int | None = None
    key_concurrency: int = 1
    rate: tuple[int, float] | None = None
    visibility_timeout_s: float = 30.0


@dataclass(frozen=True)
class Function:
    """Everything that is known of a function, after configuration and discovery are merged."""

    name: str
    handler: str | None = None  # "module:attribute"
    command: tuple[str, ...] | None = None
    python: str | None = None  # Interpreter; None for the daemon's own.
    code_dir: str = (
        "."  # Directory that is put first on the handler's module path; a command's cwd.
    )
    #: What it may read as its code: of a command only what it names there. None: all of `code_dir`.
    code_paths: tuple[str, ...] | None = None
    code_version: str = ""
    layers: tuple[Layer, ...] = ()  # Later ones win, as in Lambda.
    bundle_dir: str = (
        ""  # The version of the deployment that it came with; "" where it came otherwise.
    )
    #: The kept version that it runs from, and the directory or file that this was taken from; "" in place.
    copy_dir: str = ""
    source_dir: str = ""
    in_place_because: str = ""
    limits: Limits = field(default_factory=Limits)
    permissions: Permissions = field(default_factory=Permissions)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    expires_s: float | None = None
    dead_letter: bool = True
    concurrency: int | None = None  # None: as many as the daemon has slots.
    reuse: int = 1  # Attempts that one sandbox serves, one after the other.
    recycle_memory_bytes: int | None = None  # A sandbox that an attempt leaves larger is replaced.
    spares: int | None = None  # Sandboxes forked ahead of need; None: as its events come.
    keep_warm: bool = False  # Its zygote starts with the daemon, and is never ended for being idle.
    schedules: tuple[ScheduleTrigger, ...] = ()
    files: tuple[FilesTrigger, ...] = ()
    queues: tuple[QueueTrigger, ...] = ()
    on_success: tuple[Destination, ...] = ()
    on_failure: tuple[Destination, ...] = ()
    origin: str = ""  # "path:line" of its declaration, for messages.

    @property
    def readable_code(self) -> tuple[str, ...]:
        """What of the code it may read: files, and directories with all that is in them."""
        own = (self.code_dir,) if self.code_paths is None else self.code_paths
        # The source too: what a version does not hold is linked there, as data and environments are.
        more = [path for path in (self.copy_dir, self.source_dir) if path]
        return tuple(dict.fromkeys((*own, *more)))

    @property
    def data_paths(self) -> tuple[str, ...]:
        """What it reads, writes and watches, and where its files are moved to: its code may be among it."""
        watched = (path for trigger in self.files for path in (trigger.path, *trigger.moved_to))
        return (*self.permissions.read, *self.permissions.write, *watched)

    @property
    def version_with_layers(self) -> str:
        """The version of its code, and after a plus sign that of its layers."""
        return self.code_version + ("+" + digest_of_layers(self.layers) if self.layers else "")

    def lanes(self) -> tuple[Lane, ...]:
        """Return the lanes that feed this function, its own first."""
        patience_s = max(30.0, self.limits.timeout_s)
        lanes = {self.name: Lane(self.name, self.name, visibility_timeout_s=patience_s)}
        for trigger in self.files:
            if trigger.batch_size > 1:
                queue = self.queue_of_files(trigger)
                lanes[queue] = Lane(
                    queue,
                    self.name,
                    batch_size=trigger.batch_size,
                    batch_window_s=trigger.batch_window_s,
                    is_batch=True,
                    visibility_timeout_s=patience_s,
                )
        for named in self.queues:
            lanes[named.name] = Lane(
                named.name,
                self.name,
                batch_size=named.batch_size,
                batch_window_s=named.batch_window_s,
                is_batch=named.batch_size > 1,
                concurrency=named.concurrency,
                key_concurrency=named.key_concurrency,
                rate=named.rate,
                visibility_timeout_s=named.visibility_timeout_s,
            )
        return tuple(lanes.values())

    def queue_of_files(self, trigger: FilesTrigger) -> str:
        """Return the queue that a files trigger feeds: the function's own unless it batches."""
        return f"{self.name}/{trigger.name}" if trigger.batch_size > 1 else self.name
