"""What an attempt recorded belongs to it; what is taken over is whole."""

from mutant import Mutant

from defects.sources import METRIC_LINES

_ATTEMPTS = "chunkstore/records/attempts.py"
_STEP = "chunkstore/recording/step.py"
_REUSE = "chunkstore/recording/step_reuse.py"
_PREVIOUS = "chunkstore/recording/previous.py"
_FAILURES = "chunkstore/recording/failures.py"
_RECORDER = "chunkstore/recording/recorder.py"

_STARTS = "chunkstore/records/starts.py"

MUTANTS = (
    Mutant(
        "a later start that dies undoes a success",
        _ATTEMPTS,
        "if len(attempts) > 1 and attempts[-1].status != SUCCESS:",
        "if False:",
        "tests/stores/test_attempts.py -k counts",
    ),
    Mutant(
        "a step shows the points of attempts that failed",
        METRIC_LINES,
        "counted if line.attempt is UNSET else line.attempt",
        "counted",
        "tests/recording/test_attempts.py -k values_series",
    ),
    Mutant(
        "a step keeps what an attempt recorded that failed",
        _STEP,
        "            if self._log.attempts:\n                set_aside(self._log)\n",
        "",
        "tests/recording/test_attempts.py -k values_series",
    ),
    Mutant(
        "a failure inside an attempt that failed fails the run",
        _STEP,
        "            self.run.forget_outcomes(self.inner_names.all_given())\n",
        "",
        "tests/recording/test_attempts.py -k make_nothing_fail",
    ),
    Mutant(
        "an interrupt as a function's step begins leaves it as if it went on",
        _STEP,
        "            self.end_with(error)\n            raise\n\n    def _begin(",
        "            raise\n\n    def _begin(",
        "tests/recording/test_ends.py -k as_a_step_begins",
    ),
    Mutant(
        "a branch that only an attempt that failed had counts",
        _ATTEMPTS,
        "if branch.attempt in (UNSET, counted)",
        "if True",
        "tests/recording/test_attempts.py -k only_an_attempt_that_failed_had",
    ),
    Mutant(
        "what another attempt left of a branch is taken for what came of it",
        "chunkstore/recording/branch_records.py",
        "is_of_another = branch.attempt and recorded.attempt != branch.attempt",
        "is_of_another = False",
        "tests/recording/test_attempts.py -k taken_for_the_result",
    ),
    Mutant(
        "a step is taken over though one inside it failed",
        _PREVIOUS,
        "has_succeeded(self.log) and all(map(has_succeeded, self.inside))",
        "has_succeeded(self.log)",
        "tests/recording/test_taking_over.py -k one_failed",
    ),
    Mutant(
        "a block is called cached though its data is gone",
        _REUSE,
        " and self._has_data(found)",
        "",
        "tests/recording/test_taking_over.py -k gone_or_changed",
    ),
    Mutant(
        "a start hides another",
        _STARTS,
        "        if start is None:\n            self._found.clear()\n",
        "        if True:\n            self._found.clear()\n",
        "tests/recording/test_starts.py -k each_start",
    ),
    Mutant(
        "the first start that succeeded counts, whatever came back",
        _STARTS,
        "(returned := step.returned.get(segment)) is not None:",
        "(returned := None) is not None:",
        "tests/recording/test_starts.py -k whose_result_came_back",
    ),
    Mutant(
        "an attempt that was cut off goes on for ever",
        _STARTS,
        "        if accounts[chosen].status != PROCESSING:\n",
        "        if False:\n",
        "tests/recording/test_starts.py -k cut_off_later",
    ),
    Mutant(
        "what ran inside a start is told of another one's attempt",
        _STARTS,
        "            place = outer.place(start, record.inside_attempt or 1)\n",
        "            place = 0\n",
        "tests/recording/test_starts.py -k cut_off_later",
    ),
    Mutant(
        "a branch that is started again in one process takes the record of its first start for its own",
        "chunkstore/recording/branch.py",
        "    if run.claim() and not run.store.has_recorded(run.identity, run.branch):\n",
        "    if True:\n",
        "tests/recording/test_starts.py -k 'one_process and hide'",
    ),
    Mutant(
        "starts of a branch that begin at once in one process are one",
        "chunkstore/recording/branch.py",
        "    if run.claim() and not run.store",
        "    if not run.store",
        "tests/recording/test_starts.py -k at_once_do_not_mix",
    ),
    Mutant(
        "a step that was started several times ends with the start that ended last",
        "chunkstore/views/durations.py",
        "    if has_several_starts(step):\n        return counting_attempt(step)\n",
        "",
        "tests/recording/test_starts.py -k for_people",
    ),
    Mutant(
        "a step that was open in a worker that died is told of as running on",
        "chunkstore/recording/branch_records.py",
        "    if has_died:\n",
        "    if False:\n",
        "tests/recording/test_killed_workers.py -k open_in_a_killed_worker",
    ),
    Mutant(
        "a rank that comes back does nothing for the one that died",
        "chunkstore/records/ranks.py",
        "            is_done = any(attempt.status == SUCCESS for attempt in attempts[place + 1 :])\n",
        "            is_done = False\n",
        "tests/recording/test_ranks.py -k comes_back",
    ),
    Mutant(
        "a run that lives is resumed unasked",
        _RECORDER,
        "    if liveness.state != LIVE or is_alone:\n",
        "    if True:\n",
        "tests/recording/test_taking_over.py -k unasked",
    ),
    Mutant(
        "what is ended after an uncaught error has succeeded",
        _FAILURES,
        "        return True  # as Python says before it calls what was given to `atexit`",
        "        return False",
        "tests/recording/test_ends.py -k program_dies",
    ),
)
