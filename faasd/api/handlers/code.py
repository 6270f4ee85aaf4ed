"""Which code the functions run: reload, versions, going back, names for versions."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from faasd.api.call import Call
from faasd.api.replies import json_reply
from faasd.api.services import CodeControl
from faasd.clock import to_iso
from faasd.errors import Conflict, InvalidSetting
from faasd.model.reload import FunctionVersion, ReloadReport

__all__ = ["control_of", "list_versions", "reload", "roll_back", "set_alias", "unpin"]


def control_of(call: Call) -> CodeControl:
    """Return who decides which code runs. Raises Conflict where nobody does."""
    if call.services.code is None:
        raise Conflict("this daemon does not keep versions of code")
    return call.services.code


async def reload(call: Call) -> Response:
    """Read the configuration and the functions' code anew and put in force what works.

    `changes` says what became of each function; `needs_restart` names settings that take effect at the
    next start. 409 with every mistake when the configuration file has one: then nothing has changed.
    """
    return json_reply(_report_view(await control_of(call).reload()))


async def list_versions(call: Call) -> Response:
    """List the versions of a function's code that were in service, the last first."""
    versions = await control_of(call).versions_of(call.segment("name"))
    return json_reply({"versions": [_version_view(one) for one in versions]})


async def roll_back(call: Call) -> Response:
    """Put an earlier version in service; the body is `{"version": …}`, a version or an alias, or `{}`.

    Without a version it is the one before the present one. The function stays pinned to it, also over
    restarts and reloads, until `unpin` or another rollback.
    """
    wanted = (await call.object()).get("version")
    if wanted is not None and not isinstance(wanted, str):
        raise InvalidSetting('the body must be {"version": …} with a text, or {}')
    return json_reply(_report_view(await control_of(call).roll_back(call.segment("name"), wanted)))


async def unpin(call: Call) -> Response:
    """Put in service what is on the disk, and follow it again."""
    return json_reply(_report_view(await control_of(call).unpin(call.segment("name"))))


async def set_alias(call: Call) -> Response:
    """Give a version a name: `{"alias": …, "version": …}`; with `null` as version, take the name away."""
    body = await call.object()
    alias, wanted = body.get("alias"), body.get("version")
    if not isinstance(alias, str) or not (wanted is None or isinstance(wanted, str)):
        raise InvalidSetting('the body must be {"alias": …, "version": …}')
    version = await control_of(call).set_alias(call.segment("name"), alias, wanted)
    return json_reply({"name": call.segment("name"), "alias": alias, "version": version})


def _report_view(report: ReloadReport) -> dict[str, Any]:
    return {
        "changes": [vars(one) for one in report.changes],
        "needs_restart": [vars(one) for one in report.needs_restart],
        "problems": list(report.problems),
        "whole": report.is_whole,
    }


def _version_view(version: FunctionVersion) -> dict[str, Any]:
    return {
        "version": version.version,
        "in_service": version.is_in_service,
        "pinned": version.is_pinned,
        "aliases": list(version.aliases),
        "served_at": to_iso(version.served_at),
        "kept": version.is_kept,
        "files": version.files,
        "bytes": version.bytes,
        "source": version.source,
    }
