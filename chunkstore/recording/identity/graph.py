"""One hash for equal values: the same in every process, whatever order sets have and whichever parts are one object.

A value is a label and parts (`parts.py`); its hash is the SHA-256 of the label and of the hashes of its parts, sorted
where their order means nothing. Each object is looked at once, however many ways lead to it. Objects that lead back to
themselves are told by what can be seen from each of them: their labels, then those of their parts, and so on until
nothing more is told apart, as automata are minimised. Nothing here calls itself, so that no nesting is too deep.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import FunctionType, MappingProxyType, ModuleType
from typing import Any

from chunkstore.recording.identity.arrays import buffer_parts, masked_parts, numpy_parts, pandas_parts
from chunkstore.recording.identity.functions import class_parts, function_parts, named, reached, wrapper_parts
from chunkstore.recording.identity.known import KnownCode, check_of
from chunkstore.recording.identity.objects import object_parts
from chunkstore.recording.identity.parts import Parts, UnknownValueError
from chunkstore.recording.identity.rules import Loose, Raw, Rules, class_module, class_name, is_library
from chunkstore.recording.identity.scalars import flat_bytes, framed, token_of

#: Values that hold more objects, or nest them deeper, are not looked at to their end: they may be made up without one.
_MOST_OBJECTS = 20_000_000
_DEEPEST = 500_000
#: So many hashes are computed at most for objects that lead back to themselves.
_MOST_COLOURS = 5_000_000
_MOST_FIRST_SEEN = 512
_DIGEST = b"#"
_CONTAINERS = (list, tuple, dict, MappingProxyType, set, frozenset, range, slice)
_QUICK = (list, tuple, dict)
_SHORT = 16
_QUICK_DEPTH, _QUICK_AMOUNT = 8, 1000


class _Node:
    """An object that is looked at."""

    __slots__ = ("digest", "edges", "groups", "index", "label", "lowest", "reason", "value", "waiting")

    def __init__(self, value: Any, index: int) -> None:
        self.value = value  # also to keep it alive, as its id stands for it
        self.index = self.lowest = index
        self.label = b""
        self.edges: list[_Edge] = []
        self.groups: list[list[_Edge]] = []
        self.waiting: Iterator[_Edge] = iter(())
        self.digest: bytes | None = None
        self.reason = ""


class _Edge:
    """A part of an object: bytes that tell it, or another node.

    Args:
        part: the part.
        at_once: whether small containers are told without a node, which is needed to see later that they have changed.
    """

    __slots__ = ("fallback", "node", "token", "value")

    def __init__(self, part: Any, *, at_once: bool) -> None:
        self.fallback = b""
        if type(part) is Loose:
            part = part.value
            self.fallback = framed(b"t", f"{class_module(type(part))}:{class_name(type(part))}".encode())
        self.value = part
        self.node: _Node | None = None
        self.token: bytes | None
        if type(part) is Raw:
            self.token = part.token
        elif at_once and type(part) in _QUICK and len(part) <= _SHORT:
            self.token = _quick(part, 1, [_SHORT])
        else:
            self.token = token_of(part)


def parts_of(value: Any, rules: Rules) -> Parts:
    """Return what a value consists of."""
    if rules.checks is not None:
        rules.looked_at(check_of(value))
    if rules.for_code and _is_drawn_from(value):
        return Parts(b"drawn from" + _AS_FIRST_SEEN.digest(value))
    return (
        _container_parts(value)
        or _code_parts(value, rules)
        or wrapper_parts(value)
        or buffer_parts(value)
        or numpy_parts(value)
        or masked_parts(value)
        or pandas_parts(value)
        or object_parts(value, rules, _class_teller(rules))
    )


class _FirstSeen:
    """What objects were when they were first seen, of a few hundred; whatever is drawn from them changes them."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, tuple[Any, bytes]] = OrderedDict()

    def digest(self, value: Any) -> bytes:
        """Return the hash that an object had when it was first seen."""
        found = self._known.get(id(value))
        if found is None or found[0] is not value:
            found = self._known[id(value)] = value, Graph(Rules(frozenset(), for_code=False)).digest(value)
            while len(self._known) > _MOST_FIRST_SEEN:
                self._known.popitem(last=False)
        return found[1]


_AS_FIRST_SEEN = _FirstSeen()


def _is_drawn_from(value: Any) -> bool:
    """Tell whether an object gives another value each time, as generators of random numbers do."""
    if type(value) in (random.Random, itertools.count, itertools.cycle):
        return True
    numpy_random = sys.modules.get("numpy.random")
    kinds = [getattr(numpy_random, name, None) for name in ("Generator", "RandomState")]
    return type(value) in kinds


def _container_parts(value: Any) -> Parts | None:
    kind = type(value)
    name = kind.__name__.encode() if kind in _CONTAINERS else b""
    if kind is list or kind is tuple:
        return Parts(*_sequence_parts(value, name))
    if kind is dict or kind is MappingProxyType:
        return _dict_parts(value, name)
    if kind is set or kind is frozenset:
        return _set_parts(value, name)
    if kind is itertools.count:
        return Parts(b"count", [repr(value)])  # Python 3.14 does not pickle them
    return Parts(name, [value.start, value.stop, value.step]) if name else None


def _code_parts(value: Any, rules: Rules) -> Parts | None:
    if type(value) is FunctionType:
        return function_parts(value, rules)
    if issubclass(type(value), type):
        return class_parts(value, rules)
    return Parts(reached(value, "").token) if issubclass(type(value), ModuleType) else None


def _class_teller(rules: Rules) -> Callable[[type], Any]:
    """Return what gives the part for the class of an object; outside of code, that is hashed by itself, and once."""

    def token(cls: type) -> Any:
        if cls not in rules.classes:
            rules.classes[cls] = _class_token(cls)
        return rules.classes[cls]

    return (lambda cls: cls) if rules.for_code else token


def _class_token(cls: type) -> Any:
    module = class_module(cls)
    if is_library(module):
        return named(b"class", module, class_name(cls))
    try:
        return Raw(code_digest(cls, frozenset({module})))
    except UnknownValueError:
        return named(b"class", module, class_name(cls))


_KNOWN = KnownCode()


def code_digest(value: Any, own: frozenset[str]) -> bytes:
    """Return the hash of a function, or of what can be called as one.

    Args:
        value: the function.
        own: the modules whose code counts wherever it is reached.

    Raises:
        UnknownValueError: a part of it tells nothing.
    """
    found = _KNOWN.get(value, own)
    if found is not None:
        return found
    rules = Rules(own, for_code=True)
    amount = -1
    while rules.amount != amount:  # what it changes is no part of it, and that is known only when all was seen
        amount, rules.checks = rules.amount, []
        found = Graph(rules).digest(value)
    if rules.checks is not None and found is not None and issubclass(type(value), (type, FunctionType)):
        _KNOWN.put(value, own, found, rules.checks)
    assert found is not None
    return found


def _sequence_parts(value: Sequence[Any], name: bytes) -> tuple[bytes, Sequence[Any]]:
    flat = flat_bytes(value)
    return (name, list(value)) if flat is None else (name + b" flat" + flat, ())


def _dict_parts(value: Any, name: bytes) -> Parts:
    if not all(type(key) is str for key in value):
        pairs = [(token_of(key), token_of(item)) for key, item in value.items()]
        flat_pairs = [key + item for key, item in pairs if key is not None and item is not None]
        if len(flat_pairs) == len(pairs):
            return Parts(name + b" pairs" + b"".join(sorted(flat_pairs)))
        return Parts(name, (), list(value.items()))
    items = sorted(value.items(), key=_key)
    keys, values = [key for key, _ in items], [item for _, item in items]
    flat = flat_bytes([*keys, *values])
    return (
        Parts(name + b" flat" + flat)
        if flat is not None
        else Parts(name + b" keys" + (flat_bytes(keys) or b""), values)
    )


def _set_parts(value: Any, name: bytes) -> Parts:
    tokens = [token_of(item) for item in value]
    flat = [token for token in tokens if token is not None]
    if len(flat) == len(tokens):
        return Parts(name + b" flat" + b"".join(sorted(flat)))
    return Parts(name, (), [(item,) for item in value])


def _key(item: tuple[str, Any]) -> str:
    return item[0]


def _quick(value: Any, depth: int, left: list[int]) -> bytes | None:
    """Return the bytes for a small value of lists, tuples and dicts, as the graph does; None for any other."""
    token = token_of(value)
    if token is not None or not depth or type(value) not in _QUICK or left[0] < len(value):
        return token
    left[0] -= len(value) + 1
    kind = type(value)
    if kind is dict:
        label, ordered, unordered = _dict_parts(value, b"dict")
        if unordered:
            return None
    else:
        label, ordered = _sequence_parts(value, b"list" if kind is list else b"tuple")
    tokens = []
    for part in ordered:
        token = _quick(part, depth - 1, left)
        if token is None:
            return None
        tokens.append(token)
    return _DIGEST + hashlib.sha256(framed(b"l", label) + b"".join(tokens)).digest()


class Graph:
    """The objects that a value consists of, each of which is hashed once.

    Args:
        rules: what is followed.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._at_once = not rules.for_code
        self._nodes: dict[int, _Node] = {}
        self._open: list[_Node] = []
        self._count = 0

    def digest(self, value: Any) -> bytes:
        """Return the hash of a value.

        Raises:
            UnknownValueError: a part of it tells nothing.
        """
        edge = _Edge(value, at_once=self._at_once)
        if edge.token is not None:
            return edge.token
        token = _quick(value, _QUICK_DEPTH, [_QUICK_AMOUNT])
        if token is not None:
            return token
        node = self._visited(edge.value)
        if node.digest is None:
            raise UnknownValueError(node.reason)
        return _DIGEST + node.digest

    # --- the walk: Tarjan's algorithm, with a stack of its own -------------------------------------------------------

    def _visited(self, value: Any) -> _Node:
        found = self._nodes.get(id(value))
        if found is not None:
            return found
        path = [self._new(value)]
        while path:
            node = path[-1]
            for edge in node.waiting:
                known = self._nodes.get(id(edge.value))
                if known is None:
                    if len(path) > _DEEPEST or self._count > _MOST_OBJECTS:
                        raise UnknownValueError("it holds too many objects, or nests them too deep")
                    edge.node = self._new(edge.value, is_loose=bool(edge.fallback))
                    path.append(edge.node)
                    break
                edge.node = known
                if known.index >= 0:
                    node.lowest = min(node.lowest, known.index)
            else:
                path.pop()
                if node.lowest == node.index:
                    self._close(node)
                if path:
                    path[-1].lowest = min(path[-1].lowest, node.lowest) if node.index >= 0 else path[-1].lowest
        return self._nodes[id(value)]

    def _new(self, value: Any, *, is_loose: bool = False) -> _Node:
        node = self._nodes[id(value)] = _Node(value, self._count)
        self._count += 1
        self._open.append(node)
        try:
            parts = self._loose_parts(value) if is_loose else parts_of(value, self._rules)
            node.label = parts.label
            node.edges = [_Edge(part, at_once=self._at_once) for part in parts.ordered]
            node.groups = [[_Edge(part, at_once=self._at_once) for part in group] for group in parts.unordered]
        except Exception as error:  # noqa: BLE001 - whatever a strange object raises
            node.reason = _text_of(error, value)
            node.edges, node.groups = [], []
        node.waiting = iter([edge for edge in _all_edges(node) if edge.token is None])
        return node

    def _loose_parts(self, value: Any) -> Parts:
        """Return what a value consists of that may hold something of which nothing can be told.

        Of the user's own objects, and of lists and the like, that is left to each part; nothing else is told in part.
        """
        cls = type(value)
        is_own = self._rules.follows(class_module(cls)) and not issubclass(cls, type) and cls is not FunctionType
        if not is_own and cls not in _CONTAINERS:
            return parts_of(value, self._rules)
        try:
            label, ordered, unordered = parts_of(value, self._rules)
        except Exception:  # noqa: BLE001 - whatever a strange object raises
            return Parts(b"strange", [cls])
        return Parts(label, list(map(_loosened, ordered)), [tuple(map(_loosened, group)) for group in unordered])

    def _close(self, first: _Node) -> None:
        """Compute the hashes of a node and of those that lead back to it, whose other parts have all been told."""
        position = len(self._open) - 1
        while self._open[position] is not first:
            position -= 1
        members = self._open[position:]
        del self._open[position:]
        for node in members:
            node.index = -1
        inside = set(map(id, members)) if len(members) > 1 or _leads_to(first, first) else set()
        for node in members:
            self._settle(node, inside)
        reason = next((node.reason for node in members if node.reason), "")
        if reason:
            for node in members:
                node.reason = reason
        elif inside:
            self._colour(members)
        else:
            first.digest = _hash_of(first, lambda edge: edge.token or b"")
        for node in members:
            if node.digest is not None or node.reason:
                node.edges, node.groups = [], []

    @staticmethod
    def _settle(node: _Node, inside: set[int]) -> None:
        """Give the parts of a node that lie outside of its circle their bytes."""
        for edge in _all_edges(node):
            if edge.token is not None or edge.node is None or id(edge.node) in inside:
                continue
            if edge.node.digest is not None:
                edge.token = _DIGEST + edge.node.digest
            elif edge.fallback:
                edge.token = edge.fallback
            else:
                node.reason = node.reason or edge.node.reason

    @staticmethod
    def _colour(members: list[_Node]) -> None:
        """Tell apart objects that lead back to themselves by what can be seen from each."""
        colours = dict.fromkeys(map(id, members), b"")
        amount, work = 0, 0
        while True:

            def token(edge: _Edge, seen: dict[int, bytes] = colours) -> bytes:
                return edge.token if edge.token is not None else b"@" + seen[id(edge.node)]

            colours = {id(node): _hash_of(node, token, colours[id(node)]) for node in members}
            distinct = sorted(set(colours.values()))
            work += len(members)
            if len(distinct) == amount:
                break
            amount = len(distinct)
            if work > _MOST_COLOURS:
                for node in members:
                    node.reason = "too many objects that are alike lead back to themselves"
                return
        whole = hashlib.sha256(b"".join(distinct)).digest()
        for node in members:
            node.digest = hashlib.sha256(b"circle" + colours[id(node)] + whole).digest()


def _loosened(part: Any) -> Any:
    return part if issubclass(type(part), (type, FunctionType, Raw, Loose)) else Loose(part)


def _all_edges(node: _Node) -> Iterable[_Edge]:
    yield from node.edges
    for group in node.groups:
        yield from group


def _leads_to(node: _Node, other: _Node) -> bool:
    return any(edge.node is other for edge in _all_edges(node))


def _hash_of(node: _Node, token: Any, before: bytes = b"") -> bytes:
    digest = hashlib.sha256(before + framed(b"l", node.label))
    digest.update(b"".join([token(edge) for edge in node.edges]))
    if node.groups:
        groups = sorted(b"".join([token(edge) for edge in group]) for group in node.groups)
        digest.update(b"/" + b"".join([framed(b"g", group) for group in groups]))
    return digest.digest()


def _text_of(error: Exception, value: Any) -> str:
    """Return why nothing can be told of a value, in a line, without asking a strange value anything."""
    what = f"{class_module(type(value))}.{class_name(type(value))}"
    try:
        text = str(error).partition("\n")[0][:100]
    except Exception:  # noqa: BLE001 - an error may be strange itself
        text = ""
    return text if isinstance(error, UnknownValueError) else f"{what}: {type(error).__name__}: {text}".rstrip(": ")
