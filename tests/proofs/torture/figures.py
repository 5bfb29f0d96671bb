"""What a scenario did, and what it found wrong."""

from __future__ import annotations

import dataclasses

_MOST_COMPLAINTS = 20


@dataclasses.dataclass
class Figures:
    """Counts of one scenario, or of many rounds of it.

    Attributes:
        kills: processes that were killed.
        cuts: losses of power with something acknowledged before.
        crash_states: states of the disk that were built and read.
        faults: system calls that were made to fail.
        reads: reads whose result was checked.
        acknowledged: calls that returned, and whose effect was looked for.
        lost: acknowledged writes that were not there.
        torn: records and reads that were not whole.
        missed: reads that lacked what had been acknowledged before they began, or went back.
        broken: other promises that were not kept: a lock that stayed, a call that failed for no reason.
        seconds: how long it took.
        complaints: what was wrong, in words; the first few.
    """

    kills: int = 0
    cuts: int = 0
    crash_states: int = 0
    faults: int = 0
    reads: int = 0
    acknowledged: int = 0
    lost: int = 0
    torn: int = 0
    missed: int = 0
    broken: int = 0
    seconds: float = 0.0
    complaints: list[str] = dataclasses.field(default_factory=list)

    def complain(self, what: str, text: str) -> None:
        """Count something wrong; `what` is `lost`, `torn`, `missed` or `broken`."""
        setattr(self, what, getattr(self, what) + 1)
        if len(self.complaints) < _MOST_COMPLAINTS:
            self.complaints.append(f"{what}: {text}")

    def add(self, other: Figures) -> None:
        """Add the counts of another round."""
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))
        del self.complaints[_MOST_COMPLAINTS:]

    @property
    def wrong(self) -> int:
        """How many promises were not kept."""
        return self.lost + self.torn + self.missed + self.broken

    def check(self) -> None:
        """Raise AssertionError if anything was wrong, with all that is known of it."""
        assert not self.wrong, "\n".join([f"{self.wrong} times a promise was not kept:", *self.complaints])
