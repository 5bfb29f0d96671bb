"""Runs that failed in other ways differ, whoever says how: the run, a step, a branch, an attempt."""

import pytest

from chunkstore.records.models import BranchLog
from chunkstore.views.compare import compare_runs
from chunkstore.views.compare.diff_table import sections
from views.made_logs import attempt, data, made_map, made_run, made_step

FRAMES = 'Traceback (most recent call last):\n  File "/home/me/{}.py", line {}, in work\n    raise error\n'


def failed(error, *, file="a", line=7, name="train"):
    message = error.splitlines()[0]
    tried = attempt(status="FAIL", message=FRAMES.format(file, line) + error + "\n")
    return made_step(name, "FAIL", message=message, attempts=[tried])


def compared(old, new, **fields):
    return compare_runs(made_run(old, run_id="one", **fields), made_run(new, run_id="two", **fields))


def status_rows(found):
    return [row[1:5] for section in sections(found) if section.title == "Status" for row in section.rows]


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        ("ValueError: no gain", "MemoryError: 40 GB", ("ValueError: no gain", "MemoryError: 40 GB")),
        ("ValueError: no gain", "ValueError: no loss", ("ValueError: no gain", "ValueError: no loss")),
        ("ValueError: a\nin b", "ValueError: a\nin c", ("attempt 1: …in b", "attempt 1: …in c")),
        ("E: " + "x" * 500 + "1", "E: " + "x" * 500 + "2", (f"…{'x' * 20}1", f"…{'x' * 20}2")),
    ],
    ids=["other type", "other text", "other line", "far to the right"],
)
def test_another_error_is_a_difference_and_shown(old, new, shown):
    found = compared(failed(old), failed(new))
    assert found.different
    assert status_rows(found) == [("train", "", *shown)]
    assert [(entry.old, entry.new) for entry in found.outcomes] == [("FAIL", "FAIL")]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (failed("ValueError: bad"), failed("ValueError: bad", file="b", line=70)),
        (failed("ValueError: of run one"), failed("ValueError: of run two")),
        (failed("TypeError: <object at 0x7f31a4b2c0>"), failed("TypeError: <object at 0x7f44b4b2d0>")),
    ],
    ids=["place in the code", "id of the run", "address in memory"],
)
def test_where_the_code_lies_and_ids_are_no_difference(old, new):
    assert not compared(old, new).different


def with_cause(cause, *, line=7):
    first = FRAMES.format("a", line) + cause
    told = f"{first}\n\nThe above exception was the direct cause of the following exception:\n\n"
    return made_step(
        "train",
        "FAIL",
        message="RuntimeError: no training",
        attempts=[attempt(status="FAIL", message=f"{told}{FRAMES.format('b', line)}RuntimeError: no training\n")],
    )


def test_another_cause_of_an_error_is_a_difference_and_shown():
    found = compared(with_cause("ValueError: bad rate"), with_cause("MemoryError: 40 GB", line=9))
    assert found.different
    assert status_rows(found) == [("train", "", "attempt 1: ValueError: bad rate", "attempt 1: MemoryError: 40 GB")]
    assert not compared(with_cause("ValueError: bad rate"), with_cause("ValueError: bad rate", line=9)).different


def in_group(error, line):
    return made_step(
        "train",
        "FAIL",
        message="ExceptionGroup: both (1 sub-exception)",
        attempts=[
            attempt(
                status="FAIL",
                message=f"""  + Exception Group Traceback (most recent call last):
  |   File "a.py", line {line}, in work
  |     raise ExceptionGroup("both", errors)
  | ExceptionGroup: both (1 sub-exception)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "a.py", line {line + 1}, in part
    |     raise error
    | {error}
    +------------------------------------
""",
            )
        ],
    )


def test_errors_in_a_group_are_compared_and_not_where_they_were_raised():
    assert not compared(in_group("ValueError: x", 3), in_group("ValueError: x", 70)).different
    assert compared(in_group("ValueError: x", 3), in_group("TypeError: x", 3)).different


def test_the_id_of_a_run_is_left_out_as_a_word_of_its_own():
    old, new = (f"ValueError: bad <object at 0x7f31a4b2{end}>" for end in ("c0", "d0"))
    runs = (made_run(failed(error), run_id=run_id) for error, run_id in ((old, "a"), (new, "b")))
    assert not compare_runs(*runs).different


def test_an_attempt_before_the_last_that_failed_otherwise_is_a_difference():
    old, new = (
        made_step("load", attempts=[attempt(status="FAIL", message=FRAMES.format("a", 1) + error), attempt()])
        for error in ("OSError: timed out", "OSError: refused")
    )
    found = compared(old, new)
    assert found.different
    assert status_rows(found) == [("load", "", "attempt 1: OSError: timed out", "attempt 1: OSError: refused")]


def test_an_error_where_the_other_run_says_none_is_a_difference():
    found = compared(failed("ValueError: bad"), made_step("train", "FAIL", attempts=[attempt(status="FAIL")]))
    assert found.different
    assert status_rows(found) == [("train", "", "ValueError: bad", "")]


def test_another_message_of_a_branch_is_a_difference():
    old, new = made_map("m", 2), made_map("m", 2)
    for step, message in ((old, "its worker was killed"), (new, "its item could not be rebuilt")):
        step.branches["m.1"] = BranchLog(internal_name="m.1", status="FAIL", message=message)
    found = compared(old, new)
    assert found.different
    assert status_rows(found) == [("m.1", "", "its worker was killed", "its item could not be rebuilt")]
    assert [fan.different for fan in found.fans] == [["m.1"]]


def test_the_run_says_why_it_failed_where_no_step_does():
    runs = [made_run(run_id=run_id, status="FAIL") for run_id in ("one", "two")]
    for log, message in zip(runs, ("KeyError: 'a' in run one", "OSError: no room"), strict=True):
        log.run_config["chunkstore"]["message"] = message
    found = compare_runs(*runs)
    assert [(change.name, change.old, change.new) for change in found.run] == [
        ("message", "KeyError: 'a' in run one", "OSError: no room")
    ]
    runs[1].run_config["chunkstore"]["message"] = "KeyError: 'a' in run two"
    assert not compare_runs(*runs).different


def test_data_put_before_under_the_same_name_is_compared_too():
    old, new = (made_step("load", data_catalog=[data("x", first), data("x", "ccc")]) for first in ("aaa", "bbb"))
    found = compared(old, new)
    assert [(change.old, change.new) for change in found.data] == [("aaa, ccc", "bbb, ccc")]


@pytest.mark.parametrize("fields", [{"step_type": "notebook"}, {"mock": True}, {"extra": {"gpu": "A100"}}])
def test_what_else_a_record_says_is_compared(fields):
    found = compared(made_step("load"), made_step("load", **fields))
    assert found.different
    assert [section.title for section in sections(found)] == ["Other"]


def test_that_a_step_was_taken_over_is_no_difference():
    assert not compared(made_step("load"), made_step("load", mock=True, cached_from="before")).different


def test_attempts_before_the_last_that_were_called_otherwise_differ():
    old, new = (made_step("s", attempts=[attempt(parameters={"lr": lr}), attempt()]) for lr in (1, 2))
    found = compared(old, new)
    assert [(change.name, change.old, change.new) for change in found.parameters] == [("lr (attempt 1)", 1, 2)]
