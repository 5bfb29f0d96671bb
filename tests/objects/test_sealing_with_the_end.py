"""A run in a bucket is sealed with its end: stopped anywhere, and whatever others do meanwhile, nothing is lost."""

import pytest
from recorded import step
from request_counts import opened

from chunkstore.backends.objects.backend import ObjectBackend
from chunkstore.names import is_sealed_file
from chunkstore.records.models import PROCESSING, SUCCESS

RUN = "run"


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture
def place(memory_place):
    return memory_place


def files(place):
    with opened(place).backend.reader(RUN) as reader:
        return reader.names()


def finish(place, monkeypatch, stopped_at):
    """Record a run, and be stopped as it ends; return what was recorded."""
    store = opened(place)
    run = store.start_run(RUN, parameters={"seed": 1})
    for number in range(5):
        with run.step(f"step{number}"):
            pass
    store.set_parameters(RUN, {"rate": 2})
    before = opened(place).get_run_log(RUN)

    def stop(*_arguments, **_options):
        raise Killed

    def remove_some(backend, folder, names):
        for name in list(names)[:3]:
            backend.remove_left_over(folder, name)
        raise Killed

    with monkeypatch.context() as patched:
        if stopped_at == "the note":
            patched.setattr(ObjectBackend, "put_if_unchanged", stop)
        else:
            patched.setattr(ObjectBackend, "remove_all", stop if stopped_at == "removing" else remove_some)
        with pytest.raises(Killed):
            run.finish()
    return before


@pytest.mark.parametrize("stopped_at", ["the note", "removing", "in the middle of removing"])
def test_who_is_killed_while_a_run_is_sealed_loses_nothing_of_it(place, monkeypatch, stopped_at):
    before = finish(place, monkeypatch, stopped_at)
    log = opened(place).get_run_log(RUN)
    assert (log.steps, log.parameters, log.problems) == (before.steps, before.parameters, [])
    assert log.status == (PROCESSING if stopped_at == "the note" else SUCCESS)
    again = opened(place)
    again.update_run_log(RUN, lambda log: setattr(log, "status", SUCCESS))
    again.seal(RUN)
    log = opened(place).get_run_log(RUN)
    assert (log.steps, log.parameters, log.problems) == (before.steps, before.parameters, [])
    assert len([name for name in files(place) if is_sealed_file(name)]) == 1
    assert not [name for name in files(place) if name.startswith("StepLog-")]


def test_what_may_still_be_replaced_stays_and_is_replaced(place):
    """A branch that nobody waits for goes on to write; so do those who change parameters and records."""
    store = opened(place)
    run = store.start_run(RUN, parameters={"seed": 1})
    with run.step("ended"):
        pass
    store.set_parameters(RUN, {"rate": 1})
    opened(place).update_step_log(RUN, "ended", lambda log: setattr(log, "message", "seen"))
    store.add_step_log(RUN, step("late", status=PROCESSING))
    run.finish(SUCCESS)
    store.add_step_log(RUN, step("late", status=SUCCESS, message="after the end"))
    other = opened(place)
    other.set_parameters(RUN, {"rate": 2})
    other.update_step_log(RUN, "ended", lambda log: setattr(log, "message", "seen again"))
    log = opened(place).get_run_log(RUN)
    assert log.steps["late"].message == "still ran when the run ended; it ended later: SUCCESS"
    assert log.steps["ended"].message == "seen again"
    assert log.parameters == {"seed": 1, "rate": 2}
    assert log.problems == []
    other.seal(RUN)
    sealed = opened(place).get_run_log(RUN)
    assert (sealed.steps, sealed.parameters, sealed.problems) == (log.steps, log.parameters, [])


def test_what_is_replaced_while_a_run_is_sealed_is_not_removed(place, monkeypatch):
    store = opened(place)
    run = store.start_run(RUN)
    store.set_parameters(RUN, {"rate": 1})
    with run.step("ended"):
        pass
    remove_all = ObjectBackend.remove_all

    def change_and_remove(backend, folder, names):
        opened(place).set_parameters(RUN, {"rate": 2})
        remove_all(backend, folder, names)

    with monkeypatch.context() as patched:
        patched.setattr(ObjectBackend, "remove_all", change_and_remove)
        run.finish()
    assert opened(place).get_run_log(RUN).parameters == {"rate": 2}


def test_a_run_that_is_taken_up_again_ends_once_more(place):
    store = opened(place)
    with store.start_run(RUN) as run, run.step("first"):
        pass
    with opened(place).join_run(RUN) as joined:
        with joined.step("second"):
            pass
        joined.finish()
    log = opened(place).get_run_log(RUN)
    assert list(log.steps) == ["first", "second"]
    assert (log.status, log.problems) == (SUCCESS, [])
    assert not [name for name in files(place) if name.startswith("StepLog-")]
