"""Which step somebody means is found by its name or the end of it."""

import pytest

from chunkstore.errors import StepLogNotFoundError
from chunkstore.records.models import BranchLog
from chunkstore.views.pages.step_lookup import find_record
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
