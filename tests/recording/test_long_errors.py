"""Errors of any length: what they say is in the record of the step, up to a limit; elsewhere stands a line."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from chunkstore import BranchFailedError
from chunkstore.recording.failures import LONGEST_LINE, LONGEST_TRACEBACK, describe_error, format_error

MILLION = 1_000_000
#: What is said about what was left out takes some characters too.
SOME = 100


def raised(message):
    with pytest.raises(ValueError) as caught:
        raise ValueError(message)
    return caught.value


def test_a_line_about_an_error_has_an_end_and_says_how_much_more_there_is():
    line = describe_error(raised("x" * MILLION))
    assert line.startswith("ValueError: xxx")
    assert line.endswith(f"x… {MILLION + len('ValueError: ') - LONGEST_LINE:,} characters more")
    assert len(line) < LONGEST_LINE + SOME


def test_of_a_long_traceback_the_beginning_and_the_end_are_kept():
    text = format_error(raised("begin " + "x" * MILLION + " end"))
    assert text.startswith("Traceback (most recent call last):\n")
    assert "ValueError: begin xxx" in text
    assert text.endswith("xxx end\n")
    assert "characters were left out here" in text
    assert len(text) < LONGEST_TRACEBACK + SOME


@pytest.mark.parametrize("message", ["short", "two\nlines", "x" * LONGEST_LINE + "\n" + "y" * 50_000])
def test_what_is_not_long_is_kept_whole(message):
    assert message in format_error(raised(message))


def test_a_long_error_is_kept_once_and_not_in_the_runs_own_record(store):
    def work(_item):
        raise ValueError("x" * MILLION)

    with pytest.raises(ValueError, match="xxx"), store.start_run("one") as run, run.step("s"):
        raise ValueError("x" * MILLION)
    with (
        pytest.raises(BranchFailedError) as caught,
        store.start_run("two") as run,
    ):
        run.map("m", [1], work, executor=ThreadPoolExecutor(1))
    assert len(str(caught.value)) < 2 * LONGEST_LINE
    for run_id, size in (("one", LONGEST_TRACEBACK), ("two", LONGEST_TRACEBACK)):
        log = store.get_run_log(run_id)
        own = store.get_run_log(run_id, full=False)
        assert len(str(own.notes)) < 3 * LONGEST_LINE
        assert size < len(log.to_json()) < size + 20 * LONGEST_LINE


def test_names_in_what_a_run_says_are_those_that_its_author_gave(store):
    with store.start_run("r") as run, run.step("a.csv", on_error="continue"):
        raise ValueError
    assert store.get_run_log("r").notes["message"] == "1 step failed: a.csv"

    def work(_item):
        raise ValueError

    with store.start_run("s") as run, pytest.raises(BranchFailedError, match=r'\n  m\.\{"lr":0\.1\}: ValueError'):
        run.map("m", [{"lr": 0.1}], work, executor=ThreadPoolExecutor(1))
