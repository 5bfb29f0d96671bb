"""A read says in time which files it will load, so that a back end can load many at once."""

from contextlib import contextmanager

import pytest

from chunkstore.backends import MemoryBackend
from chunkstore.names import RUN_FILE
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import FAIL, SUCCESS, BranchLog, StepLog
from chunkstore.stores.chunked import ChunkedStore


class _Noting:
    """A reader that notes what it is told to expect, and what is loaded then."""

    reads_ahead = True

    def __init__(self, reader, expected, loaded):
        self._reader = reader
        self._expected = expected
        self._loaded = loaded

    def expect(self, files):
        self._expected.extend(files)

    def load(self, file):
        data = self._reader.load(file)
        if file != RUN_FILE:
            self._loaded.append(file)
        return data

    def __getattr__(self, name):
        return getattr(self._reader, name)


class _AheadBackend(MemoryBackend):
    def __init__(self):
        super().__init__()
        self.expected = []
        self.loaded = []

    @contextmanager
    def reader(self, folder):
        with super().reader(folder) as reader:
            yield _Noting(reader, self.expected, self.loaded)


@pytest.fixture
def backend():
    return _AheadBackend()


@pytest.fixture
def store(backend):
    """A run with records, changes by others, repeated records, metrics and parameters."""
    store = ChunkedStore(backend)
    store.create_run_log("run", parameters={"seed": 1})
    store.add_branch_log("run", BranchLog(internal_name="map.a", status=SUCCESS))
    store.add_step_log("run", StepLog(name="map", internal_name="map", status=SUCCESS))
    for number in range(40):
        store.add_step_log("run", StepLog(name=f"step{number}", internal_name=f"step{number}", status=SUCCESS))
    store.append_metrics("run", "step7", {"loss": [MetricPoint(step=1, time="2024-01-01 00:00:00", value=0.5)]})
    other = store.anew()
    other.add_step_log("run", StepLog(name="step3", internal_name="step3", status=FAIL))

    def change(step):
        step.message = "seen"

    other.update_step_log("run", "step5", change)
    store.set_parameters("run", {"rate": 2}, "map.a")
    backend.expected.clear()
    backend.loaded.clear()
    return store


def _end(store):
    def change(log):
        log.status = SUCCESS

    store.update_run_log("run", change)


@pytest.mark.parametrize(
    "read",
    [
        lambda store: store.get_run_log("run"),
        lambda store: store.get_run_json("run"),
        lambda store: list(store.iter_records("run")),
        lambda store: store.find_problems("run"),
        lambda store: store.sum_up("run"),
        lambda store: next(store.follow("run")),
    ],
    ids=["whole", "json", "stream", "problems", "summary", "follow"],
)
def test_what_a_read_loads_was_announced_in_that_order(store, backend, read):
    read(store)
    loaded = list(dict.fromkeys(backend.loaded))
    assert [file for file in dict.fromkeys(backend.expected) if file in loaded] == loaded
    assert len(loaded) > 40


def test_what_is_inside_a_record_is_announced(store, backend):
    store.get_step_log("run", "map")
    assert [file.partition("-1")[0] for file in backend.expected] == ["BranchLog-map.a"]


def test_sealing_announces_what_it_packs(store, backend):
    _end(store)
    backend.expected.clear()
    backend.loaded.clear()
    count = store.seal("run")
    assert backend.expected == backend.loaded[:count]


def test_what_is_in_a_sealed_file_is_not_announced(store, backend):
    _end(store)
    store.seal("run")
    backend.expected.clear()
    store.get_run_log("run")
    list(store.iter_records("run"))
    assert backend.expected == []


def test_what_a_follower_knows_is_not_announced_again(store, backend):
    following = store.follow("run")
    next(following)
    backend.expected.clear()
    store.anew().add_step_log("run", StepLog(name="later", internal_name="later", status=SUCCESS))
    next(following)
    assert [file for file in backend.expected if file.startswith("StepLog-step1-")] == []
