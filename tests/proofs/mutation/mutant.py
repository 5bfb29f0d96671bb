"""A deliberate defect: what somebody could get wrong in chunkstore, as a change of one place in its source."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """One defect.

    Attributes:
        name: what the code does wrong.
        file: the source that is changed, from the project's top.
        old: what stands there, exactly once.
        new: what stands there instead.
        caught_by: arguments for pytest that select tests which fail.
        nth: which occurrence of `old` is meant, counted from 1, where there are several.
        may_hang: whether tests that do not end are what the defect leads to.
    """

    name: str
    file: str
    old: str
    new: str
    caught_by: str
    nth: int = 0
    may_hang: bool = False

    def applied_to(self, source):
        """Return a source with the defect.

        Raises:
            LookupError: the place to change is not there, or is not the only one.
        """
        count = source.count(self.old)
        if not 0 < max(self.nth, 1) <= count or (self.nth == 0 and count > 1):
            raise LookupError(f"{self.name}: {self.old!r} is {count} times in {self.file}, so it cannot be changed")
        parts = source.split(self.old)
        place = self.nth or 1
        return self.old.join(parts[:place]) + self.new + self.old.join(parts[place:])
