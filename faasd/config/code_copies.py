"""Has the modules of one configuration looked at, and its functions run, from kept versions of their code.

What is checked is what runs: each directory is kept before anything of it is imported. People read of
the directory that they know, so whatever names a place in a version is made to name its source.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from faasd.config.assemble import Assembled
from faasd.config.command_code import script_of
from faasd.config.drafting import Discover
from faasd.model.code import KeepCode, KeptCode
from faasd.model.declaration import Declared, Discovered, Module, Problem
from faasd.model.function import Function

__all__ = ["CodeCopies"]


class CodeCopies:
    """The kept code of one configuration, each directory read once. Raises what its `keep` raises."""

    def __init__(
        self,
        keep: KeepCode,
        in_place: KeepCode,
        link: Collection[str],
        leave_out: Collection[str],
    ) -> None:
        """`in_place` is asked about what is not this configuration's own, such as a program in PATH."""
        self._keep = keep
        self._in_place = in_place
        self._link = set(map(os.path.realpath, link))
        self._leave_out = set(leave_out)
        self._kept: dict[str, KeptCode] = {}

    async def of(self, root: str) -> KeptCode:
        """Return what became of a directory or file."""
        if root not in self._kept:
            self._kept[root] = await asyncio.to_thread(
                self._keep, root, self._link, self._leave_out
            )
        return self._kept[root]

    def learn(self, everything: Sequence[Assembled]) -> bool:
        """Hear what the functions read, write and watch; returns whether some of it lies amid code.

        That is data: not to be copied but linked, so all must be kept and looked at once more.
        """
        paths = {os.path.realpath(path) for one in everything for path in one.function.data_paths}
        amid = {path for path in paths for root in self._kept if _is_below(path, root)}
        # Beside the code what will be made is linked too; what is there is linked anyway.
        beside = (path for path in paths if not Path(path).exists())
        roots = [os.path.dirname(os.path.realpath(root)) for root in self._kept]
        amid |= {path for path in beside for root in roots if os.path.dirname(path) == root}
        if amid <= self._link:
            return False
        self._link |= amid
        self._kept.clear()
        return True

    def discovering(self, discover: Discover) -> Discover:
        """Return what looks at modules in their kept versions and tells of their sources."""

        async def discover_copies(modules: Sequence[Module]) -> list[Discovered]:
            kept = [
                await self.of(one.code_dir) if _is_in_its_directory(one) else None
                for one in modules
            ]
            moved = [
                replace(one, code_dir=code.path, read=(*one.read, code.source), shown=(code.path,))
                if code is not None and code.is_kept
                else one
                for one, code in zip(modules, kept, strict=True)
            ]
            answers = await discover(moved)
            return [
                _told_of_source(replace(answer, module=module), code)
                for answer, module, code in zip(answers, modules, kept, strict=True)
            ]

        return discover_copies

    async def settle(self, function: Function, root: str, base_dir: Path) -> Function:
        """Return the function as it runs; `root` is what the version of its code is taken from."""
        script = script_of(function.command or (), base_dir)
        if script is None and root != function.code_dir:
            found = await asyncio.to_thread(self._in_place, root, self._link, self._leave_out)
            return replace(function, code_version=found.version)
        source = root if script is None else script[2]
        kept = await self.of(source)
        because = kept.in_place_because
        if kept.is_kept and function.permissions.user is not None:
            because = _closed_to_others(kept.path)
        function = replace(function, code_version=kept.version, in_place_because=because)
        if because or not kept.is_kept:
            return function
        if script is None:
            function = replace(function, code_dir=kept.path)
        else:
            words = list(function.command or ())
            words[script[0]] = kept.path + script[1].removeprefix(source)
            function = replace(function, command=tuple(words))
        return replace(function, copy_dir=kept.path, source_dir=source)


def _is_below(path: str, root: str) -> bool:
    return path.startswith(os.path.realpath(root).rstrip("/") + "/")


def _closed_to_others(kept_path: str) -> str:
    """Say why another user than the daemon's cannot come to a version; "" where he can.

    The state directory itself is opened to him when he comes, for passing through and no more.
    """
    above = Path(kept_path).parents[3:]  # Of STATE_DIR/versions/VERSION/code.
    closed = [path for path in above if not path.stat().st_mode & 0o001]
    return f"{closed[0]} is closed to its user, so he cannot reach a kept version" if closed else ""


def _is_in_its_directory(module: Module) -> bool:
    """Whether a module is where it is looked for first, rather than installed."""
    first = os.path.join(module.code_dir, module.name.partition(".")[0])
    return bool(module.code_dir) and (Path(first).is_dir() or Path(f"{first}.py").is_file())


def _told_of_source(answer: Discovered, code: KeptCode | None) -> Discovered:
    if code is None or not code.is_kept:
        return answer

    def told(text: str) -> str:
        return text.replace(code.path, code.source)

    return replace(
        answer,
        declared=tuple(_told_declared(one, told) for one in answer.declared),
        problems=tuple(_told_problem(one, told) for one in answer.problems),
        attributes={
            name: None if fault is None else told(fault)
            for name, fault in answer.attributes.items()
        },
        file=None if answer.file is None else told(answer.file),
    )


def _told_declared(declared: Declared, told: Callable[[str], str]) -> Declared:
    return replace(declared, file=told(declared.file))


def _told_problem(problem: Problem, told: Callable[[str], str]) -> Problem:
    return replace(problem, path=told(problem.path), message=told(problem.message))
