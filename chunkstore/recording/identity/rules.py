"""What counts as the code of a function: which modules are followed, and which names hold state and no constants."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
from types import CellType, FunctionType, ModuleType
from typing import Any

from chunkstore.recording.identity.code import FREE, GLOBAL, LOCAL, CodeFacts
from chunkstore.recording.identity.known import Check

_LIBRARIES = ("site-packages", "dist-packages")


class Raw:
    """A part that is known already, as bytes."""

    __slots__ = ("token",)

    def __init__(self, token: bytes) -> None:
        self.token = token


class Loose:
    """A part that is told by its type alone if nothing more can be told of it, as of a connection in a global name."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Rules:
    """What is followed, and what has turned out to be state while it was.

    Args:
        own: the modules whose code counts wherever it is reached.
        for_code: whether the value is a function that runs, not what it is called with: then locks, files and the like
            that it holds are told by their types.
    """

    def __init__(self, own: frozenset[str], *, for_code: bool) -> None:
        self.own = own
        self.for_code = for_code
        #: What tells whether that which was looked at is still so; None if nothing does.
        self.checks: list[Check] | None = [] if for_code else None
        self._state_names: set[tuple[str, str]] = set()
        self._state_cells: set[int] = set()
        self._state_attributes: set[str] = set()
        self._written: set[str] = set()
        self._read: set[str] = set()

    @property
    def amount(self) -> int:
        """How much is known of what is state: if that grows, what was told before has to be told anew."""
        known: tuple[set[Any], ...] = (self._state_names, self._state_cells, self._state_attributes)
        return sum(map(len, (*known, self._written, self._read)))

    def follows(self, module: str) -> bool:
        """Tell whether the code of a module counts, and not only the names of what is in it."""
        return module in self.own or not is_library(module)

    def looked_at(self, check: Check | None) -> None:
        """Note what tells whether something that was looked at is still so."""
        if check is None:
            self.checks = None
        elif self.checks is not None:
            self.checks.append(check)

    # --- state -------------------------------------------------------------------------------------------------------

    def note(self, function: FunctionType, facts: CodeFacts) -> None:
        """Take in what a function assigns to and changes in place: that is state."""
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))
        for path in facts.assigned:
            self._note_assigned(function, cells, path)
        for path in facts.mutated:
            self._note_mutated(function, cells, path)
        self._written.update(path[-1] for path in (*facts.mutated, *facts.counted) if len(path) > 2)  # noqa: PLR2004
        self._read |= facts.read_attributes

    def _note_assigned(self, function: FunctionType, cells: dict[str, CellType], path: tuple[str, ...]) -> None:
        kind, name, *attributes = path
        if not attributes:
            self._note_name(function, cells, kind, name)
        elif kind == GLOBAL:
            value = function.__globals__.get(name)
            if issubclass(type(value), (type, FunctionType)):
                self._state_attributes.add(attributes[-1])
            elif issubclass(type(value), ModuleType):
                self._state_names.add((module_name(vars(value).get("__name__")), attributes[0]))
            else:
                self._note_name(function, cells, kind, name)
        elif name == "cls":
            self._state_attributes.add(attributes[-1])

    def _note_mutated(self, function: FunctionType, cells: dict[str, CellType], path: tuple[str, ...]) -> None:
        kind, name, *attributes = path
        if attributes:
            self._state_attributes.add(attributes[-1])
        if not attributes or not isinstance(function.__globals__.get(name), (type, FunctionType, ModuleType)):
            self._note_name(function, cells, kind, name)

    def _note_name(self, function: FunctionType, cells: dict[str, CellType], kind: str, name: str) -> None:
        if kind == GLOBAL:
            self._state_names.add((module_of(function), name))
        elif kind == FREE and name in cells:
            self._state_cells.add(id(cells[name]))

    def is_state_name(self, module: str, name: str) -> bool:
        """Tell whether a name at the top of a module is changed by what was followed."""
        return (module, name) in self._state_names

    def is_state_cell(self, cell: CellType) -> bool:
        """Tell whether a variable of an enclosing function is changed by what was followed."""
        return id(cell) in self._state_cells

    def is_state_attribute(self, name: str) -> bool:
        """Tell whether an attribute of a class or function is changed by what was followed."""
        return name in self._state_attributes

    def is_only_written(self, attribute: str) -> bool:
        """Tell whether an attribute of an object is added to, and nothing that was followed reads it."""
        return attribute in self._written and attribute not in self._read


def changed_arguments(facts: CodeFacts) -> frozenset[str]:
    """Return the names of arguments and local variables whose values a function changes in place."""
    return frozenset(path[1] for path in facts.mutated if path[0] == LOCAL and len(path) == 2)  # noqa: PLR2004


# --- modules ---------------------------------------------------------------------------------------------------------


def module_name(name: Any) -> str:
    """Return the name of a module as text; processes that were spawned call the main one otherwise."""
    return "" if type(name) is not str else "__main__" if name == "__mp_main__" else name


def module_of(function: FunctionType) -> str:
    """Return the module that a function was defined in."""
    return module_name(function.__globals__.get("__name__"))


def class_module(cls: type) -> str:
    """Return the module of a class, whatever its metaclass says."""
    return module_name(type.__dict__["__module__"].__get__(cls))


def class_name(cls: type) -> str:
    """Return the qualified name of a class, whatever its metaclass says."""
    return str(type.__dict__["__qualname__"].__get__(cls))


@functools.lru_cache(maxsize=4096)
def is_installed(file: str) -> bool:
    """Tell whether a file belongs to Python or was installed."""
    if any(part in _LIBRARIES for part in os.path.normpath(file).split(os.sep)):
        return True
    paths = sysconfig.get_paths()
    return any(_is_below(file, paths[name]) for name in ("stdlib", "platstdlib"))


def _is_below(file: str, folder: str) -> bool:
    return os.path.realpath(file).startswith(os.path.join(os.path.realpath(folder), ""))


def is_library(module: str) -> bool:
    """Tell whether a module belongs to Python or was installed, and is no code of the user's own."""
    if module == "__main__":
        return False  # in a worker, that module may be another one than where a function comes from
    package = module.partition(".")[0]
    if package == "chunkstore" or package in sys.builtin_module_names:
        return True
    loaded = sys.modules.get(module)
    file = vars(loaded).get("__file__") if issubclass(type(loaded), ModuleType) else None
    if type(file) is str:
        return is_installed(file)
    return loaded is not None and package in sys.stdlib_module_names


def is_importable(value: Any, module: str, name: str) -> bool:
    """Tell whether a module has something under its name, so that the name tells what it is."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        if issubclass(type(found), ModuleType):
            found = vars(found).get(part)
        elif issubclass(type(found), type):
            found = type.__dict__["__dict__"].__get__(found).get(part)
        else:
            return False
    return found is value
