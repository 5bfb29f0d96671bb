"""The names of the steps inside a step whose function is tried more than once.

Tried again, it records the same steps again, under the same names: so the log looks as if the first attempt had come to
its end, and each of those steps has one more attempt.
"""

from __future__ import annotations

from collections.abc import Callable


class InnerNames:
    """The internal names that steps got in the attempts of a step.

    Args:
        outer: those of a step around it, or None: should that one be tried again, all begins anew.
    """

    def __init__(self, outer: InnerNames | None) -> None:
        self._outer = outer
        self._given: dict[str, list[str]] = {}
        self._places: dict[str, int] = {}

    def begin_attempt(self) -> None:
        """Give the names anew, in the order in which they were given before."""
        self._places = {}

    def take(self, name: str, make: Callable[[], str]) -> tuple[str, bool]:
        """Return the internal name of a step, and whether it was given in an earlier attempt.

        Args:
            name: the step.
            make: makes a new one.
        """
        given = self._given.setdefault(name, [])
        place = self._places.get(name, 0)
        self._places[name] = place + 1
        if place < len(given):
            return given[place], True
        internal_name, is_repeated = self._outer.take(name, make) if self._outer else (make(), False)
        given.append(internal_name)
        return internal_name, is_repeated

    def all_given(self) -> set[str]:
        """Return all names that were given."""
        return {internal_name for given in self._given.values() for internal_name in given}
