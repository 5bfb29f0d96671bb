"""A changed file is noticed, whichever bit of it has changed, and JSON tools notice nothing of how."""

import errno
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chunkstore
from chunkstore import BranchLog, CorruptChunkError, MetricPoint, StepLog, StoreIOError
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.records.integrity import LENGTH, with_checksum, without_checksum
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.testing.faults import FaultySyscalls

RUN = "run"


@pytest.fixture
def folder(tmp_path):
    """A run with one file of each kind."""
    store = chunkstore.open_store("chunked-fs", log_folder=tmp_path / "logs")
    store.create_run_log(RUN, tag="nightly", parameters={"rate": 0.125})
    store.add_step_log(RUN, StepLog(name="map", internal_name="map", message="12 of 12"))
    store.add_branch_log(RUN, BranchLog(internal_name="map.a"))
    store.append_metrics(RUN, "map", {"loss": [MetricPoint(1, 0.5, "")]})
    other = chunkstore.open_store("chunked-fs", log_folder=tmp_path / "logs")
    for each in (store, other):
        each.update_step_log(RUN, "map", lambda step: setattr(step, "message", "13 of 13"))
    return tmp_path / "logs" / RUN


def read(folder):
    return chunkstore.open_store("chunked-fs", log_folder=folder.parent).get_run_log(RUN)


KINDS = ["RunLog.json", "StepLog-*", "BranchLog-*", "StepUpdate-*", "Parameter-*", "Metric-*"]


@pytest.mark.sampled
@pytest.mark.parametrize("pattern", KINDS)
def test_any_flipped_bit_is_reported_and_hides_nothing_else(folder, pattern):
    (file,) = folder.glob(pattern)
    whole = file.read_bytes()
    for place in range(0, len(whole), 3):
        for bit in range(8):
            changed = bytearray(whole)
            changed[place] ^= 1 << bit
            file.write_bytes(changed)
            log = read(folder)
            assert [problem.file for problem in log.problems if problem.kind == "corrupt"] == [file.name], (place, bit)


@pytest.mark.parametrize("pattern", KINDS)
def test_a_file_that_was_cut_off_is_reported_or_means_the_same(folder, pattern):
    (file,) = folder.glob(pattern)
    whole, complete = file.read_bytes(), read(folder)
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        log = read(folder)
        # A line without its line break was never acknowledged; of other files, only the checksum may be missing.
        if not log.problems and not pattern.startswith("Metric"):
            assert length >= len(whole) - LENGTH
            assert log == complete


def test_a_damaged_line_of_metrics_is_reported_and_hides_no_other(folder):
    store = chunkstore.open_store("chunked-fs", log_folder=folder.parent)
    for number in range(3):
        store.append_metrics(RUN, "map", {"acc": [MetricPoint(number, number, "")]})
    file = max(folder.glob("Metric-*"))
    lines = file.read_bytes().splitlines(keepends=True)
    lines[0] = lines[0].replace(b"acc", b"bad")
    file.write_bytes(b"".join(lines))
    log = read(folder)
    assert [point.step for point in log.steps["map"].metric_series["acc"]] == [1, 2]
    assert [problem.file for problem in log.problems] == [file.name]


def test_plain_json_tools_read_every_file(folder):
    for pattern in KINDS:
        (file,) = folder.glob(pattern)
        for line in file.read_text().splitlines():
            assert line.endswith((" ", "\t")), file
            assert isinstance(json.loads(line), dict)


def test_files_without_a_checksum_are_read(folder):
    complete = read(folder)
    for pattern in KINDS[:-1]:
        (file,) = folder.glob(pattern)
        file.write_text(json.dumps(json.loads(file.read_text()), indent=2) + "\n")
    assert read(folder) == complete


def test_a_pretty_file_is_json_and_nothing_else(tmp_path):
    store = chunkstore.open_store("chunked-fs", log_folder=tmp_path / "logs", pretty=True)
    store.create_run_log(RUN)
    assert (tmp_path / "logs" / RUN / "RunLog.json").read_bytes().endswith(b"\n}")


def test_a_changed_document_is_an_error_that_names_it(tmp_path):
    store = chunkstore.open_store("file-system", log_folder=tmp_path / "logs")
    store.create_run_log(RUN, tag="nightly")
    file = tmp_path / "logs" / "run.json"
    file.write_bytes(file.read_bytes().replace(b"nightly", b"lightly"))
    with pytest.raises(CorruptChunkError, match=r"run\.json.*checksum"):
        store.get_run_log(RUN)


@given(st.binary())
def test_bytes_come_back_as_they_were(data):
    assert without_checksum(with_checksum(data), "file") == data


@given(st.binary().filter(lambda data: data[-LENGTH:-1].strip(b" \t\r") or len(data) < LENGTH))
def test_bytes_that_end_in_no_checksum_are_left_alone(data):
    assert without_checksum(data, "file") == data


def test_a_line_of_metrics_that_was_cut_off_is_no_damage(folder):
    """It was not acknowledged."""
    store = chunkstore.open_store("chunked-fs", log_folder=folder.parent)
    for number in range(2):
        store.append_metrics(RUN, "map", {"acc": [MetricPoint(number, number, "")]})
    file = max(folder.glob("Metric-*"))
    whole = file.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(first, len(whole)):
        file.write_bytes(whole[:length])
        log = read(folder)
        assert log.problems == []
        # All that is missing at last may be the line break.
        steps = [point.step for point in log.steps["map"].metric_series["acc"]]
        assert steps == [0] if length < len(whole) - 1 else [0, 1]


def test_points_that_follow_a_failed_append_are_not_written_behind_what_it_left(folder):
    # What was written of a line cannot be taken back either.
    syscalls = FaultySyscalls(errno.EIO, only=("write", "truncate"), short_writes=True, persistent=True)
    store = ChunkedStore(DirectoryBackend(folder.parent, syscalls=syscalls))

    def log(number):
        store.append_metrics(RUN, "map", {"acc": [MetricPoint(number, number, "")]})

    log(1)
    syscalls.counted, syscalls._at = 0, 5  # four bytes of the line are in the file by then
    with pytest.raises(StoreIOError):
        log(2)
    syscalls.heal()
    log(3)
    log(4)
    found = read(folder)
    assert [point.step for point in found.steps["map"].metric_series["acc"]] == [1, 3, 4]
    assert found.problems == []
