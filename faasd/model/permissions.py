"""What a function may touch. Enforced by the walls; see docs/threat-model.md."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["RESERVED_VARIABLES", "Permissions", "Ports"]

#: Environment variables that faasd sets itself, whatever a function is given.
RESERVED_VARIABLES = frozenset(
    {
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "CREDENTIALS_DIRECTORY",
        "FAASD_ATTEMPT",
        "FAASD_DEADLINE",
        "FAASD_FUNCTION",
        "FAASD_INVOCATION_ID",
        "FAASD_LAYERS",
        "FAASD_PATH",
        "FAASD_SANDBOX_OF",
        "FAASD_SCHEDULED_FOR",
        "FAASD_TRIGGER",
        "LAMBDA_TASK_ROOT",
        "_HANDLER",
    }
)


@dataclass(frozen=True)
class Ports:
    """TCP ports that a function may connect to, and those it may listen on; no others."""

    connect: tuple[int, ...] = ()
    bind: tuple[int, ...] = ()


@dataclass(frozen=True)
class Permissions:
    """Paths, network, environment, secrets and user that a function is given.

    `read` and `write` are absolute paths besides those that every function has; a files trigger's
    directory counts as `read`.
    """

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    network: bool | Ports = True  # True: the host's; False: loopback of its own.
    env: dict[str, str] = field(default_factory=dict)
    pass_env: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()  # Names of files in the secrets directory.
    user: str | None = None  # None: the daemon's own.
    containment: str = "strict"  # or "best-effort"
