"""Values of users, checked and converted before anything is changed for them.

What came into a record and could not be written would keep the whole record from ever being written again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from chunkstore.errors import InvalidValueError
from chunkstore.records import codec


def storable(text: str) -> str:
    """Return a text that UTF-8 can hold: half of a surrogate pair becomes its escape sequence."""
    return text.encode(errors="backslashreplace").decode()


def checked_values(values: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return `values` converted for the log, before anything is changed for them; see `codec.plain`.

    Raises:
        InvalidValueError: one of them cannot be recorded.
    """
    result: dict[str, Any] = {}
    for name, value in values.items():
        text = _checked_text(codec.key_text(name, f"the name of a {what}"), f"the name of a {what}")
        if text in result:
            raise _refused(text, "two names become the same text", "Rename one.")
        result[text] = codec.revive(_checked_text(codec.plain(value, text), text))
    return result


def checked_number(step: Any, key: str) -> int | float:
    """Return a step number as a plain, finite number.

    Raises:
        InvalidValueError: it is none.
    """
    number = codec.plain(step, f"{key}.step")
    if type(number) not in (int, float):
        raise _refused(f"{key}.step", f"{step!r} is no finite number", "Give the number of the step or epoch.")
    return cast("int | float", number)


def _checked_text(value: Any, key: str) -> Any:
    """Return a plain value if UTF-8 can hold all text in it."""
    try:
        codec.encode(value)
    except InvalidValueError as error:
        where = str(getattr(error, "key", "")).removeprefix("value")
        raise _refused(f"{key}{where}", str(getattr(error, "reason", error)), "Record something else.") from None
    return value


def _refused(key: str, reason: str, hint: str) -> InvalidValueError:
    shown = storable(key)
    return InvalidValueError(f"Cannot record {shown}: {reason}. {hint}", key=shown, reason=reason)
