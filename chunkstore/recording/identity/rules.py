"""What counts as the code of a function: which modules are followed, and which names hold state and no constants."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
from collections.abc import Iterator
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
        #: The parts for classes of objects that are known already.
        self.classes: dict[type, Any] = {}
        #: What tells whether that which was looked at is still so; None if nothing does.
        self.checks: list[Check] | None = [] if for_code else None
        #: Names, cells and attributes that are assigned to; and those whose values are changed in place.
        self._assigned: set[Any] = set()
        self._changed: set[Any] = set()
        #: Attributes of objects that are added to; and those that are read.
        self._written: set[str] = set()
        self._read: set[str] = set()

    @property
    def amount(self) -> int:
        """How much is known of what is state: if that grows, what was told before has to be told anew."""
        return sum(map(len, (self._assigned, self._changed, self._written, self._read)))

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
        code = function.__code__
        cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=False))
        for path in facts.assigned:
            self._assigned.update(_places(function, cells, path))
        for path in facts.mutated:
            self._changed.update(_places(function, cells, path))
            # Through a method's own object its class may be changed; what else a local name stands for is not known.
            if len(path) > _NAME and (path[0] == GLOBAL or path[1] in code.co_varnames[:1]):
                self._changed.add(path[-1])
        self._written.update(path[-1] for path in (*facts.mutated, *facts.counted) if len(path) > _NAME)
        self._read |= facts.read_attributes

    def is_state(self, place: Any, value: Any, name: str = "") -> bool:
        """Tell whether what was followed changes a value.

        Args:
            place: where it is, as `place_of_name` and the like have it.
            value: the value.
            name: of an attribute; one that is changed in place may be that of any object.
        """
        if place in self._assigned or (CLASS, name) in self._assigned:
            return True
        return (place in self._changed or name in self._changed) and is_changeable(value)

    def is_only_written(self, attribute: str) -> bool:
        """Tell whether an attribute of an object is added to, and nothing that was followed reads it."""
        return attribute in self._written and attribute not in self._read


#: So long is the path to a name without attributes.
_NAME = 2
#: What a method of a class calls that class.
CLASS = "cls"


def place_of_name(module: str, name: str) -> Any:
    """Return what stands for a name at the top of a module."""
    return module, name


def place_of_cell(cell: CellType) -> Any:
    """Return what stands for a variable of an enclosing function."""
    return id(cell)


def place_of_attribute(owner: Any, name: str) -> Any:
    """Return what stands for an attribute of a class or a function."""
    return id(owner), name


def _places(function: FunctionType, cells: dict[str, CellType], path: tuple[str, ...]) -> Iterator[Any]:
    """Yield the place that a function changes, if what it changes has one."""
    kind, name, *attributes = path
    if not attributes:
        if kind == GLOBAL:
            yield place_of_name(module_of(function), name)
        elif kind == FREE and name in cells:
            yield place_of_cell(cells[name])
    elif kind == GLOBAL:
        value = function.__globals__.get(name)
        if issubclass(type(value), ModuleType):
            yield place_of_name(module_name(vars(value).get("__name__")), attributes[0])
        elif issubclass(type(value), (type, FunctionType)):
            yield place_of_attribute(value, attributes[-1])
    elif name == CLASS or attributes[0] == "__class__":
        yield CLASS, attributes[-1]


def is_changeable(value: Any) -> bool:
    """Tell whether a value is a container that can be changed in place."""
    bases = type.__dict__["__mro__"].__get__(type(value))
    return set in bases or any("__setitem__" in type.__dict__["__dict__"].__get__(base) for base in bases)


def changed_arguments(facts: CodeFacts) -> frozenset[str]:
    """Return the names of arguments and local variables whose values a function changes in place."""
    return frozenset(path[1] for path in facts.mutated if path[0] == LOCAL and len(path) == _NAME)


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
    return any(_is_below(file, paths[name]) for name in ("stdlib", "platstdlib", "scripts"))


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
