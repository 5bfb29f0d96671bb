"""Any bit of a file may have changed, and its end be missing: that is reported and hides nothing else."""

import os

import pytest
from outcomes import error_of
from recorded import step

import chunkstore
from chunkstore import CorruptChunkError, MetricPoint
from chunkstore.records.integrity import LENGTH
from chunkstore.testing.suite_runs import CALLS_ON_A_RUN
from proofs.bad_bytes.whole_runs import (
    HELD,
    RUN,
    check_the_rest,
    contents,
    file_of,
    make_run,
    open_chunked,
    open_documents,
    read,
)


def flips(data, *, every_bit=True):
    """Yield the bytes with each bit flipped, or with one bit of each byte."""
    for place in range(len(data)):
        for bit in range(8) if every_bit else (place % 8,):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            yield bytes(changed)


@pytest.mark.parametrize("start", HELD)
def test_any_flipped_bit_of_any_file_is_reported_and_hides_nothing_else(memory, start):
    folder = make_run(memory / "logs")
    whole, file = contents(read(folder)), file_of(folder, start)
    for changed in flips(file.read_bytes()):
        file.write_bytes(changed)
        log = read(folder)
        assert {problem.file for problem in log.problems if problem.kind != "orphan"} == {file.name}, changed
        check_the_rest(log, whole, HELD[start])


#: What looks at single records.
CALLS = {
    "RunLog.json": [
        lambda store: store.update_run_log(RUN, lambda log: setattr(log, "tag", "new")),
        lambda store: store.add_step_log(RUN, step("new")),
        lambda store: store.set_parameters(RUN, {"new": 1}),
    ],
    "StepLog-map-": [
        lambda store: store.get_step_log(RUN, "map"),
        lambda store: store.update_step_log(RUN, "map", lambda found: setattr(found, "status", "SUCCESS")),
    ],
    "BranchLog-map.a-": [
        lambda store: store.get_branch_log(RUN, "map.a"),
        lambda store: store.update_branch_log(RUN, "map.a", lambda found: setattr(found, "status", "FAIL")),
    ],
    "StepUpdate-map-": [
        lambda store: store.update_step_log(RUN, "map", lambda found: setattr(found, "status", "SUCCESS")),
    ],
    "BranchUpdate-map.a-": [
        lambda store: store.update_branch_log(RUN, "map.a", lambda found: setattr(found, "status", "FAIL")),
    ],
    "Parameter-root.json": [
        lambda store: store.get_parameters(RUN),
        lambda store: store.set_parameters(RUN, {"new": 1}),
        lambda store: store.set_parameters(RUN, {"new": 1}, overwrite=False),
    ],
    "Parameter-map.a.json": [
        lambda store: store.get_parameters(RUN, "map.a"),
        lambda store: store.set_parameters(RUN, {"new": 1}, "map.a"),
    ],
}


@pytest.mark.parametrize("start", CALLS)
def test_a_changed_file_is_never_taken_for_a_record_and_never_written_over(memory, start):
    folder = make_run(memory / "logs")
    file = file_of(folder, start)
    names = sorted(os.listdir(folder))
    for changed in flips(file.read_bytes(), every_bit=False):
        file.write_bytes(changed)
        for call in CALLS[start]:
            with pytest.raises(CorruptChunkError, match=start.rstrip("-")):
                call(open_chunked(folder.parent))
        with pytest.raises(CorruptChunkError, match=start.rstrip("-")):
            open_chunked(folder.parent).get_run_log(RUN, strict=True)
        assert file.read_bytes() == changed
    assert sorted(os.listdir(folder)) == names


@pytest.mark.parametrize("start", HELD)
def test_a_file_that_was_cut_off_anywhere_hides_nothing_else(memory, start):
    folder = make_run(memory / "logs")
    whole, file = contents(read(folder)), file_of(folder, start)
    data = file.read_bytes()
    for length in range(len(data)):
        file.write_bytes(data[:length])
        log = read(folder)
        check_the_rest(log, whole, HELD[start])
        if start.startswith("Metric"):  # a line without its end was never acknowledged
            lines = data[:length].count(b"\n")
            points = dict(contents(log)["step", "map"].metric_series or {}).get("loss", [])
            assert points == [MetricPoint(1, 0.5), MetricPoint(2, 0.25)][:lines]
        elif length < len(data) - LENGTH:
            assert {problem.file for problem in log.problems if problem.kind != "orphan"} == {file.name}
        else:  # only of the checksum is something missing
            assert contents(log) == whole or log.problems


@pytest.mark.thorough
@pytest.mark.parametrize("cut", [False, True], ids=["flipped", "cut off"])
@pytest.mark.parametrize("start", [start for start in HELD if not start.startswith("Metric")])  # those are never pretty
def test_a_pretty_file_that_is_damaged_hides_nothing_else(memory, start, cut):
    folder = make_run(memory / "logs", pretty=True)
    whole, file = contents(read(folder)), file_of(folder, start)
    data = file.read_bytes()
    for changed in (data[:length] for length in range(len(data))) if cut else flips(data):
        file.write_bytes(changed)
        store = open_chunked(folder.parent)
        log = store.get_run_log(RUN)
        assert {problem.file for problem in log.problems if problem.kind != "orphan"} <= {file.name, *over(file)}
        check_the_rest(log, whole, HELD[start])
        if changed[-1:] != b"}":
            assert log.problems, changed
        for call in (store.get_step_log, store.get_branch_log, store.get_parameters):
            arguments = (RUN,) if call == store.get_parameters else (RUN, "map" if "step" in call.__name__ else "map.a")
            try:
                call(*arguments)
            except (CorruptChunkError, chunkstore.StepLogNotFoundError, chunkstore.BranchLogNotFoundError):
                pass  # without a checksum, a changed name is another name
        assert store.get_step_log(RUN, "good") == whole["step", "good"]


def over(file):
    """Return the files that a change lies over: such a change may make no record of them."""
    if "Update-" not in file.name:
        return []
    return [file.name.replace("Update-", "Log-")]


def test_any_flipped_bit_of_a_document_is_an_error_that_names_it(memory):
    make_run(memory, "file-system")
    open_documents(memory).create_run_log("other")
    file = memory / f"{RUN}.json"
    for number, changed in enumerate(flips(file.read_bytes())):
        file.write_bytes(changed)
        store = open_documents(memory)
        with pytest.raises(CorruptChunkError, match=r"run\.json"):
            store.get_run_log(RUN)
        if number % 64 == 0:
            for name in ("get parameters", "set parameters", "get step", "add step", "update"):
                with pytest.raises(CorruptChunkError, match=r"run\.json"):
                    CALLS_ON_A_RUN[name](store, RUN)
            assert {run.run_id: bool(run.problem) for run in store.list_runs()} == {RUN: True, "other": False}
            assert file.read_bytes() == changed


@pytest.mark.parametrize("pretty", [False, True])
def test_a_document_that_was_cut_off_is_an_error_that_names_it_or_means_the_same(memory, pretty):
    make_run(memory, "file-system", pretty=pretty)
    file = memory / f"{RUN}.json"
    data, whole = file.read_bytes(), open_documents(memory).get_run_log(RUN)
    for length in range(len(data)):
        file.write_bytes(data[:length])
        error = error_of(open_documents(memory).get_run_log, RUN, kinds=CorruptChunkError)
        if error is None:
            assert open_documents(memory).get_run_log(RUN) == whole
            assert not pretty
            assert length >= len(data) - LENGTH
        else:
            assert error.file == file.name


@pytest.mark.thorough
def test_a_pretty_document_with_a_flipped_bit_is_a_run_or_an_error_that_names_it(memory):
    make_run(memory, "file-system", pretty=True)
    file = memory / f"{RUN}.json"
    for changed in flips(file.read_bytes()):
        file.write_bytes(changed)
        error = error_of(open_documents(memory).get_run_json, RUN, kinds=CorruptChunkError)
        assert error is None or error.file == file.name
