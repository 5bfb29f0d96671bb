"""What people see is what was recorded: names, values, errors, and the ends of pipes."""

from mutant import Mutant

_LOOKUP = "chunkstore/views/pages/step_lookup.py"
_VALUES = "chunkstore/views/recorded_values.py"

MUTANTS = (
    Mutant(
        "a value of an author that has a kind is taken for runnable's",
        _VALUES,
        "    return unwrapped_all(values) if is_of_runnable(log) else dict(values)",
        "    return unwrapped_all(values)",
        "tests/views/test_recorded_values.py -k keeps_it",
    ),
    Mutant(
        "runs that failed with other errors do not differ",
        "chunkstore/views/compare/failures.py",
        "        return old != new and _without(old, self._old) != _without(new, self._new)",
        "        return False",
        "tests/views/test_diff_of_failures.py",
    ),
    Mutant(
        "a step cannot be named as it is shown",
        _LOOKUP,
        "    (True, lambda name, _: (readable_name(name),)),\n",
        "",
        "tests/views/test_step_lookup.py -k shown",
    ),
    Mutant(
        "a step whose file is damaged is said to be missing",
        _LOOKUP,
        "    for problem in log.problems if text else ():",
        "    for problem in ():",
        "tests/views/test_step_lookup.py -k missing",
    ),
    Mutant(
        "NaN is found by no condition",
        "chunkstore/views/recorded_values.py",
        "        return bool(one == other) or (one != one and other != other)",
        "        return bool(one == other)",
        "tests/views/test_run_filters.py -k as_what_they_are",
    ),
    Mutant(
        "an attempt that put nothing gives the data of others",
        "chunkstore/maintenance/getting_data.py",
        "        if attempt.attempt_number == number\n",
        "",
        "tests/maintenance/test_getting_data.py -k put_nothing",
    ),
    Mutant(
        "of an error, its causes are not compared",
        "chunkstore/views/compare/failures.py",
        '    return _PLACES.sub("", traceback).strip() or traceback.strip()',
        '    return _PLACES.sub("", traceback).strip().splitlines()[-1] or traceback.strip()',
        "tests/views/test_diff_of_failures.py -k cause",
    ),
    Mutant(
        "values that differ beyond what is shown look the same",
        "chunkstore/views/compare/diff_table.py",
        "    if line.whole and old == new:",
        "    if line.whole and old is new:",
        "tests/views/test_recorded_values.py -k told_apart",
    ),
    Mutant(
        "a long error floods the records of runs",
        "chunkstore/recording/failures.py",
        "    if len(line) <= LONGEST_LINE:",
        "    if line:",
        "tests/recording/test_long_errors.py",
    ),
    Mutant(
        "a reader that has seen enough is an error",
        "chunkstore/cli/streams.py",
        "                raise SystemExit(BROKEN_PIPE) from None",
        "                raise",
        "tests/cli/test_streams.py -k 'seen_enough and ls'",
    ),
    Mutant(
        "a carriage return ends a row",
        "chunkstore/views/tables/exports.py",
        "lineterminator=_ENDS)",
        'lineterminator="\\n")',
        "tests/cli/test_odd_names.py -k end_of_line",
    ),
)
