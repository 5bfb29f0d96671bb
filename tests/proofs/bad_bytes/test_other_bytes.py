"""Files that hold what other files hold, or anything else: the others are read, and no record passes for another."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from recorded import step

import chunkstore
from chunkstore import CorruptChunkError
from chunkstore.errors import StepLogNotFoundError
from proofs.bad_bytes.whole_runs import HELD, RUN, check_the_rest, contents, file_of, make_run, open_chunked, read


@pytest.fixture(scope="module")
def runs():
    """Two equal runs of files in memory, compact and pretty, to copy from."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as top:
        yield {pretty: make_run(Path(top) / str(pretty), pretty=pretty) for pretty in (False, True)}


STARTS = st.sampled_from(list(HELD))
DAMAGE = st.one_of(
    st.tuples(st.just("empty"), STARTS),
    st.tuples(st.just("zeros"), STARTS),
    st.tuples(st.just("double"), STARTS),
    st.tuples(st.just("splice"), STARTS, STARTS, st.lists(st.integers(1, 300), min_size=3, max_size=3)),
    st.tuples(st.just("swap"), STARTS, STARTS),
    st.tuples(st.just("copy"), STARTS, STARTS),
)


def do_damage(folder, kind, start, other=None, places=()):
    file = file_of(folder, start)
    data = file.read_bytes()
    if kind == "empty":
        file.write_bytes(b"")
    elif kind == "zeros":
        file.write_bytes(bytes(len(data)))
    elif kind == "double":
        file.write_bytes(data * 2)
    else:
        source = file_of(folder, other)
        theirs = source.read_bytes()
        if kind == "splice":
            here, there, length = places
            file.write_bytes(data[:here] + theirs[there : there + length] + data[here + length :])
        else:
            file.write_bytes(theirs)
        if kind == "swap":
            source.write_bytes(data)


@pytest.mark.thorough
@pytest.mark.parametrize("pretty", [False, True])
@settings(max_examples=16 * settings().max_examples)
@given(damages=st.lists(DAMAGE, min_size=1, max_size=3))
@example(damages=[("swap", "BranchLog-map.a-", "BranchUpdate-map.a-")])
@example(damages=[("copy", "BranchUpdate-map.a-", "StepUpdate-map-")])
def test_whatever_was_written_into_some_files_the_others_are_read(runs, memory, pretty, damages):
    folder = memory / "logs" / RUN
    shutil.rmtree(folder.parent, ignore_errors=True)
    shutil.copytree(runs[pretty], folder)
    whole = contents(read(folder))
    damaged = set()
    for kind, *arguments in damages:
        do_damage(folder, kind, *arguments)
        damaged |= HELD[arguments[0]] | (HELD[arguments[1]] if kind == "swap" else set())
    store = open_chunked(folder.parent)
    log = store.get_run_log(RUN)
    check_the_rest(log, whole, damaged)
    assert chunkstore.RunLog.from_json(log.to_json()).problems == log.problems
    shown = json.loads(store.get_run_json(RUN))
    shown.pop("problems", None)
    expected = json.loads(log.to_json())
    expected.pop("problems", None)
    assert shown == expected
    assert store.get_step_log(RUN, "good") == whole["step", "good"]
    assert [summary.run_id for summary in store.list_runs()] == [RUN]
    for call in (lambda: store.get_step_log(RUN, "map"), lambda: store.get_parameters(RUN)):
        try:
            call()
        except (CorruptChunkError, StepLogNotFoundError):
            pass


@pytest.mark.parametrize("kind", ["empty", "zeros", "double"])
@pytest.mark.parametrize("start", HELD)
def test_a_file_that_is_empty_or_zeros_or_there_twice_is_reported(memory, start, kind):
    folder = make_run(memory / "logs")
    whole = contents(read(folder))
    do_damage(folder, kind, start)
    log = read(folder)
    check_the_rest(log, whole, HELD[start])
    if not start.startswith("Metric") or kind == "zeros":  # no lines are no points, and each line stands for itself
        assert file_of(folder, start).name in {problem.file for problem in log.problems}


@pytest.fixture
def two_steps(memory):
    """Return a run's folder and the files of its steps `a` and `b`; `a` was replaced since it was copied."""
    store = open_chunked(memory)
    store.create_run_log(RUN)
    store.add_step_log(RUN, step("a", message="old a"))
    store.add_step_log(RUN, step("b", message="b"))
    folder = memory / RUN
    files = file_of(folder, "StepLog-a-"), file_of(folder, "StepLog-b-")
    copy = files[0].read_bytes()
    store.add_step_log(RUN, step("a", message="new a"))
    return folder, *files, copy


def test_a_copy_of_a_step_under_the_name_of_another_is_reported_and_does_not_count(two_steps):
    folder, _, second, copy = two_steps
    second.write_bytes(copy)
    log = read(folder)
    assert log.steps["a"].message == "new a"
    assert second.name in {problem.file for problem in log.problems}


def test_a_copy_of_a_change_under_the_name_of_another_is_reported_and_does_not_count(two_steps):
    folder, *_ = two_steps
    other = open_chunked(folder.parent)
    other.update_step_log(RUN, "a", lambda found: setattr(found, "message", "old change"))
    copy = file_of(folder, "StepUpdate-a-").read_bytes()
    for name in ("a", "b"):
        other.update_step_log(RUN, name, lambda found: setattr(found, "message", "new change"))
    second = file_of(folder, "StepUpdate-b-")
    second.write_bytes(copy)
    log = read(folder)
    assert log.steps["a"].message == "new change"
    assert open_chunked(folder.parent).get_step_log(RUN, "a").message == "new change"
    assert second.name in {problem.file for problem in log.problems}


def test_steps_whose_files_were_swapped_are_found_or_reported(two_steps):
    folder, first, second, _ = two_steps
    data = first.read_bytes(), second.read_bytes()
    first.write_bytes(data[1])
    second.write_bytes(data[0])
    store = open_chunked(folder.parent)
    log = store.get_run_log(RUN)
    reported = {problem.file for problem in log.problems}
    for name, message, file in (("a", "new a", first), ("b", "b", second)):
        if file.name not in reported:
            assert log.steps[name].message == message
            assert store.get_step_log(RUN, name).message == message


@pytest.mark.parametrize("name", ["short", "long" * 100])
def test_an_older_record_does_not_pass_for_a_damaged_newer_one_however_long_its_name(memory, name):
    owner, other = open_chunked(memory), open_chunked(memory)
    owner.create_run_log(RUN)
    owner.add_step_log(RUN, step(name, message="older"))
    other.add_step_log(RUN, step(name, message="newer"))
    newest = max((memory / RUN).glob("StepLog-*"))
    newest.write_bytes(newest.read_bytes().replace(b"newer", b"never"))
    store = open_chunked(memory)
    with pytest.raises(CorruptChunkError):
        store.get_step_log(RUN, name)
    with pytest.raises(CorruptChunkError):
        store.update_step_log(RUN, name, lambda found: setattr(found, "status", "SUCCESS"))
