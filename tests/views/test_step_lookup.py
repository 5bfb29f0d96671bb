"""Which step somebody means is found by its name or the end of it."""

import pytest

from chunkstore.errors import CorruptChunkError, StepLogNotFoundError
from chunkstore.names import readable_name
from chunkstore.records.models import BranchLog, Orphans, Problem
from chunkstore.views.pages.step_lookup import find_record
from chunkstore.views.texts import printable
from views.made_logs import made_map, made_run, made_step


def named(*names):
    return made_run(*map(made_step, names), made_map("score", 3), run_id="run")


@pytest.mark.parametrize(
    ("text", "found"),
    [("load", "load"), ("score", "score"), ("score.1", "score.1"), ("2", "score.2"), ("a.csv", "a%2Ecsv")],
)
def test_a_step_or_branch_is_found_by_its_name_or_the_end_of_it(text, found):
    assert find_record(named("load", "a%2Ecsv"), text).internal_name == found


def test_a_step_goes_before_a_branch_of_its_name():
    log = named("load")
    log.steps["score"].branches["load"] = BranchLog(internal_name="load")
    assert find_record(log, "load") is log.steps["load"]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("laod", "Did you mean 'load'?"),
        ("wrok", "Did you mean 'score.0.work'?"),
        ("work", "3 steps and branches of run 'run' end in 'work': score.0.work, score.1.work, score.2.work."),
        ("zzz", "`chunkstore show run` shows the steps"),
        ("", "`chunkstore show run` shows the steps"),
    ],
)
def test_a_name_that_means_no_step_or_many_says_what_to_do(text, hint):
    with pytest.raises(StepLogNotFoundError) as caught:
        find_record(named("load"), text)
    assert hint in str(caught.value)
    assert (caught.value.run_id, caught.value.internal_name) == ("run", text)


def test_a_run_without_steps_has_none_of_any_name():
    with pytest.raises(StepLogNotFoundError, match="has no steps"):
        find_record(made_run(), "load")


def odd_run():
    """Return a run in which names hold dots, brackets, line breaks and what looks like an escape."""
    branches = {}
    for name in ("plain", "a%2Ecsv", '{"lr":0%2E1}', "new\nline"):
        branch = f"count.{name}"
        step = made_step(f"{branch}.work")
        branches[branch] = BranchLog(internal_name=branch, status="SUCCESS", steps={step.internal_name: step})
    composite = made_step("count", step_type="map", branches=branches)
    tops = ("plain", "a%2Ecsv", "a%252Ecsv", "[/in]", "in\x1b[31mred", "50%25")
    return made_run(*map(made_step, tops), composite, run_id="run")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("plain", "plain"),
        ("a.csv", "a%2Ecsv"),
        ("a%2Ecsv", "a%252Ecsv"),  # as it is shown
        ("a%252Ecsv", "a%252Ecsv"),
        ("count.a.csv", "count.a%2Ecsv"),
        ("count.a%2Ecsv", "count.a%2Ecsv"),
        ("a.csv.work", "count.a%2Ecsv.work"),
        ('count.{"lr":0.1}.work', 'count.{"lr":0%2E1}.work'),
        ('{"lr":0.1}', 'count.{"lr":0%2E1}'),
        ("new\nline", "count.new\nline"),
        ("new\\nline", "count.new\nline"),
        ("[/in]", "[/in]"),
        ("in\\x1b[31mred", "in\x1b[31mred"),
        ("50%", "50%25"),
        ("50%25", "50%25"),
    ],
)
def test_a_step_goes_by_the_name_that_is_shown_also_if_a_branch_is_called_so(text, found):
    assert find_record(odd_run(), text).internal_name == found


def test_what_is_shown_of_a_run_can_be_typed():
    log = odd_run()
    for record in (*log.steps.values(), *log.steps["count"].branches.values()):
        for text in (readable_name(record.internal_name), printable(readable_name(record.internal_name))):
            assert find_record(log, text) is record


def test_the_end_of_a_name_begins_with_a_segment():
    with pytest.raises(StepLogNotFoundError, match="There is no step or branch 'csv'"):
        find_record(odd_run(), "csv")


def test_names_in_errors_are_those_that_are_shown():
    log = odd_run()
    with pytest.raises(StepLogNotFoundError, match=r"count\.plain\.work, count\.a\.csv\.work, count\.\{"):
        find_record(log, "work")
    with pytest.raises(StepLogNotFoundError, match=r"Did you mean 'count\.a\.csv'\?"):
        find_record(log, "countacsv")


def test_names_that_are_shown_alike_are_told_apart_by_their_internal_names():
    log = made_run(made_step("a%2Eb.c.work"), made_step("a.b%2Ec.work"), run_id="run")
    with pytest.raises(StepLogNotFoundError, match=r"a%2Eb\.c\.work, a\.b%2Ec\.work"):
        find_record(log, "a.b.c.work")


@pytest.mark.parametrize("text", ["load", "count.a.csv", "a.csv"])
def test_a_record_that_cannot_be_read_is_not_said_to_be_missing(text):
    log = named("other")
    encoded = {"load": "StepLog-load-17.json"}.get(text, "BranchLog-count.a%2Ecsv-17.json")
    log.found_problems = [Problem("orphan", "load", "no branch"), Problem("corrupt", encoded, "the file is empty")]
    with pytest.raises(CorruptChunkError, match=r"cannot be read: .*: the file is empty") as caught:
        find_record(log, text)
    assert caught.value.file == encoded
    with pytest.raises(StepLogNotFoundError):
        find_record(log, "elsewhere")


def test_what_a_damaged_journal_may_hold_is_not_said_to_be_missing():
    log = named("other")
    log.found_problems = [Problem("corrupt", "Journal-1-17.jsonl", "a line was damaged")]
    with pytest.raises(CorruptChunkError, match=r"not all of it can be: Journal-1-17\.jsonl"):
        find_record(log, "load")


def test_a_step_that_has_lost_its_branch_is_found():
    log = named("load")
    log.found_orphans = Orphans(steps={"gone.1.work": made_step("gone.1.work")})
    assert find_record(log, "gone.1.work").internal_name == "gone.1.work"
