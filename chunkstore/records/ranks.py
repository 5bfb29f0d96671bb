"""What the starts of a run that several processes have joined came to: whether others have done it. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chunkstore.records.models import FAIL, SUCCESS, BranchLog, StepAttempt, StepLog


class WorkOfStarts:
    """The steps of the run itself, by the start that took each up.

    Args:
        records: those of a run.
    """

    def __init__(self, records: Iterable[StepLog | BranchLog]) -> None:
        #: By start, of each step whether it has ended, and whether another start has succeeded in it later.
        self._steps: dict[str, list[tuple[bool, bool]]] = {}
        for record in records:
            if isinstance(record, StepLog) and "." not in record.internal_name:
                self._add(record.attempts)

    def _add(self, attempts: Sequence[StepAttempt]) -> None:
        last = {_root(attempt): place for place, attempt in enumerate(attempts)}
        last.pop("", None)  # not known
        for start, place in last.items():
            has_ended = attempts[place].status in {SUCCESS, FAIL}
            is_done = any(attempt.status == SUCCESS for attempt in attempts[place + 1 :])
            self._steps.setdefault(start, []).append((has_ended, is_done))

    def is_open(self, start: str) -> bool:
        """Tell whether a start has begun something that has not ended, and that no other start has done since."""
        return any(not has_ended and not is_done for has_ended, is_done in self._steps.get(start, ()))

    def is_done_by_others(self, start: str) -> bool:
        """Tell whether a start was cut off in something that another one has done since."""
        return any(not has_ended for has_ended, _ in self._steps.get(start, ())) and not self.is_open(start)


def _root(attempt: StepAttempt) -> str:
    return (attempt.start or "").partition("/")[0]
