"""Many processes at once: nothing acknowledged is lost, nothing is torn, each writer's order is kept."""

import multiprocessing
from collections import Counter
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import run_processes

import chunkstore
from chunkstore.errors import RunLogExistsError, StepLogNotFoundError
from chunkstore.records.models import StepLog

RUN = "run"
WRITERS = 3
SLOTS = st.integers(0, 2)
OPERATIONS = st.one_of(
    st.tuples(st.just("add"), SLOTS),
    st.tuples(st.just("update"), st.integers(0, WRITERS - 1), SLOTS),
    st.tuples(st.just("count")),
    st.tuples(st.just("set"), SLOTS),
    st.tuples(st.just("read")),
)
PROGRAMS = st.lists(st.lists(OPERATIONS, min_size=1, max_size=12), min_size=WRITERS, max_size=WRITERS)


def open_store(store_type, folder, **options):
    return chunkstore.open_store(store_type, log_folder=folder, **options)


def count(key):
    def change(step):
        step.user_defined_metrics[key] = step.user_defined_metrics.get(key, 0) + 1

    return change


class Writer:
    """Runs a program, and notes what was acknowledged."""

    def __init__(self, store, number):
        self.store = store
        self.number = number
        self.versions = {}
        self.updates = Counter()
        self.counted = 0
        self.parameters = {}

    def run(self, program):
        for turn, (operation, *arguments) in enumerate(program, start=1):
            getattr(self, operation)(turn, *arguments)
        self.read(0)
        return self.versions, self.updates, self.counted, self.parameters

    def add(self, turn, slot):
        name = f"w{self.number}-{slot}"
        metrics = {"version": turn, "copy": [turn] * 50}
        self.store.add_step_log(RUN, StepLog(name=name, internal_name=name, user_defined_metrics=metrics))
        self.versions[name] = turn

    def update(self, _turn, writer, slot):
        name = f"w{writer}-{slot}"
        try:
            self.store.update_step_log(RUN, name, count(f"by-{self.number}"))
        except StepLogNotFoundError:
            return
        self.updates[name] += 1

    def count(self, _turn):
        self.store.update_step_log(RUN, "shared", count("count"))
        self.counted += 1

    def set(self, turn, slot):
        key = f"key-{slot}"
        self.store.set_parameters(RUN, {key: [self.number, turn], f"{key}-{self.number}": turn})
        self.parameters[key] = turn

    def read(self, _turn):
        log = self.store.get_run_log(RUN, strict=True)
        for step in log.steps.values():
            metrics = step.user_defined_metrics
            assert metrics.get("copy", []) == [metrics.get("version")] * len(metrics.get("copy", []))
        mine = {name: step.user_defined_metrics for name, step in log.steps.items() if name in self.versions}
        assert list(mine) == list(self.versions)
        assert {name: metrics["version"] for name, metrics in mine.items()} == self.versions
        for name, updates in self.updates.items():
            assert log.steps[name].user_defined_metrics[f"by-{self.number}"] == updates
        assert log.steps["shared"].user_defined_metrics.get("count", 0) >= self.counted
        for key, turn in self.parameters.items():
            assert log.parameters[f"{key}-{self.number}"] == turn


def write_program(store, number, program):
    return Writer(store, number).run(program)


@pytest.mark.thorough
@pytest.mark.parametrize("store_type", ["chunked-fs", "file-system"])
@settings(max_examples=2 * settings().max_examples)
@given(programs=PROGRAMS)
def test_programs_at_once_end_as_some_serial_order_does(tmp_path_factory, store_type, programs):
    store = open_store(store_type, tmp_path_factory.mktemp("logs"))
    store.create_run_log(RUN)
    store.add_step_log(RUN, StepLog(name="shared", internal_name="shared"))
    results = run_processes(write_program, [(store, number, program) for number, program in enumerate(programs)])

    log = store.get_run_log(RUN, strict=True)
    assert not log.problems
    assert set(log.steps) == {"shared"}.union(*(versions for versions, *_ in results))
    counted = sum(result[2] for result in results)
    assert log.steps["shared"].user_defined_metrics.get("count", 0) == counted
    for number, (versions, updates, _, parameters) in enumerate(results):
        assert [name for name in log.steps if name.startswith(f"w{number}-")] == list(versions)
        for name, version in versions.items():
            assert log.steps[name].user_defined_metrics["version"] == version
        for name, times in updates.items():
            assert log.steps[name].user_defined_metrics[f"by-{number}"] == times
        for key, turn in parameters.items():
            assert log.parameters[f"{key}-{number}"] == turn
            last_writer, last_turn = log.parameters[key]
            assert results[last_writer][3][key] == last_turn


def set_parameters(store, number, times):
    for turn in range(times):
        store.set_parameters(RUN, {f"{number}-{turn}": turn})


def update_counter(store, times):
    for _ in range(times):
        store.update_step_log(RUN, "shared", count("count"))


def create_runs(store, number, runs):
    won = []
    for run in range(runs):
        try:
            store.create_run_log(f"run-{run}", tag=str(number))
        except RunLogExistsError:
            continue
        won.append(run)
    return won


@pytest.fixture(params=["chunked-fs", "file-system"])
def store(request, tmp_path):
    store = open_store(request.param, tmp_path / "parent" / "logs")
    store.create_run_log(RUN)
    store.add_step_log(RUN, StepLog(name="shared", internal_name="shared"))
    return store


def test_parameters_set_at_once_are_all_there(store):
    run_processes(set_parameters, [(store, number, 25) for number in range(8)])
    assert store.get_parameters(RUN) == {f"{number}-{turn}": turn for number in range(8) for turn in range(25)}


def test_counting_at_once_is_exact(store):
    run_processes(update_counter, [(store, 50)] * 8)
    assert store.get_step_log(RUN, "shared").user_defined_metrics == {"count": 400}


def change_run(store, times):
    def change(log):
        log.run_config["count"] = log.run_config.get("count", 0) + 1

    for _ in range(times):
        store.update_run_log(RUN, change)


def test_those_who_change_the_run_at_once_lose_nothing(store):
    run_processes(change_run, [(store, 50)] * 4)
    assert store.get_run_log(RUN).run_config["count"] == 200


def test_counting_beside_an_owner_that_goes_on_writing_is_exact(store):
    def own(turns):
        for turn in range(turns):
            store.add_step_log(RUN, StepLog(name="mine", internal_name="mine", user_defined_metrics={"turn": turn}))

    def foreign(times):
        for _ in range(times):
            while True:
                try:
                    store.update_step_log(RUN, "mine", count("count"))
                except StepLogNotFoundError:
                    continue
                break

    run_processes(lambda work, times: work(times), [(own, 200), (foreign, 50), (foreign, 50)])
    assert store.get_step_log(RUN, "mine").user_defined_metrics == {"turn": 199, "count": 100}


@pytest.mark.parametrize("store_type", ["chunked-fs", "file-system"])
def test_each_run_created_at_once_has_one_creator(tmp_path, store_type):
    stores = [open_store(store_type, tmp_path / "new" / "logs") for _ in range(4)]
    won = run_processes(create_runs, [(store, number, 30) for number, store in enumerate(stores)])
    assert sorted(run for runs in won for run in runs) == list(range(30))
    for number, runs in enumerate(won):
        for run in runs:
            assert stores[0].get_run_log(f"run-{run}").tag == str(number)


def test_spawned_processes_get_the_store_through_pickle(store):
    run_processes(set_parameters, [(store, number, 5) for number in range(2)], method="spawn")
    assert len(store.get_parameters(RUN)) == 10


def read_while(store, acknowledged, stop):
    """Read over and over; whatever was acknowledged before a read began must be in it, whole."""
    reads = 0
    while True:
        last = stop.is_set()
        before = [counter.value for counter in acknowledged]
        log = store.get_run_log(RUN, strict=True)
        for number, turns in enumerate(before):
            own = {name: step for name, step in log.steps.items() if name.startswith(f"w{number}-")}
            assert list(own) == [f"w{number}-{turn}" for turn in range(len(own))]
            assert len(own) >= turns
            for turn in range(turns):
                step = own[f"w{number}-{turn}"]
                assert step.status == "SUCCESS"
                assert step.user_defined_metrics == {"copy": [turn] * 200}
        reads += 1
        if last and reads > 3:
            return reads


def write_while(store, number, turns, *, acknowledged, stop, running):
    for turn in range(turns):
        name = f"w{number}-{turn}"
        metrics = {"copy": [turn] * 200}
        for status in ("PROCESSING", "SUCCESS"):
            step = StepLog(name=name, internal_name=name, status=status, user_defined_metrics=metrics)
            store.add_step_log(RUN, step)
        acknowledged[number].value = turn + 1
    with running.get_lock():
        running.value -= 1
        if running.value == 0:
            stop.set()


@pytest.mark.parametrize("store_type", ["chunked-fs", "file-system"])
def test_readers_never_fail_and_never_miss_what_was_acknowledged(tmp_path, store_type):
    context = multiprocessing.get_context("fork")
    store = open_store(store_type, tmp_path / "logs")
    store.create_run_log(RUN)
    acknowledged = [context.Value("i", 0) for _ in range(2)]
    stop, running = context.Event(), context.Value("i", 2)
    turns = 500 if store_type == "chunked-fs" else 40
    arguments = [
        (partial(write_while, acknowledged=acknowledged, stop=stop, running=running), (store, number, turns))
        for number in range(2)
    ]
    arguments += [(read_while, (store, acknowledged, stop))] * 2
    *_, reads, more_reads = run_processes(lambda work, each: work(*each), arguments)
    assert reads > 3
    assert more_reads > 3
    assert len(store.get_run_log(RUN).steps) == 2 * turns
