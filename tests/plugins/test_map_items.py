"""Maps over items that runnable's own stores take for something else, and values that JSON lacks."""

import math
import multiprocessing

import pytest

from chunkstore.views.pages import render_tree
from plugins.workbench import branches_of

# runnable's own models warn of each other when they are written with the run's configuration.
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")

ITEMS = [
    ["a.csv", "b.csv"],
    ["data/a.csv"],
    ["../x", "../../x", "/etc/x", "..", "."],
    [0.1, 0.01],
    [1, 10, -1],
    ["foo", "foo.json", "foo.json.json"],
    ["each", "measure", "each.measure", "success"],
    ["x" * 300, "x" * 299 + "y", "é" * 300],
    ["é", "e\u0301", "模型", "\U0001f600"],
    ["", " ", "a b", " a", "a "],
    ["%41", "A", "a%2Eb", "a.b", "a%252Eb"],
    ["a", "A", "a-1", "a-1706852981689005000", "RunLog.json", ".lock"],
    ["*", "?", "[a]", "{a}", "$item", "a\nb", 'a"b', "a'b"],
]


def files_outside(folder):
    """Return everything in the test's folder that is neither a log nor what runnable itself leaves."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    own = ("outer/work/logs/chunkstore/run/", "outer/work/.catalog/", "outer/work/__pycache__/")
    return {name for name in found if not f"{name}/".startswith(own)}


@pytest.mark.sampled
@pytest.mark.parametrize("items", ITEMS, ids=ascii)
def test_any_text_can_be_an_item(workbench, tmp_path, items):
    log = workbench.run("map_items", parameters={"items": items})
    assert log.status == "SUCCESS"
    assert list(log.steps) == ["each", "success"]
    branches = log.steps["each"].branches
    assert list(branches) == [f"each.{item}" for item in items]
    for item in items:
        branch = branches[f"each.{item}"]
        assert branch.status == "SUCCESS"
        assert {name: value.get_value() for name, value in branch.parameters.items()} == {
            "length": len(str(item)),
            "shown": f"<{item}>",
        }
        assert [step.status for step in branch.steps.values()] == ["SUCCESS"] * 3
        assert list(branch.steps) == [f"each.{item}.{step}" for step in ("measure", "say", "success")]
        (attempt,) = branch.steps[f"each.{item}.measure"].attempts
        assert attempt.input_parameters["item"].get_value() == item
        assert attempt.user_defined_metrics["length"].get_value() == len(str(item))
    assert log.parameters["shown"].get_value() == [f"<{item}>" for item in items]
    assert files_outside(tmp_path) == {
        "outer",
        "outer/work",
        "outer/work/chunkstore.yaml",
        "outer/work/logs",
        "outer/work/logs/chunkstore",
        "outer/work/notebook.ipynb",
        "outer/work/parameters.yaml",
        "outer/work/pipelines.py",
    }

    own = workbench.chunkstore().get_run_log("run", strict=True)
    assert own.problems == []
    assert list(own.steps["each"].branches) == list(branches)
    assert len(render_tree(own, most_branches=100).splitlines()) >= 3 + 4 * len(items)


def test_values_that_json_lacks_come_back(workbench):
    log = workbench.run("map_odd_scores", parameters={"items": ["a", "b"]})
    assert log.status == "SUCCESS"
    for item, score in (("a", math.nan), ("b", math.inf)):
        branch = log.steps["each"].branches[f"each.{item}"]
        (attempt,) = branch.steps[f"each.{item}.score"].attempts
        found = (
            branch.parameters["score"],
            attempt.output_parameters["score"],
            attempt.user_defined_metrics["score"],
        )
        assert [repr(value.get_value()) for value in found] == [repr(score)] * 3
        assert {value.kind for value in found} == {"metric"}
        assert repr(branch.parameters["odd"].get_value()) == "[-inf, {'deep': nan}]"
    assert repr(log.parameters["score"].get_value()) == "[nan, inf]"


def read_while(workbench, stop, results):
    """Read the run over and over; what was there once must not vanish again."""
    store, seen, reads = workbench.store(), set(), 0
    try:
        while True:
            last = stop.is_set()
            try:
                log = store.get_run_log_by_id("run", full=True)
            except Exception as error:
                if seen or type(error).__name__ != "RunLogNotFoundError":
                    raise
            else:
                found = everything_in(log)
                assert not seen - found, f"vanished: {sorted(seen - found)[:3]}"
                seen = found
                reads += 1
            if last:
                break
        results.send((reads, len(seen)))
    except BaseException as error:
        results.send(repr(error))


def everything_in(log):
    """Return the names of all steps, attempts, branches and parameters in a run."""
    found = {("parameter", "", name) for name in log.parameters}
    branches = branches_of(log.steps)
    found |= {("parameter", name, key) for name, branch in branches.items() for key in branch.parameters}
    found |= {("branch", name) for name in branches}
    for steps in (log.steps, *(branch.steps for branch in branches.values())):
        found |= {("step", name) for name in steps}
        found |= {("attempt", name, number) for name, step in steps.items() for number in range(len(step.attempts))}
    return found


@pytest.mark.thorough
def test_whoever_reads_all_the_time_never_fails_and_sees_nothing_vanish(workbench):
    context = multiprocessing.get_context("fork")
    stop = context.Event()
    receiver, sender = context.Pipe(duplex=False)
    reader = context.Process(target=read_while, args=(workbench, stop, sender), daemon=True)
    reader.start()
    sender.close()
    try:
        log = workbench.run("map_items", parameters={"items": list(range(60))})
    finally:
        stop.set()
    result = receiver.recv()
    reader.join()
    receiver.close()
    assert isinstance(result, tuple), result
    reads, last = result
    assert reads > 3
    assert last == len(everything_in(log))
    assert log.status == "SUCCESS"
    assert len(log.steps["each"].branches) == 60
    assert {branch.status for branch in log.steps["each"].branches.values()} == {"SUCCESS"}
    assert all(len(branch.steps) == 3 for branch in log.steps["each"].branches.values())
