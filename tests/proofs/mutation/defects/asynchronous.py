"""No task of an event loop waits for a disk, no cancellation is lost, and all that began has ended."""

from mutant import Mutant

_OFF_LOOP = "chunkstore/recording/asynchronous/off_loop.py"
_STEP = "chunkstore/recording/asynchronous/step.py"
_BRANCH = "chunkstore/recording/asynchronous/branch.py"
_FANOUT = "chunkstore/recording/asynchronous/fanout.py"
_TESTS = "tests/recording/asynchronous/"

MUTANTS = (
    Mutant(
        "what a task logs is written in the thread of its loop",
        _STEP,
        "elif line.is_here():",
        "elif False:",
        f"{_TESTS}test_off_loop.py -k nothing_is_written",
    ),
    Mutant(
        "what a task prints is written in the thread of its loop",
        _STEP,
        "later=self._line.add if self._line else None",
        "later=None",
        f"{_TESTS}test_off_loop.py -k nothing_is_written",
    ),
    Mutant(
        "the end of a cancelled step may be left out",
        _OFF_LOOP,
        "return await _do(partial(function, *arguments), may_drop=False)",
        "return await _do(partial(function, *arguments), may_drop=True)",
        f"{_TESTS}test_off_loop.py -k never_made",
    ),
    Mutant(
        "a cancellation during a write is lost",
        _OFF_LOOP,
        "        if cancelled is not None:\n            raise cancelled",
        "        if False:\n            raise cancelled",
        f"{_TESTS}test_off_loop.py -k never_made",
    ),
    Mutant(
        "storage that takes long gets no more threads",
        _OFF_LOOP,
        "        for _ in range(min(self._working, most - self._working, len(self._waiting))):\n",
        "        for _ in range(0):\n",
        f"{_TESTS}test_off_loop.py -k takes_long",
    ),
    Mutant(
        "a branch that is cancelled leaves its record as it began",
        _BRANCH,
        "failed = record_end(run, log, error if is_failure(error) else None)",
        "failed = True if error is not None else record_end(run, log, None)",
        f"{_TESTS}test_async_ends.py -k cancelled_map",
    ),
    Mutant(
        "a branch of a task begins after the end of its run",
        _BRANCH,
        "if (too_late := refusal_of(run)) is not None:",
        "if False:",
        f"{_TESTS}test_async_ends.py -k nobody_awaits",
    ),
    Mutant(
        "a generator of items is not closed",
        _FANOUT,
        "                await given.close()",
        "                pass",
        f"{_TESTS}test_async_ends.py -k cancelled_map",
    ),
    Mutant(
        "more branches run at once than were asked for",
        _FANOUT,
        "await self._until_running(self._max_in_flight - 1)",
        "await self._until_running(self._max_in_flight)",
        f"{_TESTS}test_amap.py -k order_of_the_items",
    ),
)
