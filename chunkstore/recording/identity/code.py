"""What a code object says that decides what it does: its instructions without places and comments, and its names."""

from __future__ import annotations

import dis
import functools
import hashlib
import re
from collections.abc import Iterator
from types import CodeType
from typing import Any, NamedTuple

from chunkstore.recording.identity.scalars import token_of

#: A name that is read, with the attributes that are read of it: `("global", "config", "rate")`.
Path = tuple[str, ...]

GLOBAL, FREE, LOCAL = "global", "free", "local"
_LOADS = {
    "LOAD_GLOBAL": GLOBAL,
    "LOAD_NAME": GLOBAL,
    "LOAD_FROM_DICT_OR_GLOBALS": GLOBAL,
    "LOAD_DEREF": FREE,
    "LOAD_CLASSDEREF": FREE,
    "LOAD_FROM_DICT_OR_DEREF": FREE,
    "LOAD_FAST": LOCAL,
    "LOAD_FAST_BORROW": LOCAL,
    "LOAD_FAST_CHECK": LOCAL,
}
_ATTRIBUTES = {"LOAD_ATTR", "LOAD_METHOD"}
_ASSIGNED_NAMES = {"STORE_GLOBAL": GLOBAL, "DELETE_GLOBAL": GLOBAL, "STORE_DEREF": FREE, "DELETE_DEREF": FREE}
_ASSIGNED_ATTRIBUTES = {"STORE_ATTR", "DELETE_ATTR"}
_ASSIGNED_ITEMS = {"STORE_SUBSCR", "DELETE_SUBSCR"}
_COPIES = {"COPY", "DUP_TOP"}
_MUTATORS = frozenset(
    "add append appendleft clear difference_update discard extend extendleft insert intersection_update move_to_end "
    "pop popitem popleft remove reverse rotate setdefault sort subtract symmetric_difference_update update".split()
)
#: Constants that a class body stores and that are no part of what it does; one is a line number.
_PLACES = {"__doc__", "__firstlineno__", "__static_attributes__"}
#: What reads variables by names that the code does not show.
_BY_TEXT = {"modules", "globals", "eval", "exec", "vars", "__import__", "import_module"}
#: Attributes that lead to what the code does not name.
_LEADING_ON = {"__subclasses__", "__globals__"}


class CodeFacts(NamedTuple):
    """What is known of a code object and those inside of it.

    Attributes:
        digest: of its instructions, constants and signature.
        reads: the names that it reads from outside, with the attributes that follow at once.
        assigned: names outside, and attributes of names, that it assigns to or deletes.
        mutated: likewise, those whose value it changes in place, as by `append`.
        counted: attributes of names that it only adds to, as by `+=`.
        read_attributes: the attributes that it reads, other than to change them in place.
        imported: the modules that it imports itself.
        by_text: whether it may read variables by names that do not stand in it.
    """

    digest: bytes
    reads: frozenset[Path]
    assigned: frozenset[Path]
    mutated: frozenset[Path]
    counted: frozenset[Path]
    read_attributes: frozenset[str]
    imported: frozenset[str]
    by_text: bool


@functools.lru_cache(maxsize=4096)
def _known_facts(same: _SameCode) -> CodeFacts:
    return _facts(same.code)


class _SameCode:
    """Carries a code object past its comparison, which takes long and does not see all that differs."""

    __slots__ = ("code",)

    def __init__(self, code: CodeType) -> None:
        self.code = code

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _SameCode) and other.code is self.code

    def __hash__(self) -> int:
        return id(self.code)


def facts_of(code: CodeType) -> CodeFacts:
    """Return what is known of a code object; found once, as it never changes."""
    return _known_facts(_SameCode(code))


def _facts(code: CodeType) -> CodeFacts:
    instructions = [found for found in dis.get_instructions(code) if found.opname not in ("EXTENDED_ARG", "CACHE")]
    inner = [facts_of(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    changes = _Changes(list(_single(instructions)))
    reads = set(_reads(instructions))
    return CodeFacts(
        _digest(code, instructions),
        frozenset(reads).union(*(one.reads for one in inner)),
        frozenset(changes.assigned).union(*(one.assigned for one in inner)),
        frozenset(changes.mutated).union(*(one.mutated for one in inner)),
        frozenset(changes.counted).union(*(one.counted for one in inner)),
        frozenset(changes.read_attributes).union(*(one.read_attributes for one in inner)),
        frozenset(_imports(instructions)).union(*(one.imported for one in inner)),
        any(path[-1] in _BY_TEXT for path in reads)
        or not _LEADING_ON.isdisjoint(changes.read_attributes)
        or any(one.by_text for one in inner),
    )


# --- what it does ----------------------------------------------------------------------------------------------------


def _digest(code: CodeType, instructions: list[dis.Instruction]) -> bytes:
    """Return a hash of what a code object does, whatever its lines, its file and its documentation."""
    digest = hashlib.sha256()
    for part in _parts(code, instructions):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def _parts(code: CodeType, instructions: list[dis.Instruction]) -> Iterator[bytes]:
    has_doc = 0x4000000  # from Python 3.13 on; it moves all other constants
    arguments = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & ~has_doc)
    yield repr((arguments, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)).encode(
        errors="backslashreplace"
    )
    for number, found in enumerate(instructions):
        yield found.opcode.to_bytes(2, "little")
        if found.opcode in dis.hasconst:
            following = instructions[number + 1] if number + 1 < len(instructions) else None
            is_place = following is not None and following.opname == "STORE_NAME" and following.argval in _PLACES
            # `argval` does not have the names of arguments in a call before Python 3.13.
            yield b"place" if is_place else _constant(code.co_consts[found.arg or 0])
        else:
            yield str(found.arg).encode()
    yield getattr(code, "co_exceptiontable", b"")


def _constant(value: Any) -> bytes:
    """Return what tells a constant of a code object from others."""
    if isinstance(value, CodeType):
        return b"code" + facts_of(value).digest
    token = token_of(value)
    if token is not None:
        return token
    if isinstance(value, (tuple, frozenset)):
        parts = [_constant(item) for item in value]
        if isinstance(value, frozenset):
            parts.sort()  # its order differs from process to process
        return type(value).__name__.encode() + b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    return repr(value).encode(errors="backslashreplace")  # a slice


# --- what it reads ---------------------------------------------------------------------------------------------------


def _reads(instructions: list[dis.Instruction]) -> Iterator[Path]:
    for number, found in enumerate(instructions):
        kind = _LOADS.get(found.opname)
        if kind == LOCAL or kind is None:
            continue
        path = [kind, str(found.argval)]
        for following in instructions[number + 1 :]:
            if following.opname not in _ATTRIBUTES:
                break
            path.append(str(following.argval))
        yield tuple(path)


def _imports(instructions: list[dis.Instruction]) -> Iterator[str]:
    for found in instructions:
        if found.opname == "IMPORT_NAME":
            yield str(found.argval)


# --- what it changes -------------------------------------------------------------------------------------------------


def _single(instructions: list[dis.Instruction]) -> Iterator[dis.Instruction]:
    """Yield instructions that load one value each; from Python 3.13 on some load two."""
    for found in instructions:
        if "LOAD_FAST" in found.opname and isinstance(found.argval, tuple):
            for kind, name in zip(re.findall("(?:LOAD|STORE)_FAST", found.opname), found.argval, strict=True):
                yield found._replace(opname=kind, opcode=dis.opmap[kind], arg=0, argval=name)
        else:
            yield found


class _Changes:
    """What a code object assigns to, and what it changes in place, as far as its instructions show."""

    def __init__(self, instructions: list[dis.Instruction]) -> None:
        self._instructions = instructions
        self.assigned: set[Path] = set()
        self.mutated: set[Path] = set()
        self.counted: set[Path] = set()
        self.read_attributes: set[str] = set()
        for number, found in enumerate(instructions):
            if kind := _ASSIGNED_NAMES.get(found.opname):
                self.assigned.add((kind, str(found.argval)))
            elif found.opname in _ASSIGNED_ATTRIBUTES:
                self._note(self.assigned, number - 1, found.argval)
            elif found.opname in _ATTRIBUTES:
                self._look_at_attribute(number, found)
            elif found.opname in _ASSIGNED_ITEMS or self._copies_for_item(number):
                self._note(self.mutated, self._before_value(number - 1))

    def _look_at_attribute(self, number: int, found: dis.Instruction) -> None:
        if found.argval in _MUTATORS:
            self._note(self.mutated, number - 1)
        elif number and self._instructions[number - 1].opname in _COPIES:  # `name.attribute += 1`
            self._note(self.assigned, number - 2, found.argval)
            self._note(self.counted, number - 2, found.argval)
        elif not self._is_only_changed(number):
            self.read_attributes.add(str(found.argval))

    def _is_only_changed(self, number: int) -> bool:
        """Tell whether what is loaded here is changed in place at once, as in `name.attribute.append(…)`."""
        following = self._instructions[number + 1] if number + 1 < len(self._instructions) else None
        return following is not None and following.opname in _ATTRIBUTES and following.argval in _MUTATORS

    def _copies_for_item(self, number: int) -> bool:
        """Tell whether a container and a key are copied here, as for `name[key] += 1`."""
        found = self._instructions[number]
        both = [(one.opname, one.arg) for one in self._instructions[number : number + 2]]
        return found.opname == "DUP_TOP_TWO" or both == [("COPY", 2), ("COPY", 2)]

    def _note(self, changes: set[Path], number: int, attribute: Any = None) -> None:
        path = self._path(number)
        if path is not None:
            changes.add(path if attribute is None else (*path, str(attribute)))

    def _path(self, number: int) -> Path | None:
        """Return the name, with attributes, of the value that the instruction at a place leaves, or None."""
        attributes: list[str] = []
        while number >= 0:
            found = self._instructions[number]
            if kind := _LOADS.get(found.opname):
                return (kind, str(found.argval), *reversed(attributes))
            if found.opname in _ATTRIBUTES:
                attributes.append(str(found.argval))
                number -= 1
            elif found.opname == "BINARY_SUBSCR" or (found.opname == "BINARY_OP" and found.argrepr == "[]"):
                attributes.clear()  # a part of what comes before changes
                number = self._before_value(number - 1)
            else:
                return None
        return None

    def _before_value(self, number: int) -> int:
        """Return the place before the instructions that compute the value which the one at `number` leaves."""
        height = 0
        while number >= 0:
            found = self._instructions[number]
            try:
                height += dis.stack_effect(found.opcode, found.arg, jump=False)
            except ValueError:
                return -1
            if height >= 1:
                return number - 1 if height == 1 else -1
            number -= 1
        return -1
