"""What one host has acknowledged the other finds with the next call that looks, whatever it has seen before."""

import pytest

from chunkstore import MetricPoint, RunLogExistsError, RunLogNotFoundError
from nfs.stores import KINDS, RUN, opened, step

_stores = pytest.mark.parametrize("kind", KINDS)


@_stores
def test_each_change_is_in_the_next_read_on_the_other_host(folders, kind):
    writer, reader = opened(folders[0], kind), opened(folders[1], kind)
    writer.create_run_log(RUN)
    for number in range(6):
        name = f"s{number}"
        assert not reader.has_step_log(RUN, name)
        assert f"p{number}" not in reader.get_parameters(RUN)
        writer.add_step_log(RUN, step(name, status="PROCESSING"))
        assert reader.get_step_log(RUN, name).status == "PROCESSING"
        writer.add_step_log(RUN, step(name, status="SUCCESS"))
        assert reader.get_step_log(RUN, name).status == "SUCCESS"
        reader.update_step_log(RUN, name, lambda found: setattr(found, "message", "read"))
        assert writer.get_step_log(RUN, name).message == "read"
        writer.append_metrics(RUN, "s0", {"loss": [MetricPoint(number, number)]})
        assert len(reader.get_step_log(RUN, "s0").metric_series["loss"]) == number + 1
        writer.set_parameters(RUN, {f"p{number}": 1})
        assert f"p{number}" in reader.get_parameters(RUN)
        writer.update_run_log(RUN, lambda log, name=name: setattr(log, "tag", name))
        log = reader.get_run_log(RUN, strict=True)
        assert (log.tag, len(log.steps), len(log.parameters)) == (name, number + 1, number + 1)


@_stores
def test_a_run_that_is_deleted_and_made_anew_is_the_new_one_on_the_other_host(folders, kind):
    first, second = opened(folders[0], kind), opened(folders[1], kind)
    for turn in range(8):
        maker, user = (first, second) if turn % 2 else (second, first)
        maker.create_run_log(RUN, tag=str(turn), parameters={"turn": turn})
        user.add_step_log(RUN, step(f"of {turn}"))
        user.update_step_log(RUN, f"of {turn}", lambda found: setattr(found, "message", "changed"))
        for store in (maker, user):
            log = store.get_run_log(RUN, strict=True)
            assert (log.tag, list(log.steps), log.parameters) == (str(turn), [f"of {turn}"], {"turn": turn})
        user.delete_run(RUN)
        for store in (maker, user):
            assert not store.has_run(RUN)
            with pytest.raises(RunLogNotFoundError):
                store.add_step_log(RUN, step("too late"))


@_stores
def test_runs_come_and_go_in_the_list_of_the_other_host(folders, kind):
    first, second = opened(folders[0], kind), opened(folders[1], kind)
    there = set()
    for number in range(6):
        first.create_run_log(f"run-{number}")
        there.add(f"run-{number}")
        assert {run.run_id for run in second.list_runs()} == there
        with pytest.raises(RunLogExistsError):
            second.create_run_log(f"run-{number}")
        first.update_run_log(f"run-{number}", lambda log: setattr(log, "status", "FAIL"))
        assert {run.status for run in second.list_runs()} == {"FAIL"}
        if number % 2:
            first.delete_run(f"run-{number - 1}")
            there.remove(f"run-{number - 1}")
            assert {run.run_id for run in second.list_runs()} == there
