"""Changes that somebody other than the owner made to a record, laid over what the owner writes.

A change is a tree that follows the record's own JSON, so that two writers who touch different places never meet.
Because a list grows only at its end, elements that the owner appends later stay beside those that others appended. The
idea is that of a JSON merge patch (RFC 7396), made exact for null and for lists. Pure: no I/O.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import UNSET, field

from chunkstore.records.codec import is_marked


class Change(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What changes at one place of a record.

    Attributes:
        set: what replaces everything here; unset where the other fields say what changes inside.
        keys: changes inside an object, by key.
        removed: keys that are taken out of an object.
        items: changes inside a list, by index (as text, since JSON has no other keys).
        append: values that are added at the end of a list.
        own: of a whole record, what its owner has written since in the place of what its file holds, where files of
            records that have ended are not replaced; the rest lies over that.
    """

    set: Any = UNSET
    keys: dict[str, Change] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    items: dict[str, Change] = field(default_factory=dict)
    append: list[Any] = field(default_factory=list)
    own: Any = UNSET


def apply(change: Change | None, base: Any) -> Any:
    """Return `base`, plain JSON values, with `change` laid over it; `base` itself is not altered."""
    if change is None:
        return base
    if change.own is not UNSET:
        base = change.own
    if change.set is not UNSET:
        return copy.deepcopy(change.set)
    if isinstance(base, list):
        kept = [apply(change.items.get(str(index)), item) for index, item in enumerate(base)]
        return kept + copy.deepcopy(change.append)
    if _is_object(base):
        removed = set(change.removed)
        merged = {key: apply(change.keys.get(key), item) for key, item in base.items() if key not in removed}
        for key, inner in change.keys.items():
            if key not in base and inner.set is not UNSET:
                merged[key] = copy.deepcopy(inner.set)
        return merged
    return base  # the owner has put something else here, in which there is nothing to change


def with_own(change: Change | None, own: Any) -> Change:
    """Return a change that has, below it, what the owner of a record has written since."""
    return msgspec.structs.replace(change or Change(), own=own)


def set_by(change: Change | None) -> Collection[str]:
    """Return the names of the fields of a record that a change sets."""
    if change is None:
        return ()
    return [name for name, inner in change.keys.items() if inner.set is not UNSET]


def without_appended(change: Change | None, seen: Any, new: Any) -> Any:
    """Return what the owner of a record has to write, who has made `new` from the record as it was seen.

    What others appended to a list is laid over what the owner writes. An owner who reads the record, and writes it
    again, brings those values along; they must not be there twice.

    Args:
        change: what others have changed.
        seen: the record as it is seen: what the owner wrote before, with `change` laid over it.
        new: what the record shall be; it may have been made from `seen`, or from what the owner knows by itself.
    """
    if change is None or change.set is not UNSET:
        return new
    if isinstance(seen, list) and isinstance(new, list):
        own = seen[: len(seen) - len(change.append)]
        kept = _without_extra(new, own, change.append)
        inner = [
            without_appended(change.items.get(str(index)), *pair)
            for index, pair in enumerate(zip(own, kept, strict=False))
        ]
        return inner + kept[len(inner) :]
    if _is_object(seen) and _is_object(new):
        return {
            key: without_appended(change.keys.get(key), seen[key], item) if key in seen else item
            for key, item in new.items()
        }
    return new


def _without_extra(items: list[Any], own: list[Any], extra: list[Any]) -> list[Any]:
    """Return some items without those of the `extra` ones that are among them beside the `own`."""
    expected, unexpected = Counter(map(_exact, own)), Counter(map(_exact, extra))
    kept = []
    for item in items:
        key = _exact(item)
        if not expected[key] and unexpected[key]:
            unexpected[key] -= 1
            continue
        expected[key] -= expected[key] > 0
        kept.append(item)
    return kept


def _exact(value: Any) -> bytes:
    return msgspec.json.encode(value)


def merge(current: Any, change: Change | None, new: Any) -> Change | None:
    """Return the change that, laid over what the owner wrote, gives `new`.

    Args:
        current: the record as it is seen now: what the owner wrote, with `change` laid over it.
        change: what others have changed before, or None.
        new: what the record shall be.

    Returns:
        `change` with the new differences added, so that earlier changes stay even where the owner has come to the same
        value by itself; `change` itself if nothing differs, which may be None.
    """
    if _same(current, new):
        return change
    merged = _merge(current, change, new)
    if change is not None:
        merged.own = change.own
    return merged


def _merge(current: Any, change: Change | None, new: Any) -> Change:
    if change is None or change.set is UNSET:
        if _is_object(current) and _is_object(new):
            return _merge_objects(current, change or Change(), new)
        if isinstance(current, list) and isinstance(new, list):
            return _merge_lists(current, change or Change(), new)
    return Change(set=copy.deepcopy(new))


def _merge_objects(current: dict[str, Any], change: Change, new: dict[str, Any]) -> Change:
    keys = dict(change.keys)
    removed = [key for key in change.removed if key not in new]
    for key, item in new.items():
        inner = merge(current[key], keys.get(key), item) if key in current else Change(set=copy.deepcopy(item))
        if inner is not None:
            keys[key] = inner
    for key in current:
        if key not in new:
            keys.pop(key, None)
            removed.append(key)
    return Change(keys=keys, removed=removed)


def _merge_lists(current: list[Any], change: Change, new: list[Any]) -> Change:
    owned = len(current) - len(change.append)
    if len(new) < owned:  # elements of the owner's were taken away: no tree can follow that
        return Change(set=copy.deepcopy(new))
    items = dict(change.items)
    for index in range(owned):
        inner = merge(current[index], items.get(str(index)), new[index])
        if inner is not None:
            items[str(index)] = inner
    return Change(items=items, append=copy.deepcopy(new[owned:]))


def _is_object(value: Any) -> bool:
    """Tell whether a value has keys of its own; a marked float is an object in JSON alone."""
    return isinstance(value, dict) and not is_marked(value)


def _same(one: Any, other: Any) -> bool:
    """Compare as JSON does: 1, 1.0 and true are three values, and so are 0.0 and -0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return repr(one) == repr(other)
    if isinstance(one, (dict, list)) and msgspec.json.encode(one) == msgspec.json.encode(other):
        return True  # else they may still differ in the order of keys alone
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(item, other[key]) for key, item in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
