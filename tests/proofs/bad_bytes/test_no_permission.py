"""What may not be read is reported, and hides nothing else."""

import pytest
from outcomes import error_of
from restricted import as_user

from chunkstore import CorruptChunkError
from chunkstore.errors import StoreAccessError
from chunkstore.testing.suite_runs import CALLS_ON_A_RUN
from proofs.bad_bytes.whole_runs import (
    OPEN,
    PLACES,
    RUN,
    check_the_rest,
    contents,
    make_run,
    open_chunked,
    open_documents,
    read,
)


@pytest.mark.parametrize("name", PLACES)
def test_a_file_without_permission_is_reported_and_hides_nothing(memory, name):
    folder = make_run(memory / "logs")
    whole = contents(read(folder))
    if "evil" in name or not (folder / name).exists():
        (folder / name).write_bytes(b"{}")
    (folder / name).chmod(0)
    held, looked_at = PLACES[name]

    def work():
        store = open_chunked(folder.parent)
        log = store.get_run_log(RUN)
        check_the_rest(log, whole, held)
        found = [(problem.kind, problem.file, problem.message) for problem in log.problems]
        assert found == ([("unreadable", name, "permission denied")] if looked_at else [])
        assert store.get_step_log(RUN, "good") == whole["step", "good"]
        assert [bool(summary.problem) for summary in store.list_runs()] == [name == "RunLog.json"]

    assert as_user(work)


#: What needs more than these permissions on a run's folder, for one who may not write.
NEEDING = {
    0o000: set(CALLS_ON_A_RUN),
    0o444: set(CALLS_ON_A_RUN) - {"get", "get metadata", "sync"},
    0o111: set(CALLS_ON_A_RUN),
}


@pytest.mark.parametrize("mode", NEEDING)
def test_a_run_folder_without_permission_is_an_error_or_a_problem_and_hides_no_other_run(memory, mode):
    folder = make_run(memory / "logs")
    open_chunked(memory / "logs").create_run_log("good")
    folder.chmod(mode)

    def work():
        store = open_chunked(memory / "logs")
        for name, call in CALLS_ON_A_RUN.items():
            error = error_of(call, store, RUN, kinds=(StoreAccessError, CorruptChunkError))
            assert error is None or "permission denied" in str(error).lower(), name
            assert error is not None or name not in NEEDING[mode], name
        summaries = {summary.run_id: bool(summary.problem) for summary in store.list_runs()}
        # With the permission to go into a folder, a file in it is read by its name.
        assert summaries == {"good": False, RUN: mode != 0o111}

    assert as_user(work)


@pytest.mark.parametrize("store_type", OPEN)
def test_a_log_folder_without_permission_is_an_error_that_says_so(memory, store_type):
    make_run(memory / "logs", store_type)
    (memory / "logs").chmod(0)

    def work():
        store = OPEN[store_type](memory / "logs")
        for name, call in {**CALLS_ON_A_RUN, "list": lambda store, _: list(store.list_runs())}.items():
            with pytest.raises((StoreAccessError, CorruptChunkError), match="ermission denied"):
                call(store, RUN)
            assert name

    assert as_user(work)


def test_a_document_without_permission_is_reported_and_hides_no_other_run(memory):
    make_run(memory, "file-system")
    open_documents(memory).create_run_log("good")
    (memory / f"{RUN}.json").chmod(0)

    def work():
        store = open_documents(memory)
        with pytest.raises(CorruptChunkError, match="permission denied"):
            store.get_run_log(RUN)
        summaries = {summary.run_id: summary.problem for summary in store.list_runs()}
        assert summaries["good"] == ""
        assert "permission denied" in summaries[RUN]
        assert store.get_run_log("good").problems == []

    assert as_user(work)
