"""What an interrupted or deleted run has left beside a sealed file, or set aside, loses nothing."""

import os

import pytest

from chunkstore.errors import RunLogNotFoundError
from chunkstore.records.fields import MetricPoint
from stores.sealing.sealed_runs import RUN, finish, opened, state, step

# --- crashes ---------------------------------------------------------------------------------------------------------


def test_of_two_sealed_files_the_newest_counts_and_the_next_seal_makes_one(store, logs, folder):
    finish(store)
    store.seal(RUN)
    (first,) = folder.sealed()
    old = folder.files()[first]
    store.add_step_log(RUN, step("half", message="newer"))
    opened(logs).update_step_log(RUN, "half", lambda found: found.user_defined_metrics.update(n=2))
    store.set_parameters(RUN, {"a": 2})
    store.append_metrics(RUN, "half", {"m": [MetricPoint(3, 3)]})
    expected = state(store)
    store.seal(RUN)
    folder.write(first, old)  # as if whoever sealed had been killed before that was removed
    assert len(folder.sealed()) == 2
    check_all_reads(store, expected)
    assert store.get_parameters(RUN) == {"a": 2}
    store.seal(RUN)
    assert len(folder.sealed()) == 1
    assert first not in folder.sealed()
    check_all_reads(store, expected)
    new = folder.files()
    folder.write(first, old)
    store.unseal(RUN)
    assert not folder.sealed()
    check_all_reads(store, expected)
    assert not set(folder.files()) & set(new) - {"RunLog.json"}


def check_all_reads(store, expected):
    assert state(store) == expected
    log = store.get_run_log(RUN)
    for name, found in log.steps.items():
        assert repr(store.get_step_log(RUN, name)) == repr(found)
    assert [found.internal_name for found in store.iter_records(RUN) if found.internal_name in log.steps] == list(
        log.steps
    )
    assert store.get_parameters(RUN) == log.parameters


def test_a_file_that_was_left_set_aside_is_read_and_packed_by_the_next_seal(store, folder):
    finish(store)
    expected = state(store)
    for name in list(folder.files()):
        if name == "RunLog.json" or name.startswith("Metric-"):
            continue  # they are removed in another way
        os.rename(os.path.join(folder.path, name), os.path.join(folder.path, f".aside-{name}"))
        check_all_reads(store, expected)
    before = {name.removeprefix(".aside-"): data for name, data in folder.files().items()}
    store.seal(RUN)
    assert sorted(folder.files()) == sorted([*folder.sealed(), "RunLog.json"])
    check_all_reads(store, expected)
    store.unseal(RUN)
    assert folder.files() == before


def test_what_was_set_aside_does_not_come_back_over_what_its_owner_has_written_since(store, folder):
    finish(store)
    (name,) = [name for name in folder.files() if name.startswith("StepLog-half-")]
    os.rename(os.path.join(folder.path, name), os.path.join(folder.path, f".aside-{name}"))
    store.add_step_log(RUN, step("half", message="newer"))
    expected = state(store)
    assert store.get_step_log(RUN, "half").message == "newer"
    store.seal(RUN)
    assert not [name for name in folder.files() if name.startswith(".aside-")]
    check_all_reads(store, expected)


@pytest.mark.parametrize("kind", ["StepLog-half", "StepUpdate-half", "Parameter-root", "BranchLog-"])
@pytest.mark.parametrize("torn", [b"", b"{", bytes(50)], ids=["empty", "cut off", "zeros"])
def test_a_torn_file_beside_the_sealed_one_never_makes_sealing_drop_that(store, folder, kind, torn):
    """As a loss of power may leave, while a run is unsealed or written to."""
    finish(store)
    expected = state(store)
    (name,) = [name for name in folder.files() if name.startswith(kind)]
    store.seal(RUN)
    folder.write(name, torn)
    for _ in range(2):
        store.add_step_log(RUN, step("late"))
        store.seal(RUN)
        store.get_run_log(RUN)
    if name in folder.files():
        assert folder.files()[name] == torn
        os.unlink(os.path.join(folder.path, name))
    log = store.get_run_log(RUN, strict=True)
    log.steps.pop("late")
    log.run_config = {}
    assert repr(log) == expected


def test_what_cannot_be_opened_beside_the_sealed_file_never_makes_sealing_drop_that(store, folder):
    finish(store)
    expected = repr(store.get_step_log(RUN, "half"))
    (name,) = [name for name in folder.files() if name.startswith("StepLog-half")]
    store.seal(RUN)
    os.mkdir(os.path.join(folder.path, name))
    store.add_step_log(RUN, step("late"))
    store.seal(RUN)
    assert name in {problem.file for problem in store.get_run_log(RUN).problems}
    os.rmdir(os.path.join(folder.path, name))
    assert repr(store.get_step_log(RUN, "half")) == expected


def test_an_update_is_never_applied_to_another_record_after_sealing(store, logs, folder):
    finish(store)
    store.seal(RUN)
    opened(logs).add_step_log(RUN, step("half", message="anew"))  # a newer record, which nobody has changed
    for change in (store.seal, store.unseal):
        assert store.get_step_log(RUN, "half").user_defined_metrics == {}
        change(RUN)
        assert store.get_run_log(RUN).steps["half"].user_defined_metrics == {}


# --- options ---------------------------------------------------------------------------------------------------------


def test_nothing_of_a_deleted_run_comes_back_when_it_is_sealed_by_its_name(store):
    finish(store)
    store.seal(RUN)
    store.delete_run(RUN)
    with pytest.raises(RunLogNotFoundError):
        store.seal(RUN)
    with pytest.raises(RunLogNotFoundError):
        list(store.iter_records(RUN))
