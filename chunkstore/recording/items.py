"""What the log shows of the items of a map: names for their branches, and the items themselves where they are short."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import UNSET

from chunkstore.names import check_name
from chunkstore.records import codec

#: Items whose text is longer are called by their number.
_LONGEST_NAME = 120
#: Larger items are not shown in the log; their hash is.
_MAX_ITEM_BYTES = 4096
_NUMBERS = (int, float, complex, bool, type(None))


def item_name(item: Any, index: int) -> str:
    """Return what to call the branch of an item: its text if it has a short one, else its number."""
    try:
        if isinstance(item, float):
            return repr(float(item))
        if not isinstance(item, str) and is_surely_longer(item, _LONGEST_NAME):
            return str(index)
        plain = codec.plain(item)
        text = plain if isinstance(plain, str) and plain else codec.json_text(plain)
        check_name(text)
    except Exception:  # noqa: BLE001 - it is no name, or whatever a strange item raises
        return str(index)
    return str(index) if isinstance(plain, (dict, list)) and len(text) > _LONGEST_NAME else text


def shown_item(value: Any) -> Any:
    """Return what the log shows of an item: the item as it is now, if it has a short JSON form, else UNSET."""
    try:
        if is_surely_longer(value, _MAX_ITEM_BYTES):
            return UNSET
        plain = codec.plain(value, "item")
        return codec.revive(plain) if len(codec.encode(plain)) <= _MAX_ITEM_BYTES else UNSET
    except Exception:  # noqa: BLE001 - it is no JSON, or whatever a strange item raises
        return UNSET


def is_surely_longer(value: Any, limit: int) -> bool:
    """Tell whether the JSON of a value has more bytes than a limit, without making it; of some it cannot be told."""
    left, waiting = limit, [iter([value])]
    while waiting and left >= 0:
        for part in waiting[-1]:
            left -= _least_bytes(part)
            if left < 0:
                return True
            parts = _parts(part)
            if parts is not None:
                waiting.append(parts)
                break
        else:
            waiting.pop()
    return left < 0


def _least_bytes(value: Any) -> int:
    """Return how many bytes a value takes at least, beside those of its parts."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, _NUMBERS):
        return 1
    size = getattr(value, "size", None)
    if type(size) is int and hasattr(value, "nbytes"):
        return size  # of an array: a digit for each number
    return 1


def _parts(value: Any) -> Iterator[Any] | None:
    if isinstance(value, dict):
        return (part for item in list(value.items()) for part in item)
    if isinstance(value, (list, tuple, set, frozenset)):
        return iter(value)
    if isinstance(value, (str, *_NUMBERS)):
        return None
    fields = getattr(value, "__struct_fields__", None) or getattr(type(value), "__dataclass_fields__", None)
    if fields is not None:
        return (getattr(value, name, None) for name in list(fields))
    return iter(list(vars(value).values())) if hasattr(value, "__dict__") else None
