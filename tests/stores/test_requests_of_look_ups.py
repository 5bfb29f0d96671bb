"""Looking up a record where each look is a request costs a few of them, however long the run is."""

import pytest
from recorded import step
from remote import RemoteMemory

from chunkstore.errors import StepLogNotFoundError
from chunkstore.records.models import SUCCESS, StepLog
from chunkstore.stores.chunked import ChunkedStore

MANY = 10_000


@pytest.fixture(params=[10, MANY], ids=["few chunks", "many chunks"])
def backend(request):
    backend = RemoteMemory()
    ChunkedStore(backend).create_run_log("run")
    for number in range(request.param):
        name = f"step{number:05}"
        backend.publish("run", f"StepLog-{name}-{number + 1}.json", step(name).to_json().encode())
    return backend


def test_a_step_that_is_looked_up_takes_no_listing_of_the_whole_run(backend):
    store = ChunkedStore(backend)
    requests = backend.counted(lambda: store.get_step_log("run", "step00007", full=False))
    assert requests["list"] <= 4
    assert requests["get"] <= 2


def test_a_step_with_all_inside_it_takes_no_more(backend):
    store = ChunkedStore(backend)
    requests = backend.counted(lambda: store.get_step_log("run", "step00007"))
    assert requests["list"] <= 6
    assert requests["get"] <= 2


def test_a_step_that_is_not_there_takes_no_more(backend):
    store = ChunkedStore(backend)

    def look():
        with pytest.raises(StepLogNotFoundError):
            store.get_step_log("run", "nothing")

    assert sum(backend.counted(look).values()) <= 6


def test_a_change_of_what_another_has_recorded_takes_no_more(backend):
    ChunkedStore(backend).add_step_log("run", StepLog(name="own", internal_name="own", status=SUCCESS))
    store = ChunkedStore(backend)
    requests = backend.counted(lambda: store.update_step_log("run", "own", lambda log: setattr(log, "message", "new")))
    assert requests["list"] <= 4
