"""What of a sealed file can be read when it was damaged, and that it is never removed then."""

import itertools
import json
import os
import shutil

import pytest
from msgspec import UNSET

from chunkstore.errors import ChunkstoreError, CorruptChunkError, StepLogNotFoundError
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import StepLog
from stores.sealing.sealed_runs import RUN, finish, opened, state, step


@pytest.fixture
def small(logs, folder):
    """A store with a small run that is sealed, and the bytes of its sealed file."""
    store = opened(logs)
    store.create_run_log(RUN, parameters={"a": 1})
    for name in ("a", "a-b", "b"):
        store.add_step_log(RUN, StepLog(name=name, internal_name=name))
    store.append_metrics(RUN, "b", {"m": [MetricPoint(1, 1)]})
    store.append_metrics(RUN, "b", {"m": [MetricPoint(2, 2)]})
    finish(store)
    store.seal(RUN)
    return store, folder.sealed()[0]


def parts_of(log):
    """Return what a log holds, in parts of which each is in a line of its own."""
    parts = {}
    for name, found in log.steps.items():
        for points in (found.metric_series or {}).values():
            parts.update({("point", name, point.step): repr(point) for point in points})
        found.metric_series = UNSET
        parts["step", name] = repr(found)
    parts.update({("parameter", key): repr(value) for key, value in log.parameters.items()})
    return parts


def damages(data, bits):
    for place in range(len(data)):
        for bit in bits:
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            yield f"bit {bit} of byte {place}", bytes(changed), 1
    for length in range(len(data)):
        yield f"cut off after {length}", data[:length], data[length:].count(b"\n")


@pytest.mark.thorough
@pytest.mark.parametrize("bits", [(0, 1, 2, 3), (4, 5, 6, 7)], ids=str)
def test_whatever_is_damaged_in_a_sealed_file_all_other_lines_are_read_and_it_is_reported(small, folder, bits):
    store, sealed = small
    whole = parts_of(store.get_run_log(RUN))
    data = folder.files()[sealed]
    boundaries = set(itertools.accumulate(map(len, data.splitlines(keepends=True)), initial=0))
    for where, damaged, most_lost in damages(data, bits):
        folder.write(sealed, damaged)
        log = store.get_run_log(RUN)
        problems = {problem.file for problem in log.problems if problem.kind == "corrupt"}
        found = parts_of(log)
        # A file that ends where a line does holds nothing that could tell that there were others. Where it is the
        # line break that is damaged, both lines are read.
        assert problems == {sealed} or found == whole or len(damaged) in boundaries, where
        assert not {key for key, part in found.items() if whole.get(key) != part}, where
        # With a step, its points lose their place; they are reported too.
        lost = {key for key in whole if key not in found}
        steps_lost = {key[1] for key in lost if key[0] == "step"}
        lines_lost = {key for key in lost if not (key[0] == "point" and key[1] in steps_lost)}
        assert len(lines_lost) <= most_lost, where


@pytest.mark.thorough
def test_single_steps_are_found_beside_any_damage_and_never_wrong(small, folder):
    store, sealed = small
    whole = {name: repr(store.get_step_log(RUN, name)) for name in ("a", "a-b")}
    data = folder.files()[sealed]
    places = list(itertools.accumulate(map(len, data.splitlines(keepends=True)), initial=0))
    lines = data.splitlines(keepends=True)
    owners = {name: next(n for n, line in enumerate(lines) if f'"StepLog-{name}-1'.encode() in line) for name in whole}
    for where, damaged, _ in itertools.islice(damages(data, (0, 3, 6)), 0, None, 5):
        folder.write(sealed, damaged)
        changed = next((n for n, (x, y) in enumerate(zip(data, damaged, strict=False)) if x != y), len(damaged))
        for name, expected in whole.items():
            try:
                found = repr(store.get_step_log(RUN, name))
            except (StepLogNotFoundError, CorruptChunkError):
                is_inside = places[owners[name]] <= changed < places[owners[name] + 1]
                assert is_inside or (len(damaged) < len(data) and changed < places[owners[name] + 1]), (where, name)
            else:
                assert found == expected, (where, name)


def test_a_large_sealed_file_with_damage_anywhere_gives_all_other_steps_one_by_one(logs, folder):
    store = opened(logs)
    store.create_run_log(RUN)
    names = [f"s{number:03}" for number in range(300)]
    for name in names:
        store.add_step_log(RUN, step(name, message="x" * 200))
    finish(store)
    store.seal(RUN)
    (sealed,) = folder.sealed()
    data = folder.files()[sealed]
    assert len(data) > 100_000
    for place in range(0, len(data), 4_999):
        damaged = data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]
        folder.write(sealed, damaged)
        line = data.count(b"\n", 0, place)
        for number in {0, line - 1, line + 1, 150, 299} - {-1, line, 300, 301}:
            name = json.loads(data.splitlines()[number])["body"].get("internal_name", "")
            if name:
                assert store.get_step_log(RUN, name).message == "x" * 200, (place, name)


def test_a_line_break_that_was_damaged_loses_nothing_whatever_is_done_then(small, folder):
    store, sealed = small
    read, data = state(store), folder.files()[sealed]
    expected = {json.loads(line)["file"] for line in data.splitlines()} - {"RunLog.json"}
    for number in range(data.count(b"\n")):
        lines = data.splitlines(keepends=True)
        lines[number] = lines[number][:-1] + b"\x0b"
        folder.become({"RunLog.json": folder.files()["RunLog.json"], sealed: b"".join(lines)})
        assert state(store) == read
        store.add_step_log(RUN, StepLog(name="b", internal_name="b"))
        store.seal(RUN)
        assert state(store) == read
        folder.become({"RunLog.json": folder.files()["RunLog.json"], folder.sealed()[0]: b"".join(lines)})
        store.unseal(RUN)
        assert state(store) == read
        assert expected <= set(folder.files())
        store.seal(RUN)


def test_a_damaged_sealed_file_is_never_removed_or_packed_anew(small, folder):
    store, sealed = small
    data = folder.files()[sealed]
    damaged = data.replace(b'"internal_name":"a-b"', b'"internal_name":"x-b"')
    assert damaged != data
    folder.write(sealed, damaged)
    store.add_step_log(RUN, step("late"))
    opened(os.path.dirname(folder.path)).update_step_log(RUN, "b", lambda found: setattr(found, "message", "x"))
    before = sorted(store.get_run_log(RUN).steps)
    for _ in range(2):
        store.seal(RUN)
        assert folder.files()[sealed] == damaged
        log = store.get_run_log(RUN)
        assert sorted(log.steps) == before
        assert log.steps["b"].message == "x"
        assert {problem.file for problem in log.problems} == {sealed}
    with pytest.raises(ChunkstoreError, match="damaged"):
        store.unseal(RUN)
    assert folder.files()[sealed] == damaged
    folder.write(sealed, data)  # as from a backup
    store.unseal(RUN)
    assert sorted(store.get_run_log(RUN, strict=True).steps) == sorted([*before, "a-b"])
    assert store.get_step_log(RUN, "b").message == "x"


def test_a_sealed_file_that_cannot_be_opened_is_reported_and_the_rest_is_read(small, folder):
    store, sealed = small
    store.add_step_log(RUN, step("late"))
    os.rename(os.path.join(folder.path, sealed), os.path.join(folder.path, "kept"))
    for make in (os.mkdir, os.mkfifo, lambda path: os.symlink("kept", path)):
        path = os.path.join(folder.path, sealed)
        make(path)
        log = store.get_run_log(RUN)
        assert list(log.steps) == ["late"]
        assert sealed in {problem.file for problem in log.problems}
        assert store.get_step_log(RUN, "late").internal_name == "late"
        with pytest.raises((StepLogNotFoundError, CorruptChunkError)):
            store.get_step_log(RUN, "a")
        shutil.rmtree(path) if make is os.mkdir else os.unlink(path)
