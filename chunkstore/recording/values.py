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


class CheckedValues:
    """Values converted for the log, before anything is changed for them; see `codec.plain`.

    Those that cannot be recorded do not keep the others from it.

    Args:
        values: by name.
        what: what they are.

    Attributes:
        good: those that can be recorded.
    """

    def __init__(self, values: Mapping[str, Any], what: str) -> None:
        self.good: dict[str, Any] = {}
        self._refusals: list[InvalidValueError] = []
        for name, value in dict(values).items():
            try:
                text = _checked_text(codec.key_text(name, f"the name of a {what}"), f"the name of a {what}")
                if text in self.good:
                    raise _refused(text, "two names become the same text", "Rename one.")
                self.good[text] = codec.revive(_checked_text(codec.plain(value, text), text))
            except InvalidValueError as error:
                self._refusals.append(error)

    def raise_refusals(self) -> None:
        """Raise `InvalidValueError` if some cannot be recorded; it tells of all of them."""
        if len(self._refusals) == 1:
            raise self._refusals[0]
        if self._refusals:
            raise InvalidValueError(
                "\n".join([*map(str, self._refusals), "The others have been recorded."]),
                key=", ".join(str(getattr(error, "key", "")) for error in self._refusals),
                reason="; ".join(str(getattr(error, "reason", "")) for error in self._refusals),
            )


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
