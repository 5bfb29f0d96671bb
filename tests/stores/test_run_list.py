"""The list of runs: the newest first, without reading more of them than are asked for."""

import itertools
import os
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chunkstore
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.clock import format_time
from chunkstore.records.summaries import RunSummary
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.runs.run_list import newest_first
from chunkstore.testing.faults import CountingSyscalls

BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)


def started_at(second):
    return "" if second is None else format_time(BEGIN + timedelta(seconds=second))


@given(
    runs=st.dictionaries(
        st.text("ab", min_size=1, max_size=9), st.tuples(st.none() | st.integers(0, 9), st.integers(0, 9)), max_size=99
    )
)
def test_whenever_runs_were_changed_last_they_come_in_the_order_of_their_starts(monkeypatch, runs):
    monkeypatch.setattr("chunkstore.stores.runs.run_list._FIRST_READ", 1)
    summaries = {run_id: RunSummary(run_id=run_id, start_time=started_at(start)) for run_id, (start, _) in runs.items()}
    changed = [
        (int((BEGIN + timedelta(seconds=(start or 0) + later)).timestamp()) * 10**9, run_id)
        for run_id, (start, later) in runs.items()
    ]
    expected = sorted(summaries.values(), key=lambda summary: summary.run_id)
    expected.sort(key=lambda summary: summary.start_time, reverse=True)
    assert list(newest_first(changed, summaries.get)) == expected


def test_of_many_runs_only_the_newest_are_read_if_only_they_are_asked_for(tmp_path):
    syscalls = CountingSyscalls()
    store = ChunkedStore(DirectoryBackend(tmp_path, syscalls=syscalls))
    for number in range(300):
        log = store.create_run_log(f"run-{number:03}")
        moment = datetime.fromisoformat(log.notes["created"]).timestamp() - 3_600 * (300 - number)
        store.update_run_log(
            log.run_id, lambda log, at=moment: log.run_config["chunkstore"].update(created=text_of(at))
        )
        os.utime(tmp_path / log.run_id, (moment + 60, moment + 60))
    syscalls.clear()
    newest = [summary.run_id for summary in itertools.islice(store.list_runs(), 3)]
    assert newest == ["run-299", "run-298", "run-297"]
    assert sum(call.target.endswith("RunLog.json") for call in syscalls.calls if call.name == "open") < 50
    assert [summary.run_id for summary in store.list_runs()] == [f"run-{number:03}" for number in reversed(range(300))]


def text_of(seconds):
    return format_time(datetime.fromtimestamp(seconds, timezone.utc))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("elsewhere.json", path)])
def test_what_stands_in_the_place_of_a_record_is_not_opened_to_list_it(tmp_path, make):
    chunkstore.open_store("chunked-fs", log_folder=tmp_path).create_run_log("good")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "elsewhere.json").write_bytes((tmp_path / "good" / "RunLog.json").read_bytes())
    make(tmp_path / "odd" / "RunLog.json")
    syscalls = CountingSyscalls()
    store = ChunkedStore(DirectoryBackend(tmp_path, syscalls=syscalls))
    assert {summary.run_id: bool(summary.problem) for summary in store.list_runs()} == {"good": False, "odd": True}
    opened = [call.target for call in syscalls.calls if call.name in {"open", "create"}]
    assert not [target for target in opened if target.endswith("odd/RunLog.json")]
