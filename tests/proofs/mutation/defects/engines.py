"""What is asked of engines, and what is handed to them."""

from mutant import Mutant

from defects.sources import DISPATCH, TRAVEL, WORKERS

_IN_FLIGHT = "tests/engines/test_in_flight.py -k '{}'"
_TRAVEL = "tests/engines/test_travel.py -k '{}'"

MUTANTS = (
    Mutant(
        "an engine that does not say is given what this host's processors can take",
        WORKERS,
        "return self._known_count or _UNKNOWN_CAPACITY",
        "return self._known_count or os.cpu_count() or 1",
        _IN_FLIGHT.format("starved"),
    ),
    Mutant(
        "an engine is asked once how much it can take",
        WORKERS,
        "if (now := time.monotonic()) - self._asked >= _CAPACITY_HOLDS:",
        "if (now := time.monotonic()) and not self._capacity:",
        _IN_FLIGHT.format("grows"),
    ),
    Mutant(
        "nobody looks whether an engine has grown while all its workers are busy",
        DISPATCH,
        "timeout=interval)",
        "timeout=None)",
        _IN_FLIGHT.format("grows"),
    ),
    Mutant(
        "max_in_flight is no limit",
        DISPATCH,
        "return self._max_in_flight or self.workers.count * _BRANCHES_PER_WORKER",
        "return self.workers.count * _BRANCHES_PER_WORKER",
        _IN_FLIGHT.format("overrides"),
    ),
    Mutant(
        "the future that was settled last is held until the next one is",
        DISPATCH,
        "        branch = self._pending.pop(future, None)\n        if branch is None or self._settle(branch, future):",
        "        branch = self._pending.pop(future, None)\n        self._last = future\n"
        "        if branch is None or self._settle(branch, future):",
        _IN_FLIGHT.format("not_held_while"),
    ),
    Mutant(
        "what only the driver's script defines is sent by its name",
        TRAVEL,
        "    if _MAIN in data and (by_value := _by_value()) is not None:\n        return by_value(value)\n",
        "",
        _TRAVEL.format("script"),
    ),
    Mutant(
        "a call is sent by the name of its class, which a worker may not have",
        TRAVEL,
        "    def __reduce__(self)",
        "    def _reduce(self)",
        _TRAVEL.format("without_chunkstore"),
    ),
)
