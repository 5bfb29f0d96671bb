"""What functions and classes consist of: their code, and all that it reaches in its own module."""

from __future__ import annotations

import collections
import dataclasses
import functools
import struct
import types
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from chunkstore.recording.identity.code import GLOBAL, CodeFacts, Path, facts_of
from chunkstore.recording.identity.known import name_check
from chunkstore.recording.identity.parts import Parts
from chunkstore.recording.identity.rules import (
    Loose,
    Raw,
    Rules,
    changed_arguments,
    class_module,
    class_name,
    is_changeable,
    is_importable,
    module_name,
    module_of,
    place_of_attribute,
    place_of_cell,
    place_of_name,
)
from chunkstore.recording.identity.scalars import framed

#: Attributes of classes that say where, not what, or that Python fills in when it likes.
_NO_PART = frozenset(
    "__dict__ __weakref__ __module__ __qualname__ __doc__ __firstlineno__ __static_attributes__ _abc_impl "
    "__annotate__ __annotate_func__ __annotations_cache__ __protocol_attrs__ __non_callable_proto_members__ "
    "__callable_proto_members_only__ __slotnames__ __signature__".split()
)
_OF_ENUMERATIONS = (
    "_member_names_",
    "_value2member_map_",
    "_hashable_values_",
    "_unhashable_values_",
    "_unhashable_values_map_",
    "_singles_mask_",
    "_inverted_",
)
_COPIED_TEXTS = ("__doc__", "__annotations__")
_REGISTRIES = (dict, list, set, collections.defaultdict, collections.OrderedDict)
#: Larger containers are caches, and not looked at for functions.
_LONGEST_REGISTRY = 1000
_NO_PART_PREFIX = "__pydantic_"
_FIELDS = "__pydantic_fields__"


def named(kind: bytes, *names: str) -> Raw:
    """Return the part for something that is told by its name alone."""
    return Raw(framed(b"n", kind + b" " + ":".join(names).encode(errors="backslashreplace")))


def reached(value: Any, module: str) -> Any:
    """Return the part for a value that code of a module reaches: whatever is of another module counts by its name."""
    if issubclass(type(value), types.ModuleType):
        return named(b"module", module_name(vars(value).get("__name__")))
    if issubclass(type(value), type):
        its_module, name = class_module(value), class_name(value)
        is_code = True
    else:
        its_module, name = _place_of(value)
        is_code = issubclass(type(value), types.FunctionType)
    if name and its_module != module and is_importable(value, its_module, name):
        return named(b"of", its_module, name)
    return value if is_code else Loose(value)


def _place_of(value: Any) -> tuple[str, str]:
    """Return the module and the name that an object says it has, without running code of its own."""
    if issubclass(type(value), types.BuiltinFunctionType):
        return module_name(value.__module__), value.__qualname__
    own = vars(value) if type(value) is types.FunctionType or type(value) is _CACHED else {}
    name = value.__qualname__ if issubclass(type(value), types.FunctionType) else own.get("__qualname__")
    module = value.__module__ if issubclass(type(value), types.FunctionType) else own.get("__module__")
    return module_name(module), name if type(name) is str else ""


_CACHED: type = type(functools.lru_cache(lambda: None))

# --- functions -------------------------------------------------------------------------------------------------------


def function_parts(function: types.FunctionType, rules: Rules) -> Parts:
    """Return what a function consists of."""
    module = module_of(function)
    is_followed = rules.follows(module)
    said = module_name(function.__module__)  # that of the function inside, where a decorator has copied it
    if not is_followed and not rules.follows(said) and is_importable(function, said, function.__qualname__):
        return Parts(named(b"function", module, function.__qualname__).token)
    if registry := _registry(function):
        return Parts(b"singledispatch", (), [(kind, handler) for kind, handler in registry.items()])
    facts = facts_of(function.__code__)
    parts: list[Any] = []
    if is_followed:
        rules.note(function, facts)
    parts += _defaults(function, facts)
    parts += _closure(function, rules)
    if is_followed:
        parts += _globals(function, facts, module, rules)
        parts += _attributes(function, module, rules)
    elif "__wrapped__" in vars(function):
        parts.append(vars(function)["__wrapped__"])
    return Parts(b"function" + facts.digest, parts)


def _registry(function: types.FunctionType) -> dict[Any, Any] | None:
    """Return the functions of a `singledispatch` by type; None for any other function."""
    registry: Any = vars(function).get("registry")
    return dict(registry) if type(registry) is types.MappingProxyType and "dispatch" in vars(function) else None


def _defaults(function: types.FunctionType, facts: CodeFacts) -> Iterator[Any]:
    code, defaults = function.__code__, function.__defaults__ or ()
    changed = changed_arguments(facts)
    names = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
    by_name = {**dict(zip(names, defaults, strict=False)), **(function.__kwdefaults__ or {})}
    for name, value in sorted(by_name.items()):
        yield named(b"default", name)
        yield named(b"state") if name in changed and is_changeable(value) else value


def _closure(function: types.FunctionType, rules: Rules) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            value = cell.cell_contents
        except ValueError:
            yield named(b"not filled")
            continue
        yield named(b"state") if rules.is_state(place_of_cell(cell), value) else value


def _attributes(function: types.FunctionType, module: str, rules: Rules) -> Iterator[Any]:
    for name, value in sorted(vars(function).items()):
        if not rules.is_state(place_of_attribute(function, name), value, name):
            yield named(b"attribute", name)
            yield reached(value, module)


def _globals(function: types.FunctionType, facts: CodeFacts, module: str, rules: Rules) -> Iterator[Any]:
    names = function.__globals__
    paths: set[Path] = {path for path in facts.reads if path[0] == GLOBAL}
    imports_itself = any(module_name(imported) == module for imported in facts.imported)
    if facts.by_text or imports_itself or any(_is_own_module(path, names) for path in paths):
        rules.looked_at(None)
        paths |= {(GLOBAL, name) for name in names if not name.startswith("__") or name == "__getattr__"}
    for path in sorted(paths):
        name, value = path[1], names.get(path[1])
        rules.looked_at(name_check(names, name))
        if name not in names:
            continue  # a builtin, or not there yet
        rest = list(path[2:])
        if rest and _is_module_elsewhere(value, rules):
            # The names alone tell what is in it: it may be loaded only when somebody asks for it.
            yield named(b"in", *path[1:])
            yield reached(value, module)
            continue
        while issubclass(type(value), types.ModuleType) and rest and (vars(value) is names or rest[0] in vars(value)):
            its_module, name = value, rest.pop(0)
            rules.looked_at(name_check(vars(value), name))
            value = vars(value).get(name)
            if vars(its_module) is not names and not issubclass(type(value), types.ModuleType):
                # Of another module: the names of both tell it, and the code has only one of them for sure.
                yield named(b"in", path[1])
                yield reached(its_module, module)
                break
        else:
            if not rules.is_state(place_of_name(module, name), value):
                yield named(b"global", name)
                yield reached(value, module)
            elif registered := _registered(value, module, rules):
                yield registered


def _is_module_elsewhere(value: Any, rules: Rules) -> bool:
    """Tell whether a value is a module of Python or of a package that was installed."""
    return issubclass(type(value), types.ModuleType) and not rules.follows(module_name(vars(value).get("__name__")))


def _is_own_module(path: Path, names: dict[str, Any]) -> bool:
    """Tell whether a function reads its own module as a whole, or by a name that is not in it."""
    _, name, *rest = path
    value = names.get(name)
    return issubclass(type(value), types.ModuleType) and vars(value) is names and not (rest and rest[0] in names)


# --- classes ---------------------------------------------------------------------------------------------------------


def class_parts(cls: type, rules: Rules) -> Parts:
    """Return what a class consists of."""
    module, name = class_module(cls), class_name(cls)
    if not rules.follows(module):
        return Parts(named(b"class", module, name).token)
    parts: list[Any] = [reached(base, module) for base in type.__dict__["__bases__"].__get__(cls)]
    parts.append(reached(type(cls), module))
    attributes = {**type.__dict__["__dict__"].__get__(cls)}
    parts += _members(cls, attributes)
    for attribute, value in sorted(attributes.items(), key=lambda item: str(item[0])):
        if _is_no_part(attribute, value):
            continue
        if rules.is_state(place_of_attribute(cls, str(attribute)), value, str(attribute)):
            if registered := _registered(value, module, rules):
                parts.append(registered)
            continue
        parts.append(named(b"attribute", str(attribute)))
        parts.append(reached(value, module))
    # Which function it is defined in gets lost where classes are sent to other processes by their code.
    return Parts(named(b"class", name.rpartition("<locals>.")[2]).token, parts)


def _members(cls: type, attributes: dict[str, Any]) -> Iterator[Any]:
    """Take what dataclasses, enumerations and annotations keep in dicts out of a class, and yield it as tuples.

    Likewise what a `Struct` keeps out of sight.
    """
    fields = attributes.pop("__dataclass_fields__", None)
    if issubclass(type(fields), dict):
        for name, field in fields.items():
            yield (name, field.init, field.repr, field.hash, field.compare, getattr(field, "kw_only", None))
            for default in (field.default, field.default_factory):
                yield named(b"none") if type(default) is type(dataclasses.MISSING) else Loose(default)
            yield dict(field.metadata) or None
    parameters = attributes.pop("__dataclass_params__", None)
    if parameters is not None:
        yield repr(parameters)
    members = attributes.pop("_member_map_", None)
    if issubclass(type(members), dict):
        for name in _OF_ENUMERATIONS:
            attributes.pop(name, None)
        for name, member in members.items():
            attributes.pop(name, None)
            yield name
            yield Loose(vars(member).get("_value_"))
    if issubclass(cls, msgspec.Struct):
        config = cls.__struct_config__
        yield (cls.__struct_fields__, cls.__struct_encode_fields__)
        yield {name: getattr(config, name) for name in dir(config) if not name.startswith("_")}
        for default in cls.__struct_defaults__:
            yield Loose(default.factory if class_name(type(default)) == "Factory" else default)
    annotations = attributes.pop("__annotations__", None)
    if issubclass(type(annotations), dict):
        for name, annotation in annotations.items():
            yield name
            yield Loose(annotation)


def _is_no_part(attribute: Any, value: Any) -> bool:
    if attribute in _NO_PART or (str(attribute).startswith(_NO_PART_PREFIX) and attribute != _FIELDS):
        return True
    # Slots, whose names stand in `__slots__`.
    return issubclass(type(value), (types.MemberDescriptorType, types.GetSetDescriptorType))


def _registered(value: Any, module: str, rules: Rules) -> frozenset[Any]:
    """Return the functions and classes in a container that the code changes: it may be what they register in."""
    if type(value) not in _REGISTRIES or len(value) > _LONGEST_REGISTRY:
        return frozenset()

    def registered() -> frozenset[Any]:
        items = list(value.values() if issubclass(type(value), dict) else value)
        return frozenset(item for item in items if issubclass(type(item), (type, types.FunctionType)))

    found = registered()
    rules.looked_at(lambda: registered() == found)
    return frozenset(reached(item, module) for item in found)


# --- what stands around functions ------------------------------------------------------------------------------------


def wrapper_parts(value: Any) -> Parts | None:
    """Return what something consists of that wraps functions, as `functools` and the language have it; else None."""
    make = _WRAPPERS.get(type(value))
    return None if make is None else make(value)


def without_texts(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state of an object without what `functools.update_wrapper` copies there that does nothing."""
    return {name: value for name, value in state.items() if name not in _COPIED_TEXTS}


def _partial(value: functools.partial[Any]) -> Parts:
    return Parts(b"partial", [value.func, value.args, value.keywords, without_texts(vars(value))])


def _builtin_method(value: types.BuiltinMethodType) -> Parts:
    owner = value.__self__
    if owner is None or issubclass(type(owner), types.ModuleType):
        return Parts(named(b"builtin", str(value.__module__), value.__qualname__).token)
    return Parts(named(b"method", value.__name__).token, [owner])


def _cached(value: Any) -> Parts:
    parameters = value.cache_parameters() if "cache_parameters" in vars(value) else None
    return Parts(b"cached", [value.__wrapped__, parameters])


_WRAPPERS: dict[type, Callable[[Any], Parts]] = {
    functools.partial: _partial,
    functools.partialmethod: lambda value: Parts(b"partialmethod", [value.func, value.args, value.keywords]),
    functools.singledispatchmethod: lambda value: Parts(b"dispatchmethod", [value.dispatcher, value.func]),
    functools.cached_property: lambda value: Parts(b"cached_property", [value.func]),  # noqa: TID251 - users have them
    property: lambda value: Parts(b"property", [value.fget, value.fset, value.fdel]),
    staticmethod: lambda value: Parts(b"staticmethod", [value.__func__]),
    classmethod: lambda value: Parts(b"classmethod", [value.__func__]),
    types.MethodType: lambda value: Parts(b"method", [value.__func__, value.__self__]),
    types.BuiltinMethodType: _builtin_method,
    types.MethodWrapperType: lambda value: Parts(named(b"slot", value.__name__).token, [value.__self__]),
    types.CellType: lambda value: Parts(b"cell", [value.cell_contents]),
    types.CodeType: lambda value: Parts(b"code" + facts_of(value).digest),
    struct.Struct: lambda value: Parts(b"struct", [value.format]),
    _CACHED: _cached,
}
for _kind in (types.WrapperDescriptorType, types.MethodDescriptorType, types.ClassMethodDescriptorType):
    _WRAPPERS[_kind] = lambda value: Parts(
        named(b"descriptor", class_module(value.__objclass__), value.__qualname__).token
    )
