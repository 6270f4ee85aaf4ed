"""What a function may touch. Enforced by the walls; see docs/threat-model.md."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Permissions"]


@dataclass(frozen=True)
class Permissions:
    """Paths, environment, network and user that a function is given."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    pass_env: tuple[str, ...] = ()
    containment: str = "strict"  # or "best-effort"
