"""Defects of noticing what a run has lost since it ended, of clocks that are behind, and of calls that are refused."""

from mutant import Mutant

from defects.sources import CHUNK_WRITER, CHUNKED, LOCKS, PUBLISHING, RUN_FILES

_CONTENTS = "tests/stores/test_contents.py"
_CHECKS = "chunkstore/backends/disk/checks.py"
_RECORDER = "chunkstore/recording/recorder.py"
_SUMMARY = "chunkstore/stores/summary.py"
_TURNS = "chunkstore/backends/disk/lock_turns.py"

MUTANTS = (
    Mutant(
        "a list of runs looks at their own records alone",
        "chunkstore/cli/unread.py",
        "        if steps > self._steps_left:\n",
        "        if True:\n",
        "tests/cli/test_damaged_runs.py -k listed_run",
    ),
    Mutant(
        "the copy in a sealed file stands in silence for a run's own record that is gone",
        "chunkstore/stores/reading/chunk_reader.py",
        "            if not isinstance(found, bytes):\n",
        "            if False:\n",
        "tests/cli/test_damaged_runs.py -k listed_run",
    ),
    Mutant(
        "what a run held at its end is compared with nothing",
        RUN_FILES,
        "        if known is None or self._reader.has(QUARANTINE):\n",
        "        if True:\n",
        f"{_CONTENTS} -k is_noticed",
    ),
    Mutant(
        "the sums of a run are noted though somebody has written since",
        _SUMMARY,
        "self.contents is not None and log.notes.get(SUMMING) == self.summing",
        "self.contents is not None",
        f"{_CONTENTS} -k just_when",
    ),
    Mutant(
        "what was noted of a run's chunks is not taken back before some are added",
        CHUNK_WRITER,
        "        if known.end is not None and known.end.is_summed:\n            self._take",
        "        if False:\n            self._take",
        f"{_CONTENTS} -k taken_back_before",
    ),
    Mutant(
        "what was noted of a run's chunks is not taken back after some were added",
        CHUNK_WRITER,
        "        if end.is_summed:\n            self._take",
        "        if False:\n            self._take",
        f"{_CONTENTS} -k just_when",
    ),
    Mutant(
        "a change of a run that has ended takes no account of what is noted",
        CHUNK_WRITER,
        "            self._note_contents(run_id, known, change, with_chunk(noted, file, before, after or 0))\n",
        "            self._note_contents(run_id, known, change, noted)\n",
        f"{_CONTENTS} -k 'taken_for_damage and update'",
    ),
    Mutant(
        "a reader believes what is noted though it has changed meanwhile",
        RUN_FILES,
        "        return lost if is_sure else []\n",
        "        return lost\n",
        f"{_CONTENTS} -k meets_a_change",
    ),
    Mutant(
        "who joins a run has seen nothing of it",
        _RECORDER,
        "        store.observe(PinnedRunId(log.run_id, log.incarnation))\n",
        "",
        "tests/recording/test_slow_clocks.py -k join",
    ),
    Mutant(
        "where files without a name cannot be named, nothing is recorded",
        PUBLISHING,
        "        if is_whole and isinstance(error, OSError) and error.errno in _NO_NAMING:\n",
        "        if False:\n",
        "tests/recording/test_refused_calls.py -k link",
    ),
    Mutant(
        "that nothing can be locked is told when the run ends",
        _CHECKS,
        "        lock.acquire(_NO_TIME)\n        lock.release()\n",
        "",
        "tests/recording/test_refused_calls.py -k can_be_locked",
    ),
    Mutant(
        "who waits for a lock comes whenever it finds it free",
        LOCKS,
        "is_locked = turn.has_come() and self._try(self._fd)",
        "is_locked = self._try(self._fd)",
        "tests/backends/test_lock_turns.py -k has_just_had",
    ),
    Mutant(
        "who is stopped while he waits for a lock keeps others out",
        _TURNS,
        " or 0 < self._impatient_at <= time.monotonic()",
        "",
        "tests/backends/test_lock_turns.py -k stopped",
    ),
    Mutant(
        "who finishes a run reads it before others know",
        CHUNKED,
        "            self._change_metadata(run_id, lambda log: with_contents(log, None, summing=summing))\n",
        "            pass\n",
        f"{_CONTENTS} -k every_container",
    ),
)
