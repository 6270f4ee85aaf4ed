"""Loads a configuration: the file, what its modules declare, and the functions that come of both.

Every mistake is reported, all of them together. A function with a mistake is left out and the
others stay, so that the daemon can run with one broken module; what it does with mistakes in the
file itself is its own decision (`Loaded.fatal`).
"""

from __future__ import annotations

import grp
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from faasd.config.assemble import Assembled, Surroundings, assemble
from faasd.config.code_copies import CodeCopies
from faasd.config.cross_checks import cross_check
from faasd.config.document import Document, read_document
from faasd.config.drafting import Discover, Drafting
from faasd.config.forbidden_paths import forbidden_paths
from faasd.config.found_layers import FindPublished, layer_finder
from faasd.config.host_checks import host_check
from faasd.config.http_settings import HttpSettings
from faasd.config.own_places import reveal_to_function, reveal_to_module
from faasd.config.positions import Positions
from faasd.config.settings import DaemonSettings, explicit
from faasd.config.sources import Source, find_sources
from faasd.config.trigger_values import CheckPattern, CheckSchedule
from faasd.config.validate import validate
from faasd.errors import NotFound
from faasd.model.code import KeepCode, KeptCode
from faasd.model.declaration import Discovered, Module, Problem
from faasd.model.deployment import Deployed
from faasd.model.function import Function
from faasd.model.layer import Layer
from faasd.model.paths import places, secrets_place
from faasd.model.suggest import did_you_mean

__all__ = ["CodeVersion", "Discover", "FindDeployed", "Loaded", "load"]

#: The kernel's limit for the path of a Unix socket (unix(7)), without its final zero.
SOCKET_PATH_BYTES_MAX = 107
_PLACES = ("state_dir", "socket", "secrets_dir")

#: State directory → the deployments in service.
FindDeployed = Callable[[Path], Sequence[Deployed]]
#: (file or directory, directories that do not count) → version.
CodeVersion = Callable[[str, Sequence[str]], str]


@dataclass(frozen=True)
class Loaded:
    """A configuration, read."""

    config_path: Path
    daemon: DaemonSettings  # Its defaults, where the file could not be read.
    http: HttpSettings  # Likewise.
    functions: tuple[Function, ...]  # Whole ones, ordered by name.
    problems: tuple[Problem, ...]
    disabled: tuple[str, ...] = ()  # Functions with `enabled = false`.
    left_out: Mapping[str, str] = field(default_factory=dict)  # Function → its first mistake.
    #: Module and its directory → why it could not be imported.
    broken: Mapping[tuple[str, str], str] = field(default_factory=dict)
    digest: str = ""  # The first digits of the file's SHA-256.
    #: Function → what the import of its module has left behind that does not bear being forked.
    left_open: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """Everything that keeps something from working."""
        return tuple(problem for problem in self.problems if not problem.is_warning)

    @property
    def fatal(self) -> tuple[Problem, ...]:
        """Errors in the configuration file itself, with which a daemon does not start."""
        return tuple(one for one in self.errors if one.path == str(self.config_path))


def _hiding(discover: Discover, config_path: Path, places: list[str]) -> Discover:
    """Keep modules from the daemon's own places, and from the configuration unless it lies beside them."""

    async def discover_apart(modules: Sequence[Module]) -> list[Discovered]:
        hidden = [
            [
                *places,
                *(
                    []
                    if config_path.is_relative_to(one.code_dir or "/nonexistent")
                    else [str(config_path)]
                ),
            ]
            for one in modules
        ]
        return await discover(
            [replace(one, hidden=tuple(paths)) for one, paths in zip(modules, hidden, strict=True)]
        )

    return discover_apart


def _revealing(discover: Discover, state_dir: Path) -> Discover:
    """Let modules see of the daemon's own places what came with them, and their layers."""

    async def discover_with_theirs(modules: Sequence[Module]) -> list[Discovered]:
        return await discover([reveal_to_module(one, state_dir) for one in modules])

    return discover_with_theirs


def _no_layer(_state_dir: Path, written: str) -> Layer:
    raise NotFound(f"there is no layer {written!r}")


async def load(
    config_path: Path,
    *,
    discover: Discover,
    code_version: CodeVersion,
    check_schedule: CheckSchedule,
    check_pattern: CheckPattern,
    keep_code: Callable[[Path], KeepCode] | None = None,
    find_layer: FindPublished = _no_layer,
    deployed: FindDeployed = lambda _: (),
    environ: Mapping[str, str] = os.environ,
) -> Loaded:
    """Read a configuration and discover its functions. Raises nothing for what people wrote.

    `keep_code`, given the state directory, says how code is kept for running; without it nothing is copied.
    """
    config_path = _absolute(config_path)
    document, problems = read_document(config_path)
    if document is None:
        return _unread(config_path, problems, environ)
    daemon, daemon_problems = _daemon(document, environ)
    http, problems_of_http = _http(document)
    sources, source_problems = _sources(document, daemon, deployed(daemon.state_dir))
    find = layer_finder(document.base_dir, daemon.state_dir, find_layer, code_version)
    places = [str(place) for place in (daemon.state_dir, daemon.socket, daemon.secrets_dir)]
    around = Surroundings(document.base_dir, check_schedule, check_pattern, find)
    keep = keep_code(daemon.state_dir) if keep_code else _in_place(code_version)
    copies = CodeCopies(keep, _in_place(code_version), [str(config_path)], places)
    revealed = _revealing(discover, daemon.state_dir)
    while True:
        drafting = Drafting(document, sources, daemon.functions, environ, find)
        drafts = await drafting.run(_hiding(copies.discovering(revealed), config_path, places))
        assembled = [assemble(draft, drafting.code_dir(draft), around) for draft in drafts]
        if not copies.learn(assembled):
            break
    problems += [*daemon_problems, *problems_of_http, *source_problems, *drafting.problems]
    problems += _problems_of(assembled, drafting.left_out, daemon)
    left_out = _left_out(problems, assembled)
    whole = [one for one in sorted(assembled, key=_name) if one.function.name not in left_out]
    roots = {one.name: drafting.code_root(one) for one in drafts if one.name not in left_out}
    enabled = [one.function for one in whole if one.is_enabled]
    settled = [await copies.settle(one, roots[one.name], document.base_dir) for one in enabled]
    return Loaded(
        document.path,
        daemon,
        http,
        tuple(reveal_to_function(one, daemon.state_dir) for one in settled),
        tuple(sorted(dict.fromkeys(problems), key=_place)),
        tuple(sorted(one.function.name for one in whole if not one.is_enabled)),
        _first_mistakes(problems, left_out),
        drafting.broken,
        document.digest,
        {one.name: _left_open(drafting.answer_of(one)) for one in drafts},
    )


def _unread(config_path: Path, problems: list[Problem], environ: Mapping[str, str]) -> Loaded:
    nothing = Document(config_path, {}, Positions({}, ""))
    return Loaded(config_path, _daemon(nothing, environ)[0], HttpSettings(), (), tuple(problems))


def _http(document: Document) -> tuple[HttpSettings, list[Problem]]:
    given = document.tables.get("http", {})
    settings, problems = validate(HttpSettings, given, document.report(("http",)))
    return settings or HttpSettings(), problems


def _daemon(document: Document, environ: Mapping[str, str]) -> tuple[DaemonSettings, list[Problem]]:
    """Read `[daemon]`, with its places as every client of the daemon comes to them too."""
    report = document.report(("daemon",))
    settings, problems = validate(DaemonSettings, document.tables.get("daemon", {}), report)
    settings = settings or DaemonSettings()
    written = {key: str(value) for key, value in explicit(settings).items() if key in _PLACES}
    state_dir, socket = places(str(document.path), written, environ)
    size = len(os.fsencode(socket))
    if size > SOCKET_PATH_BYTES_MAX:
        message = (
            f"{socket} is {size} bytes long, and the kernel takes at most "
            f"{SOCKET_PATH_BYTES_MAX}; set a shorter `socket`"
        )
        problems.append(report(("socket",), message))
    if settings.socket_group is not None:
        groups = {group.gr_name for group in grp.getgrall()}
        if settings.socket_group not in groups:
            hint = did_you_mean(settings.socket_group, groups)
            message = f"there is no group {settings.socket_group!r} on this host{hint}"
            problems.append(report(("socket_group",), message))
    secrets_dir = secrets_place(str(document.path), written, environ)
    where = {
        "state_dir": Path(state_dir),
        "socket": Path(socket),
        "secrets_dir": Path(secrets_dir),
    }
    return settings.model_copy(update=where), problems


def _sources(
    document: Document, daemon: DaemonSettings, there: Sequence[Deployed]
) -> tuple[list[Source], list[Problem]]:
    is_explicit = "functions" in daemon.model_fields_set
    return find_sources(document, daemon.functions, is_explicit, there)


def _in_place(code_version: CodeVersion) -> KeepCode:
    """Return what only tells versions apart, for whoever runs nothing."""

    def keep(root: str, link: Collection[str], leave_out: Collection[str]) -> KeptCode:
        return KeptCode(root, code_version(root, [*link, *leave_out]), root)

    return keep


def _problems_of(
    assembled: Sequence[Assembled], left_out: Collection[str], daemon: DaemonSettings
) -> list[Problem]:
    """Return what is wrong with functions, each by itself and all together."""
    return [
        *(problem for one in assembled for problem in one.problems),
        *cross_check(assembled, set(left_out)),
        *forbidden_paths(assembled, daemon),
        *host_check(assembled, str(daemon.secrets_dir)),
    ]


def _left_out(problems: Sequence[Problem], assembled: Sequence[Assembled]) -> set[str]:
    """Return the functions that have an error."""
    found = {one.function for one in problems if one.function is not None and not one.is_warning}
    # A bad setting of [defaults] is nobody's own, and still keeps out whoever inherits it.
    return found | {one.function.name for one in assembled if one.problems}


def _first_mistakes(problems: Sequence[Problem], names: Collection[str]) -> dict[str, str]:
    """Return for each function that is left out the first mistake that names it, or any."""
    found: dict[str, str] = {}
    for problem in sorted(problems, key=_place):
        if problem.function is not None and not problem.is_warning:
            found.setdefault(problem.function, str(problem))
    anyhow = next((str(one) for one in problems if not one.is_warning), "")
    return {name: found.get(name, anyhow) for name in names}


def _left_open(answer: Discovered | None) -> tuple[str, ...]:
    """Return the warnings that concern a whole module: they are about what its import leaves behind."""
    said = answer.problems if answer is not None else ()
    return tuple(one.message for one in said if one.is_warning and one.function is None)


def _absolute(path: Path) -> Path:
    # Without following links: what people wrote is what messages should show.
    return Path(os.path.abspath(path))


def _name(assembled: Assembled) -> str:
    return assembled.function.name


def _place(problem: Problem) -> tuple[str, int, int]:
    return problem.path, problem.line or 0, problem.column or 0
