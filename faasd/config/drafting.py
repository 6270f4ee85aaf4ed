"""Brings together what TOML and Python say of each function, discovering modules on the way.

Modules are looked at twice at most. The first look imports every module. The second one imports
again what needs another interpreter or environment, which is known only when the first has shown
which function is declared where.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from faasd.config.assemble import absolute_paths, find_program
from faasd.config.declared_problems import conflicts, name_problems, place_of, report_of
from faasd.config.document import Document
from faasd.config.found_layers import FindLayer, resolve_layers, with_named_layers
from faasd.config.layers import Draft, Layer, merge
from faasd.config.positions import KeyPath
from faasd.config.settings import DefaultSettings, FunctionSettings
from faasd.config.sources import Source, code_dir_of
from faasd.config.validate import validate
from faasd.model.declaration import Declared, Discovered, Module, Problem
from faasd.model.suggest import did_you_mean

__all__ = ["Discover", "Drafting"]

Discover = Callable[[Sequence[Module]], Awaitable[list[Discovered]]]
_Key = tuple[str, str, str | None]  # Module, directory, interpreter.
_TOML_ONLY = ("handler", "command")


@dataclass(frozen=True)
class _Found:
    """One decorator's declaration, where it was found, and all that is said of its function."""

    declared: Declared
    module: Module
    layers: list[Layer]


class Drafting:
    """Makes the drafts of one configuration; afterwards `problems` says what is wrong with them."""

    def __init__(
        self,
        document: Document,
        sources: Sequence[Source],
        entries: tuple[str, ...],
        environ: Mapping[str, str],
        find_layer: FindLayer,
    ) -> None:
        self.problems: list[Problem] = []
        self.left_out: set[str] = set()  # Functions that exist but got no draft.
        self.broken: dict[tuple[str, str], str] = {}  # Module and directory → why.
        self._document = document
        self._sources = {(source.name, source.code_dir): source for source in sources}
        self._entries = entries
        self._environ = environ
        self._find_layer = find_layer
        self._defaults = self._read_defaults()
        self._in_toml = self._read_toml()
        self._in_python: dict[str, _Found] = {}
        self._answers: dict[_Key, Discovered] = {}

    async def run(self, discover: Discover) -> list[Draft]:
        """Return a draft of every function that can have one."""
        first = await discover(self._first_look())
        self._collect(first)
        with_layers, faults = with_named_layers(first, self._find_layer)
        for fault in faults:
            self._fail(fault)
        if with_layers:
            first = self._mend(first, await discover(with_layers))
        checks, retries = self._checks(), self._retries(first)
        second = await discover([*checks, *retries]) if checks or retries else []
        self._answers |= {_key(answer.module): answer for answer in second[: len(checks)]}
        mended = self._collect_late(second[len(checks) :])
        self._report_modules(first, mended)
        drafts = [*self._drafts_of_python(), *self._drafts_of_toml(first)]
        return [draft for draft in drafts if not self._has_handler_fault(draft)]

    def code_dir(self, draft: Draft) -> str:
        """Return the directory that is put first on the module path, or a command's own."""
        if draft.found_in is not None:
            return draft.found_in.code_dir
        return str(self._document.base_dir)

    def answer_of(self, draft: Draft) -> Discovered | None:
        """Return what the import of a function's module under its own interpreter has shown."""
        module = draft.found_in
        python = self._interpreter(draft.layers)
        return None if module is None else self._answers.get((module.name, module.code_dir, python))

    def code_root(self, draft: Draft) -> str:
        """Return the directory or file whose content is the version of a function's code."""
        module = draft.found_in
        if module is None:
            return self._command_file(merge(draft.layers)["command"])
        answer = self._answers.get(_key(module))
        file = answer.file if answer else None
        if file is None or file.startswith(module.code_dir + "/"):
            return module.code_dir
        # An installed module: its own package, or its file, and not everything beside it.
        path = module.name.replace(".", "/")
        for ending in (f"/{path}.py", f"/{path}/__init__.py"):
            if file.endswith(ending):
                package = f"{file.removesuffix(ending)}/{module.name.partition('.')[0]}"
                return package if "." in module.name or ending.endswith("__init__.py") else file
        return file

    def _command_file(self, command: Sequence[str]) -> str:
        """Return the script that a command runs: its first argument that is a file, or its program."""
        base_dir = self._document.base_dir
        scripts = [
            base_dir / argument for argument in command[1:] if (base_dir / argument).is_file()
        ]
        return str(scripts[0]) if scripts else find_program(command[0], base_dir)[0]

    def _read_defaults(self) -> Layer:
        table = self._document.tables.get("defaults", {})
        report = self._document.report(("defaults",))
        settings, problems = validate(DefaultSettings, table, report)
        self.problems += problems
        return Layer(settings or DefaultSettings(), report, is_defaults=True)

    def _read_toml(self) -> dict[str, Layer]:
        layers = {}
        for name, table in self._document.tables.get("functions", {}).items():
            report = self._document.report(("functions", name), name)
            settings, problems = validate(FunctionSettings, table, report)
            naming = name_problems(name, report)
            self.problems += [*problems, *naming]
            if settings is None or naming:
                self.left_out.add(name)
            else:  # With problems too: those that show later are of interest all the same.
                layers[name] = Layer(settings, report)
        return layers

    def _first_look(self) -> list[Module]:
        """Return every module, each once, with all the handlers that TOML expects of it."""
        modules: dict[_Key, Module] = {}
        fault = self._interpreter_fault([self._defaults])
        if fault is not None:
            self._fail(self._defaults.report(("python",), fault))
        for source in self._sources.values():
            base = self._base(source)
            if not self._interpreter_fault(base):
                module = self._module(source.name, source.code_dir, source.origin, base)
                modules[_key(module)] = module
        for name in self._in_toml:
            wanted = self._module_of_toml(name)
            if wanted is not None:
                known = modules.get(_key(wanted), wanted)
                modules[_key(wanted)] = replace(
                    known,
                    attributes=tuple({*known.attributes, *wanted.attributes}),
                    env=known.env | wanted.env,
                    layers=tuple(dict.fromkeys((*known.layers, *wanted.layers))),
                    read=(*known.read, *wanted.read),
                    timeout_s=max(known.timeout_s, wanted.timeout_s),
                )
        return list(modules.values())

    def _module_of_toml(self, name: str) -> Module | None:
        """Return the module that a function's `handler` in TOML names."""
        layers = [self._defaults, self._in_toml[name]]
        settings = merge(layers)
        if settings["handler"] is None or self._interpreter_fault(layers):
            return None
        module, _, attribute = settings["handler"].partition(":")
        code_dir = code_dir_of(module, self._document, self._entries)
        return self._module(module, code_dir, str(self._document.path), layers, (attribute,))

    def _module(
        self,
        name: str,
        code_dir: str,
        origin: str,
        layers: Sequence[Layer],
        attributes: tuple[str, ...] = (),
    ) -> Module:
        """Return a module as functions with these settings would import it."""
        settings = merge(layers)
        return Module(
            name,
            code_dir,
            origin,
            self._interpreter(layers),
            attributes,
            self._environment(layers),
            settings["init_timeout_s"],
            read=absolute_paths(settings["read"], self._document.base_dir),
            layers=self._layers(layers),
        )

    def _base(self, source: Source | None) -> list[Layer]:
        """Return what holds for a module's functions before their decorators say anything."""
        if source is None or source.python is None:
            return [self._defaults]
        settings = FunctionSettings(python=source.python)
        return [self._defaults, Layer(settings, self._defaults.report, is_defaults=True)]

    def _collect(self, answers: Sequence[Discovered]) -> None:
        """Take what decorators declare in the modules that `functions` names."""
        for answer in answers:
            module = answer.module
            self._answers[_key(module)] = answer
            source = self._sources.get((module.name, module.code_dir))
            if source is not None and module.python == self._interpreter(self._base(source)):
                for declared in answer.declared:
                    self._take(declared, module)

    def _take(self, declared: Declared, module: Module) -> None:
        """Keep one declaration, unless something is wrong with it."""
        name = declared.name
        report = report_of(declared)
        written = {key: value for key, value in declared.settings.items() if key not in _TOML_ONLY}
        settings, problems = validate(FunctionSettings, written, report)
        message = "can be set in TOML only; the decorator stands at its handler"
        problems += [report((key,), message) for key in _TOML_ONLY if key in declared.settings]
        naming = name_problems(name, report)
        problems += naming
        earlier = self._in_python.get(name)
        if earlier is not None:
            other = place_of(earlier.declared)
            problems.append(
                report((), f"two functions are named {name!r}; the other is at {other}")
            )
        own_table = self._in_toml.get(name)
        if own_table is not None:
            problems += conflicts(own_table, declared)
        list(map(self._fail, problems))
        if settings is not None and earlier is None and not naming:
            source = self._sources.get((module.name, module.code_dir))
            layers = [*self._base(source), Layer(settings, report)]
            layers += [own_table] if own_table is not None else []
            self._in_python[name] = _Found(declared, module, layers)

    def _checks(self) -> list[Module]:
        """Return modules to import under the interpreter that their functions run with."""
        checks: dict[_Key, Module] = {}
        for found in self._in_python.values():
            python = self._interpreter(found.layers)
            if python != found.module.python and not self._interpreter_fault(found.layers):
                module = replace(found.module, python=python, attributes=())
                known = checks.get(_key(module), module)
                attribute = found.declared.handler.partition(":")[2]
                checks[_key(module)] = replace(known, attributes=(*known.attributes, attribute))
        return list(checks.values())

    def _retries(self, first: Sequence[Discovered]) -> list[Module]:
        """Return broken modules as a function in TOML would have them run.

        A module may fail only because its function's interpreter or environment stands in TOML.
        """
        retries = []
        for name in self._unfound():
            layers = [self._defaults, self._in_toml[name]]
            if self._interpreter_fault(layers):
                continue
            for module in (answer.module for answer in first if answer.is_broken):
                as_wanted = self._module(module.name, module.code_dir, module.origin, layers)
                again = replace(as_wanted, attributes=module.attributes, timeout_s=module.timeout_s)
                if again != module and again not in retries:
                    retries.append(again)
        return retries

    def _mend(self, first: Sequence[Discovered], again: Sequence[Discovered]) -> list[Discovered]:
        """Put the answers of a second import in the place of the first ones."""
        later = {_key(answer.module): answer for answer in again}
        self._collect(again)
        return [later.get(_key(answer.module), answer) for answer in first]

    def _collect_late(self, answers: Sequence[Discovered]) -> set[tuple[str, str]]:
        """Take what only the second look could find; returns the modules that it has mended."""
        mended = set()
        for answer in answers:
            for declared in answer.declared:
                if declared.name in self._unfound():
                    self._take(declared, answer.module)
                    self._answers[_key(answer.module)] = answer
                    mended.add((answer.module.name, answer.module.code_dir))
        return mended

    def _unfound(self) -> list[str]:
        """Return functions that TOML has settings for, and nobody has declared so far."""
        return [
            name
            for name, layer in self._in_toml.items()
            if name not in self._in_python
            and name not in self.left_out
            and not merge([layer]).is_runnable
        ]

    def _report_modules(self, answers: Sequence[Discovered], mended: set[tuple[str, str]]) -> None:
        """Report what is wrong with the modules that `functions` names."""
        for answer in answers:
            where = (answer.module.name, answer.module.code_dir)
            if where not in self._sources or where in mended:
                continue
            for problem in answer.problems:
                self._fail(self._with_place(problem, ("daemon", "functions"), answer.module))
                if answer.is_broken and not problem.is_warning:
                    self.broken.setdefault(where, str(self.problems[-1]))

    def _with_place(self, problem: Problem, path: KeyPath, module: Module) -> Problem:
        """Point a problem without a line of its own at what has named the module in this file."""
        if problem.path != str(self._document.path) or problem.line is not None:
            return problem
        message = f"module {module.name!r} {problem.message}"
        return self._document.problem(path, message, problem.function, problem.is_warning)

    def _drafts_of_python(self) -> list[Draft]:
        found = self._in_python.items()
        return [Draft(n, f.layers, place_of(f.declared), f.declared, f.module) for n, f in found]

    def _drafts_of_toml(self, first: Sequence[Discovered]) -> list[Draft]:
        """Return drafts of functions that TOML alone declares."""
        drafts = []
        unfound = set(self._unfound())
        for name, layer in self._in_toml.items():
            settings = merge([layer])
            if name in self._in_python or name in self.left_out:
                continue
            if name in unfound:
                is_any_broken = any(answer.is_broken for answer in first)
                is_blind = self._interpreter_fault([self._defaults]) is not None
                self._report_unfound(name, is_any_broken or is_blind)
            elif settings["handler"] is not None and settings["command"] is not None:
                message = "a function has a handler or a command, not both"
                self._fail(layer.report(("command",), message))
            else:
                line, _ = self._document.positions.of(("functions", name))
                origin = f"{self._document.path}:{line}"
                module = self._module_of_toml(name)
                drafts.append(Draft(name, [self._defaults, layer], origin, None, module))
        return drafts

    def _report_unfound(self, name: str, is_any_broken: bool) -> None:
        report = self._in_toml[name].report
        self.left_out.add(name)
        if any(problem.function == name for problem in self.problems):
            return  # A misspelt `command`, say, has been told already.
        if is_any_broken:
            message = "not found; it may be declared in a module that could not be imported"
            self._fail(replace(report((), message), is_warning=True))
            return
        message = "no function of this name is declared in Python; it needs a handler or a command"
        self._fail(report((), message + did_you_mean(name, self._in_python)))

    def _fail(self, problem: Problem) -> None:
        self.problems.append(problem)
        if problem.function is not None and not problem.is_warning:
            self.left_out.add(problem.function)

    def _has_handler_fault(self, draft: Draft) -> bool:
        """Report what the import of a function's handler under its own interpreter has shown."""
        answer = self.answer_of(draft)
        if answer is None:  # The interpreter cannot be found, and assembling will say so.
            return False
        key = "python" if draft.declared else "handler"
        merged = merge(draft.layers)
        handler = draft.declared.handler if draft.declared else merged["handler"]
        fault = answer.attributes.get(handler.partition(":")[2])
        problems = [merged.problem(key, fault)] if fault else []
        for problem in answer.problems:
            if not problem.is_warning and problem.function is None:
                place = self._with_place(problem, ("functions", draft.name, key), answer.module)
                problems.append(replace(place, function=draft.name))
        for problem in problems:
            self._fail(problem)
        return bool(problems)

    def _interpreter(self, layers: Sequence[Layer]) -> str | None:
        """Return the interpreter that layers come to."""
        written = merge(layers)["python"]
        return None if written is None else find_program(written, self._document.base_dir)[0]

    def _interpreter_fault(self, layers: Sequence[Layer]) -> str | None:
        """Say what is wrong with that interpreter; of one function's, assembling reports it."""
        written = merge(layers)["python"]
        return None if written is None else find_program(written, self._document.base_dir)[1]

    def _layers(self, layers: Sequence[Layer]) -> tuple[str, ...]:
        """Return the directories of a function's layers; assembling reports those that cannot be found."""
        found, _ = resolve_layers(merge(layers)["layers"], self._find_layer)
        return tuple(layer.path for layer in found)

    def _environment(self, layers: Sequence[Layer]) -> dict[str, str]:
        """Return the variables that an import of the handler would see."""
        settings = merge(layers)
        passed = {
            name: self._environ[name] for name in settings["pass_env"] if name in self._environ
        }
        given: dict[str, str] = settings["env"]
        return passed | given


def _key(module: Module) -> _Key:
    return module.name, module.code_dir, module.python
