"""Hashes of code that are known already, and whether what they were computed from is still so.

A function or class at the top of a module is hashed once, as long as everything that was looked at is still the same
object: its code, the names that it reads, the methods of classes. Values that can change in place are not kept.
"""

from __future__ import annotations

import functools
import operator
import types
from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import FunctionType, MappingProxyType
from typing import Any

_MOST_KNOWN = 512
_MOST_ITEMS = 1000
_NOTHING = object()
#: Checks that something is as it was.
Check = Callable[[], bool]


def check_of(value: Any) -> Check | None:
    """Return what tells whether a value still consists of the same parts; None if nothing does quickly."""
    if issubclass(type(value), FunctionType):
        return _function_check(value)
    if issubclass(type(value), type):
        attributes = type.__dict__["__dict__"].__get__(value)
        return _items_check(attributes, type.__dict__["__bases__"].__get__(value), value)
    kind = type(value)
    if kind in _UNCHANGEABLE:
        return _always
    if kind in (list, set, dict, MappingProxyType) and len(value) <= _MOST_ITEMS:
        return _content_check(value)
    return None


def _always() -> bool:
    return True


_UNCHANGEABLE = {
    tuple,
    frozenset,
    property,
    staticmethod,
    classmethod,
    range,
    slice,
    functools.partial,
    functools.partialmethod,
    functools.cached_property,  # noqa: TID251 - users have them
    functools.singledispatchmethod,
    type(functools.lru_cache(len)),
    types.BuiltinFunctionType,
    types.MethodType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.MethodWrapperType,
    types.ModuleType,
    types.GenericAlias,
}


def _content_check(value: Any) -> Check:
    """Return what tells whether a container still holds the same objects; those are checked for themselves."""

    def content() -> list[Any]:
        return [*value, *value.values()] if hasattr(value, "values") else list(value)

    before = content()

    def is_same() -> bool:
        now = content()
        return len(now) == len(before) and all(map(operator.is_, now, before))

    return is_same


def _function_check(function: FunctionType) -> Check:
    state = _function_state(function)

    def is_same() -> bool:
        now = _function_state(function)
        return len(now) == len(state) and all(map(operator.is_, now, state))

    return is_same


def _function_state(function: FunctionType) -> list[Any]:
    state: list[Any] = [function.__code__, function.__defaults__]
    for mapping in (function.__kwdefaults__, function.__dict__):
        if mapping:
            state += [*mapping, *mapping.values()]
    for cell in function.__closure__ or ():
        try:
            state.append(cell.cell_contents)
        except ValueError:
            state.append(_NOTHING)
    return state


def _items_check(attributes: Mapping[str, Any], bases: tuple[type, ...], cls: type) -> Check:
    names, values = list(attributes), list(attributes.values())

    def is_same() -> bool:
        return (
            type.__dict__["__bases__"].__get__(cls) is bases
            and len(attributes) == len(names)
            and all(map(operator.is_, attributes.values(), values))
        )

    return is_same


def name_check(names: Mapping[str, Any], name: str) -> Check:
    """Return what tells whether a name still stands for the same object."""
    value = names.get(name, _NOTHING)
    return lambda: names.get(name, _NOTHING) is value


class KnownCode:
    """The hashes that are known, of a few hundred functions and classes."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, frozenset[str]], tuple[Any, bytes, list[Check]]] = OrderedDict()

    def get(self, value: Any, own: frozenset[str]) -> bytes | None:
        """Return the hash of a function or class, if it is known and still right."""
        found = self._known.get((id(value), own))
        if found is None or found[0] is not value:
            return None
        try:
            return found[1] if all(check() for check in found[2]) else None
        except RuntimeError:
            return None  # another thread changes a dict just now

    def put(self, value: Any, own: frozenset[str], digest: bytes, checks: list[Check]) -> None:
        """Remember a hash, and what tells whether it is still right."""
        self._known[id(value), own] = value, digest, checks
        while len(self._known) > _MOST_KNOWN:
            try:
                self._known.popitem(last=False)
            except KeyError:
                return  # another thread was faster
