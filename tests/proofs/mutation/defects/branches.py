"""What becomes of branches: where they run, what comes back, and what is recorded of what callers hold."""

from mutant import Mutant

from defects.sources import ANSWERS, BRANCH, COMPOSITE, DISPATCH, RESULTS, STEP, WAITING, WORKERS

_POOLS = "tests/recording/test_broken_pools.py -k '{}'"
_NESTED = "tests/recording/test_nested_pools.py -k '{}'"
_LATE = "tests/recording/test_late_records.py -k '{}'"
_VALUES = "tests/recording/test_callers_values.py -k '{}'"

MUTANTS = (
    Mutant(
        "pools are renewed so many times at all, whatever came of them",
        DISPATCH,
        "self._idle_pools = 0 if self._has_progressed or self._lost else self._idle_pools + 1",
        "self._idle_pools += 1\n        self._refused = _MOST_REFUSED if self._idle_pools > 2 else 0",
        _POOLS.format("idle_workers and standard"),
    ),
    Mutant(
        "a pool of a class of its own is replaced by a standard one",
        WORKERS,
        "if pool is not None and type(pool) is not kind and isinstance(pool, kind):",
        "if False:",
        _POOLS.format("idle_workers and counting"),
    ),
    Mutant(
        "pools start their workers at once",
        "chunkstore/recording/handing_over.py",
        "    with passable(_forking):",
        "    if True:",
        _POOLS.format("one_after_the_other"),
    ),
    Mutant(
        "a pool that could start some of its workers leaves them",
        WORKERS,
        "            self.kill()\n            self._use(new, own=True)",
        "            self._use(new, own=True)",
        _POOLS.format("leaves_none_behind"),
    ),
    Mutant(
        "a branch that kills its worker before it is recorded is never tried alone",
        DISPATCH,
        "elif self._idle_pools > _MOST_IDLE_POOLS:",
        "elif self._idle_pools > _MOST_IDLE_POOLS and (setattr(self, '_refused', _MOST_REFUSED) or False):",
        _POOLS.format("kills_whoever"),
    ),
    Mutant(
        "an item that kills whoever rebuilds it counts as workers that cannot begin",
        DISPATCH,
        "                unbegun += 1",
        "                unbegun, self._refused = _MOST_UNBEGUN, _MOST_REFUSED",
        _POOLS.format("cost_no_other"),
    ),
    Mutant(
        "a branch is given up if the one worker that it is sent to does not begin",
        DISPATCH,
        "_MOST_REFUSED = 5",
        "_MOST_REFUSED = 1",
        _POOLS.format("die_as_they_begin"),
    ),
    Mutant(
        "what wraps a pool is lost when that breaks",
        WORKERS,
        "    if executor is None or executor is pool:",
        "    if True:",
        _POOLS.format("idle_workers and wrapped"),
    ),
    Mutant(
        "branches of a broken pool go on for ever after an interrupt",
        DISPATCH,
        "for branch in [*self._waiting, *self._lost, *self._suspects]:",
        "for branch in []:",
        _POOLS.format("run_alone_leaves"),
    ),
    Mutant(
        "a worker that was forked as its pool was handed something is in the middle of that for ever",
        "chunkstore/interrupts.py",
        " and not any(frame is call for call in _forked_in)",
        "",
        _NESTED.format("workers_of_its_own"),
    ),
    Mutant(
        "a result that JSON has changed is taken from the log",
        RESULTS,
        "return KeptResult(kept, UNSET if types is None else types)",
        "return KeptResult(kept, UNSET)",
        _VALUES.format("the_very_result"),
    ),
    Mutant(
        "what was cancelled before it began has failed",
        DISPATCH,
        "elif means_cancelled(error) and self._may_begin_again(branch):",
        "elif False:",
        _POOLS.format("shut_down_meanwhile or cancelled_before"),
    ),
    Mutant(
        "an exception whose argument cannot be sent loses its class",
        ANSWERS,
        "        yield self._made_of((self.text,))\n",
        "",
        "tests/recording/test_answers.py -k an_argument_that_cannot",
    ),
    Mutant(
        "a failed branch keeps the variables of its function",
        ANSWERS,
        "                    place.tb_frame.clear()",
        "                    pass",
        "tests/recording/test_answers.py -k lets_go",
    ),
    Mutant(
        "clearing up after a failure ends generators that wait",
        ANSWERS,
        "if not code.co_flags & _SUSPENDABLE:",
        "if code:",
        "tests/recording/test_answers.py -k generator_that_waits",
    ),
    Mutant(
        "results of processes are pickled by their pool",
        BRANCH,
        "if value is not None and task.origin != this_process():",
        "if False:",
        "tests/recording/test_answers.py -k 'only_the_worker_knows and fork'",
    ),
    Mutant(
        "who waits does not help",
        WAITING,
        "        return len(helpers) < len(own & _waiting)",
        "        return False",
        _NESTED.format("take_turns and two"),
        may_hang=True,
    ),
    Mutant(
        "whoever waits helps, as many as there are",
        WAITING,
        "        return len(helpers) < len(own & _waiting)",
        "        return bool(own & _waiting)",
        _NESTED.format("one_after_the_other"),
    ),
    Mutant(
        "a wrapped pool is another one",
        WAITING,
        "            if id(value) not in seen:",
        "            if False:",
        _NESTED.format("take_turns and twice"),
        may_hang=True,
    ),
    Mutant(
        "an enum that is text comes back as text",
        RESULTS,
        "if value is None or kind in {str, bool, int, float}:",
        "if value is None or isinstance(value, str) or kind in {bool, int, float}:",
        _VALUES.format("the_very_result"),
    ),
    Mutant(
        "a result is recorded as it is when its record is written",
        RESULTS,
        "    return codec.revive(plain)",
        "    return value",
        _VALUES.format("changed_after"),
    ),
    Mutant(
        "what was taken over is shared with the record",
        RESULTS,
        "value = codec.revive(codec.plain(step.result))",
        "value = step.result",
        _VALUES.format("taken_over_can"),
    ),
    Mutant(
        "items that a branch takes away are not run",
        COMPOSITE,
        "iter(list(items) if isinstance(items, changing) else items)",
        "iter(items)",
        _VALUES.format("takes_away"),
    ),
    Mutant(
        "a decorator gives its name back each time",
        STEP,
        "if not self._is_decorator and not self._log.attempts:",
        "if True:",
        "tests/recording/test_calls_not_meant.py -k decorat",
    ),
    Mutant(
        "what still runs when a run ends is not noted",
        "chunkstore/stores/summary.py",
        "            LEFT_RUNNING: noted,",
        "            LEFT_RUNNING: None,",
        _LATE.format("for_ever"),
    ),
    Mutant(
        "an engine that says it has cancelled something is believed",
        "chunkstore/recording/in_flight.py",
        "return recorded_branch(self._run, branch) is None and cancel(future)",
        "return cancel(future)",
        _LATE.format("waits_for_what_runs"),
    ),
    Mutant(
        "a branch begins though nobody waits for it any more",
        BRANCH,
        "if not run.tell_store(run.store.is_left, run.branch):",
        "if True:",
        _LATE.format("had_not_begun_with"),
    ),
)
