"""Copies of runs that others record, copy, seal or delete at the same time end up equal to them, or say why not."""

import random
import time

import pytest
from processes import run_processes

import chunkstore
from chunkstore.maintenance.copying import into_chunks
from maintenance.copying.runs import RUN, copied, open_store, outcome, record, same

KINDS = ("chunked-fs", "journal", "file-system")


def write(kind, folder, number):
    """Record steps, change them and those of others, set parameters; return nothing."""
    store = open_store(kind, folder)
    chance = random.Random(number)
    run = store.join_run(RUN)
    for each in range(8):
        with run.step(f"step-{number}-{each}") as step:
            step.log_metric("loss", each, step=each)
        store.set_parameters(RUN, {f"p-{number}": each})
        store.anew().update_step_log(RUN, "shared", lambda found: found.user_defined_metrics.update({f"m-{number}": 1}))
        time.sleep(chance.uniform(0, 0.01))


def copy_often(kind, source, target, seconds):
    """Copy the run again and again; return what went wrong."""
    end = time.monotonic() + seconds
    problems = []
    while time.monotonic() < end:
        problems += outcome(open_store(kind, source), open_store("chunked-fs", target)).problems
    return problems


def work(action, *arguments):
    return action(*arguments)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_eight_write_is_copied_by_two_until_both_are_equal(tmp_path, kind):
    source = open_store(kind, tmp_path / "source")
    target = open_store("chunked-fs", tmp_path / "target")
    source.create_run_log(RUN)
    source.add_step_log(RUN, chunkstore.StepLog(name="shared", internal_name="shared"))
    writers = [(write, kind, tmp_path / "source", number) for number in range(8)]
    copiers = [(copy_often, kind, tmp_path / "source", tmp_path / "target", 1.5)] * 2
    told = run_processes(work, [*writers, *copiers])
    assert told[8:] == [[], []]
    copied(source, target)
    assert same(source, target)
    source.update_run_log(RUN, lambda log: setattr(log, "status", "SUCCESS"))
    copied(source, target)
    assert same(source, target)
    assert len(target.get_step_log(RUN, "shared").user_defined_metrics) == 8


@pytest.mark.thorough
def test_a_run_is_copied_by_several_at_once_and_there_is_one_copy(tmp_path, monkeypatch):
    source = open_store("chunked-fs", tmp_path / "source")
    record(source, steps=10, data=True)
    for most in (1 << 20, 100):
        monkeypatch.setattr(into_chunks, "MOST_KEPT", most)
        target = tmp_path / f"target-{most}"
        told = run_processes(copy_often, [("chunked-fs", tmp_path / "source", target, 0.5)] * 4)
        assert told == [[]] * 4
        assert same(source, open_store("chunked-fs", target))


def seal_often(folder, seconds):
    store = open_store("chunked-fs", folder)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        store.seal(RUN)
        store.unseal(RUN)


@pytest.mark.thorough
def test_a_run_that_is_sealed_and_unsealed_all_the_time_is_copied_whole(tmp_path):
    source = open_store("chunked-fs", tmp_path / "source")
    record(source, steps=20)
    told = run_processes(
        work,
        [
            (seal_often, tmp_path / "source", 2.0),
            *((copy_often, "chunked-fs", tmp_path / "source", tmp_path / f"target-{each}", 2.0) for each in range(2)),
        ],
    )
    assert told[1:] == [[], []]
    for each in range(2):
        target = open_store("chunked-fs", tmp_path / f"target-{each}")
        copied(source, target)
        assert same(source, target)


def make_anew_often(folder, seconds):
    store = open_store("chunked-fs", folder)
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        number += 1
        store.delete_run(RUN)
        store.create_run_log(RUN, tag=str(number))
        for each in range(5):
            store.add_step_log(
                RUN, chunkstore.StepLog(name=f"{number}", internal_name=f"step-{each}", status="SUCCESS")
            )
        store.update_run_log(RUN, lambda log: setattr(log, "status", "SUCCESS"))


def copy_anew_often(source, target, seconds):
    source, target = open_store("chunked-fs", source), open_store("chunked-fs", target)
    end = time.monotonic() + seconds
    mixed = []
    while time.monotonic() < end:
        run = outcome(source, target, replace=True)
        if run.outcome != "failed":
            log = target.get_run_log(RUN)
            mixed += [step.name for step in log.steps.values() if step.name != log.tag]
    return mixed


@pytest.mark.thorough
def test_a_run_that_is_made_anew_all_the_time_is_never_mixed_with_another(tmp_path):
    source = open_store("chunked-fs", tmp_path / "source")
    source.create_run_log(RUN)
    told = run_processes(
        work,
        [(make_anew_often, tmp_path / "source", 2.0), (copy_anew_often, tmp_path / "source", tmp_path / "target", 2.0)],
    )
    assert told[1] == []
    target = open_store("chunked-fs", tmp_path / "target")
    assert outcome(source, target, replace=True).problems == []
    assert same(source, target)
