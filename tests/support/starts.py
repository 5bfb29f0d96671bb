"""Random programs of starts: of one branch, several, over several writers, each of which may die anywhere."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st

from chunkstore import BranchLog, MetricPoint, StepAttempt, StepLog
from chunkstore.clock import utc_now

#: What a start does, one after the other; it may die after any of these.
BEGIN, STEP, METRIC, INNER, STEP_ENDS, END = range(6)


class Program(NamedTuple):
    """What starts of one branch do.

    Attributes:
        events: which start goes on, in turn.
        successes: by start, whether it succeeds, should it get so far.
        returned: of which start the result comes back; None if nobody knows.
        retried: by start, whether its first attempt fails, and it tries again.
    """

    events: list[int]
    successes: list[bool]
    returned: int | None
    retried: list[bool]


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Draw what starts of one branch do, in any order."""
    starts = draw(st.integers(1, 4))
    events = draw(st.lists(st.integers(0, starts - 1), min_size=1, max_size=END * starts + starts))
    flags = st.lists(st.booleans(), min_size=starts, max_size=starts)
    ended = [start for start in range(starts) if events.count(start) > END]
    returned = draw(st.sampled_from([None, *ended]))
    return Program(events, draw(flags), returned, draw(flags))


class Start:
    """One start of the branch `m.1`, as its worker records it."""

    def __init__(self, store, run_id, outer, number, *, succeeds, retried):
        self.store, self.run_id, self.number = store, run_id, number
        self.path = f"{outer}/start{number}"
        self.succeeds, self.retried = succeeds, retried
        self.done = 0
        self.branch = BranchLog(internal_name="m.1", status="PROCESSING", attempts=[self._attempt()])
        self.step = StepLog(name="work", internal_name="m.1.work", status="PROCESSING")

    def _attempt(self, number=1):
        return StepAttempt(
            attempt_number=number,
            start_time=utc_now(),
            status="PROCESSING",
            host="here",
            pid=self.number,
            start=self.path,
        )

    def _ended(self, attempt, *, well):
        attempt.status, attempt.end_time = "SUCCESS" if well else "FAIL", utc_now()
        return attempt.status

    def go_on(self):
        """Do the next thing, if there is one left."""
        what, self.done = self.done, self.done + 1
        add = self.store.add_step_log
        if what == BEGIN:
            self.store.add_branch_log(self.run_id, self.branch)
        elif what == STEP:
            if self.retried:
                self.step.attempts.append(self._attempt())
                self._ended(self.step.attempts[0], well=False)
            self.step.attempts.append(self._attempt(len(self.step.attempts) + 1))
            add(self.run_id, self.step)
        elif what == METRIC:
            self.step.user_defined_metrics = {"number": self.number}
            point = MetricPoint(self.number, 1.5)
            self.store.append_metrics(self.run_id, "m.1.work", {"loss": [point]}, attempt=len(self.step.attempts))
            add(self.run_id, self.step)
        elif what == INNER:
            inner = StepLog(name="inner", internal_name="m.1.inner", status="PROCESSING", inside="m.1.work")
            if self.retried:
                inner.inside_attempt = 2
            inner.attempts.append(self._attempt())
            add(self.run_id, inner)
        elif what == STEP_ENDS:
            self.step.status = self._ended(self.step.attempts[-1], well=self.succeeds)
            add(self.run_id, self.step)
        elif what == END:
            self.branch.status = self._ended(self.branch.attempts[0], well=self.succeeds)
            self.store.add_branch_log(self.run_id, self.branch)


def perform(program, open_store, run_id="run", *, after_each=lambda: None):
    """Perform a program, each start through a store of its own; return its starts in the order in which they began.

    Args:
        program: what is done.
        open_store: opens the store once more.
        run_id: the run, which is made.
        after_each: is called after everything that a start does.
    """
    store = open_store()
    store.create_run_log(run_id)
    composite = StepLog(name="m", internal_name="m", status="PROCESSING", step_type="map")
    composite.attempts.append(StepAttempt(start_time=utc_now(), status="PROCESSING", start="driver"))
    store.add_step_log(run_id, composite)
    starts = {}
    for number in program.events:
        if number not in starts:
            succeeds, retried = program.successes[number], program.retried[number]
            starts[number] = Start(open_store(), run_id, "driver", number, succeeds=succeeds, retried=retried)
        starts[number].go_on()
        after_each()
    if program.returned is not None:
        composite.returned = {"1": f"start{program.returned}"}
    store.add_step_log(run_id, composite)
    return list(starts.values())


def expected(program, starts):
    """Return what the branch comes to: its status, those of its attempts, and which of them counts, from 1."""
    ends = [
        number for place, number in enumerate(program.events) if program.events[: place + 1].count(number) == END + 1
    ]
    won = [number for number in ends if program.successes[number]]
    numbers = [start.number for start in starts]
    counts = program.returned if program.returned is not None else won[0] if won else numbers[-1]

    def status(number):
        return ("SUCCESS" if program.successes[number] else "FAIL") if number in ends else "PROCESSING"

    branch = status(counts)
    statuses = [
        "LOST" if number != counts and status(number) == "PROCESSING" != branch else status(number)
        for number in numbers
    ]
    return branch, statuses, numbers.index(counts) + 1
