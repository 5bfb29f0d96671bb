"""A sealed file: what is in it, what is left beside it, and what of it can be read when it was damaged."""

import errno
import itertools
import json
import logging
import os
import shutil

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET

import chunkstore
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.errors import (
    ChunkstoreError,
    ConfigurationError,
    CorruptChunkError,
    RunLogNotFoundError,
    StepLogNotFoundError,
    StoreFullError,
)
from chunkstore.records import codec
from chunkstore.records.fields import MetricPoint
from chunkstore.records.integrity import with_checksum
from chunkstore.records.models import PACKED_FORMAT, BranchLog, StepLog
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.packed.packed_lines import content_of, name_in, pack, unpack
from chunkstore.testing.faults import CountingSyscalls, FaultySyscalls
from chunkstore.testing.strategies import json_values

RUN = "run"


def step(name, **fields):
    return StepLog(name=name.rpartition(".")[2], internal_name=name, status="SUCCESS", **fields)


def finish(store, status="SUCCESS"):
    store.update_run_log(RUN, lambda log: setattr(log, "status", status))


class Folder:
    """A run's folder as bytes."""

    def __init__(self, path):
        self.path = path

    def files(self):
        """Return what every file holds, but for the lock."""
        found = {}
        for name in sorted(os.listdir(self.path)):
            if name != ".lock":
                with open(os.path.join(self.path, name), "rb") as file:
                    found[name] = file.read()
        return found

    def write(self, name, data):
        with open(os.path.join(self.path, name), "wb") as file:
            file.write(data)

    def become(self, files):
        for name in self.files():
            os.unlink(os.path.join(self.path, name))
        for name, data in files.items():
            self.write(name, data)

    def sealed(self):
        return [name for name in self.files() if name.startswith("Sealed-")]


@pytest.fixture
def logs(tmp_path):
    return tmp_path / "logs"


@pytest.fixture
def folder(logs):
    return Folder(logs / RUN)


def opened(logs, **options):
    return chunkstore.open_store("chunked-fs", log_folder=logs, **options)


@pytest.fixture
def store(logs):
    """A store with a run of all kinds of files, which has not finished."""
    store = opened(logs)
    record(store, opened(logs))
    return store


def record(store, other):
    store.create_run_log(RUN, parameters={"a": 1}, tag="t")
    branch = BranchLog(internal_name="outer.b", steps={"outer.b.in": step("outer.b.in")}, parameters={"p": 1})
    store.add_step_log(RUN, step("outer", branches={"outer.b": branch}))
    store.add_step_log(RUN, step("é/*" + "x" * 300))
    store.add_step_log(RUN, step("half"))
    for number in range(3):
        store.append_metrics(RUN, "half", {"m": [MetricPoint(number, number)]})
    other.update_step_log(RUN, "half", lambda found: found.user_defined_metrics.update(n=1))
    other.update_branch_log(RUN, "outer.b", lambda found: setattr(found, "status", "FAIL"))


def state(store):
    log = store.get_run_log(RUN, strict=True)
    log.run_config = {}
    return repr(log)


# --- bytes -----------------------------------------------------------------------------------------------------------


#: What other tools may write; none of it ends in a checksum.
FOREIGN = {
    "compact": b'{"name":"f","internal_name":"f","status":"SUCCESS"}',
    "spaces": b' { "name" : "f",\t"internal_name":"f" , "status":"SUCCESS"}  ',
    "line break at the end": b'{"name":"f","internal_name":"f"}\n',
    "CRLF": b'{\r\n  "name": "f",\r\n  "internal_name": "f"\r\n}\r\n',
    "indented by two": b'{\n  "name": "f",\n  "internal_name": "f"\n}',
    "indented by four": b'{\n    "name": "f",\n    "internal_name": "f"\n}',
    "not ASCII": '{"name":"f","internal_name":"f","message":"é\u2028\U0001f600"}'.encode(),
    "escapes": rb'{"name":"\u0066","internal_name":"f","message":"\ud83d\ude00\/\u2028"}',
    "numbers": b'{"name":"f","internal_name":"f","result":[1.0,1e2,-0.0,1E+2,100000000000000000000000001]}',
    "equal keys": b'{"name":"g","internal_name":"f","name":"f"}',
}


@pytest.mark.parametrize("pretty", [False, True])
def test_unsealing_gives_back_every_file_byte_for_byte(logs, folder, pretty):
    store = opened(logs, pretty=pretty)
    record(store, opened(logs, pretty=pretty))
    for number, data in enumerate(FOREIGN.values()):
        folder.write(f"StepLog-f-{100 + number}.json", data)
    folder.write("Parameter-other.json", b'{ "branch": "other", "parameters": {"x": 1.0} }\n')
    finish(store)
    before, read = folder.files(), state(store)
    count = store.seal(RUN)
    assert sorted(folder.files()) == sorted([*folder.sealed(), "RunLog.json"])
    assert len(folder.sealed()) == 1
    assert count == len(before) - 1
    assert state(store) == read
    store.unseal(RUN)
    assert folder.files() == before
    assert state(store) == read


def test_metric_files_with_a_torn_tail_keep_it_or_lose_nothing_else(store, folder):
    finish(store)
    read = state(store)
    (name,) = [name for name in folder.files() if name.startswith("Metric-")]
    whole = folder.files()[name]
    for end in (b"{", b'{"internal_name":"half","po', whole.splitlines(keepends=True)[0][:-20]):
        folder.write(name, whole + end)
        before = folder.files()
        assert state(store) == read
        store.seal(RUN)
        assert state(store) == read
        store.unseal(RUN)
        assert folder.files() == before
        assert state(store) == read


def test_the_record_of_the_run_is_as_before_unless_it_was_changed(store, folder):
    finish(store)
    before = folder.files()["RunLog.json"]
    store.seal(RUN)
    assert json.loads(folder.files()["RunLog.json"])["run_config"]["chunkstore"]["format"] == PACKED_FORMAT
    store.unseal(RUN)
    assert folder.files()["RunLog.json"] == before
    folder.write("RunLog.json", json.dumps(json.loads(before), indent=3).encode())
    before = folder.files()["RunLog.json"]
    store.seal(RUN)
    store.seal(RUN)
    store.add_step_log(RUN, step("late"))
    store.seal(RUN)
    store.unseal(RUN)
    assert folder.files()["RunLog.json"] == before
    store.seal(RUN)
    store.update_run_log(RUN, lambda log: setattr(log, "tag", "new"))
    store.unseal(RUN)
    log = store.get_run_log(RUN)
    assert (log.tag, log.status, log.notes["format"]) == ("new", "SUCCESS", 1)


def test_files_that_are_no_chunks_and_chunks_that_cannot_be_read_stay_where_they_are(store, folder):
    finish(store)
    others = {
        "notes.txt": b"mine",
        "StepLog-.json": b"{}",
        "Sealed-x.jsonl": b"no",
        "Journal-1.jsonl": b"no",
        ".hidden": b"",
        ".tmp-1-2-3": b"{",
        "StepLog-torn-5.json": b'{"name":',
        "StepLog-empty-6.json": b"",
        "StepLog-binary-7.json": b"\xff\xfe",
        "StepLog-flipped-8.json": with_checksum(b'{"name":"f","internal_name":"flipped"}').replace(b"f", b"g", 1),
        "Metric-none-9.jsonl": b"",
        "Metric-noise-9.jsonl": b"\0\1\n",
    }
    for name, data in others.items():
        folder.write(name, data)
    os.mkfifo(os.path.join(folder.path, "StepLog-pipe-10.json"))
    before = store.get_run_log(RUN)
    assert before.problems
    os.unlink(os.path.join(folder.path, "StepLog-pipe-10.json"))
    before = store.get_run_log(RUN)
    os.mkfifo(os.path.join(folder.path, "StepLog-pipe-10.json"))
    store.seal(RUN)
    os.unlink(os.path.join(folder.path, "StepLog-pipe-10.json"))
    after = store.get_run_log(RUN)
    assert set(map(str, after.problems)) == set(map(str, before.problems))
    assert [repr(found) for found in after.steps.values()] == [repr(found) for found in before.steps.values()]
    left = folder.files()
    unreadable = {problem.file for problem in before.problems}
    assert unreadable >= {"StepLog-torn-5.json", "StepLog-empty-6.json", "StepLog-binary-7.json"}
    assert {name: left.get(name) for name in others if name not in unreadable and not name.startswith("Metric-")} == {
        name: data for name, data in others.items() if name not in unreadable and not name.startswith("Metric-")
    }
    store.unseal(RUN)
    assert {name: data for name, data in folder.files().items() if name in others} == others


def test_a_link_named_like_a_chunk_is_not_followed_packed_or_removed(store, folder, tmp_path):
    finish(store)
    outside = tmp_path / "StepLog-outside-1.json"
    outside.write_bytes(b'{"name":"outside","internal_name":"outside"}')
    link = os.path.join(folder.path, outside.name)
    os.symlink(outside, link)
    store.seal(RUN)
    assert os.path.islink(link)
    assert outside.exists()
    assert b'"outside"' not in folder.files()[folder.sealed()[0]]


def test_each_line_is_json_with_a_file_and_a_body_in_the_order_of_names(store, folder):
    finish(store)
    before = folder.files()
    store.seal(RUN)
    (sealed,) = folder.sealed()
    lines = [json.loads(line) for line in folder.files()[sealed].splitlines()]
    names = [line["file"] for line in lines]
    assert names == sorted(names)
    assert set(names) == set(before)
    for line in lines:
        first = before[line["file"]].splitlines()[0]
        if not line["file"].startswith("Metric-"):
            assert line["body"] == json.loads(first)
    assert names.count(next(name for name in names if name.startswith("Metric-"))) == 3


JSON = st.one_of(json_values, st.dictionaries(st.text(max_size=5), json_values, max_size=4))
CHUNK_NAMES = st.sampled_from(["StepLog-a-1.json", "StepLog-%C3%A9-2.json", "Parameter-root.json", "Metric-a-1.jsonl"])
ODD_NAMES = st.sampled_from(['StepLog-"-1.json', "StepLog-é-1.json", "Parameter-a\nb.json", "Parameter-\\.json"])


def check_packing(file, data):
    line = pack(file, data)
    if line is None:
        return False
    lines = line.splitlines(keepends=True)
    assert unpack(lines) == data
    assert {name_in(each) for each in lines} == {file}
    for each in lines:
        assert json.loads(each)["file"] == file
        if not file.startswith("Metric-"):
            codec.decode(content_of(each)[0])
    return True


@given(file=CHUNK_NAMES | ODD_NAMES, data=st.binary(max_size=80))
@example(file="Metric-a-1.jsonl", data=b"")
@example(file="Metric-a-1.jsonl", data=b"\n")
@example(file="Metric-a-1.jsonl", data=b"1\n\n2\n")
@example(file="Metric-a-1.jsonl", data=b"[]\r\n{}\x85")
@example(file="StepLog-a-1.json", data=b"{}\n")
@example(file="StepLog-a-1.json", data=b"\xef\xbb\xbf{}")
@example(file="StepLog-a-1.json", data=b'"\\ud800"')
@example(file="StepLog-a-1.json", data=b"1" * 5_000)
@example(file="StepLog-a-1.json", data=b"[" * 2_000 + b"]" * 2_000)
def test_any_bytes_are_given_back_as_they_were_or_not_packed(file, data):
    check_packing(file, data)


@given(file=CHUNK_NAMES | ODD_NAMES, value=JSON, how=st.sampled_from(["checksum", "2", "4", "python", "CRLF", "plain"]))
def test_any_json_is_packed_and_given_back_as_it_was(file, value, how):
    body = codec.encode(value)
    data = {
        "checksum": with_checksum(body),
        "2": codec.encode(value, indent=2),
        "4": codec.encode(value, indent=4),
        "python": json.dumps(json.loads(body)).encode(),
        "CRLF": codec.encode(value, indent=4).replace(b"\n", b"\r\n"),
        "plain": body,
    }[how]
    # A file of lines holds one value in each, and null is no record of any kind.
    assert check_packing(file, data) or value is None or (file.startswith("Metric-") and how in {"2", "4", "CRLF"})


def test_a_chunk_with_any_flipped_bit_is_not_packed():
    """It would look as if it had never been damaged."""
    data = with_checksum(step("a", message="text").to_json().encode())
    for place, bit in itertools.product(range(len(data)), range(8)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << bit
        assert pack("StepLog-a-1.json", bytes(damaged)) is None, (place, bit)


def test_lines_with_any_flipped_bit_are_still_known_to_be_damaged(store, folder):
    finish(store)
    read = state(store)
    (name,) = [name for name in folder.files() if name.startswith("Metric-")]
    data = folder.files()[name]
    for place in range(5, len(data), 37):
        folder.write(name, data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        store.seal(RUN)
        assert name in {problem.file for problem in store.get_run_log(RUN).problems}, place
        store.unseal(RUN)
    folder.write(name, data)
    assert state(store) == read


@given(bodies=st.lists(JSON, min_size=1, max_size=4), end=st.sampled_from([b"", b"{", b"null", b"\n"]))
def test_any_lines_are_given_back_as_they_were(bodies, end):
    data = b"".join(with_checksum(codec.encode(body)) for body in bodies) + end
    packed = check_packing("Metric-a-1.jsonl", data)
    assert packed or end


# --- crashes ---------------------------------------------------------------------------------------------------------


def test_of_two_sealed_files_the_newest_counts_and_the_next_seal_makes_one(store, logs, folder):
    finish(store)
    store.seal(RUN)
    (first,) = folder.sealed()
    old = folder.files()[first]
    store.add_step_log(RUN, step("half", message="newer"))
    opened(logs).update_step_log(RUN, "half", lambda found: found.user_defined_metrics.update(n=2))
    store.set_parameters(RUN, {"a": 2})
    store.append_metrics(RUN, "half", {"m": [MetricPoint(3, 3)]})
    expected = state(store)
    store.seal(RUN)
    folder.write(first, old)  # as if whoever sealed had been killed before that was removed
    assert len(folder.sealed()) == 2
    check_all_reads(store, expected)
    assert store.get_parameters(RUN) == {"a": 2}
    store.seal(RUN)
    assert len(folder.sealed()) == 1
    assert first not in folder.sealed()
    check_all_reads(store, expected)
    new = folder.files()
    folder.write(first, old)
    store.unseal(RUN)
    assert not folder.sealed()
    check_all_reads(store, expected)
    assert not set(folder.files()) & set(new) - {"RunLog.json"}


def check_all_reads(store, expected):
    assert state(store) == expected
    log = store.get_run_log(RUN)
    for name, found in log.steps.items():
        assert repr(store.get_step_log(RUN, name)) == repr(found)
    assert [found.internal_name for found in store.iter_records(RUN) if found.internal_name in log.steps] == list(
        log.steps
    )
    assert store.get_parameters(RUN) == log.parameters


def test_a_file_that_was_left_set_aside_is_read_and_packed_by_the_next_seal(store, folder):
    finish(store)
    expected = state(store)
    for name in list(folder.files()):
        if name == "RunLog.json" or name.startswith("Metric-"):
            continue  # they are removed in another way
        os.rename(os.path.join(folder.path, name), os.path.join(folder.path, f".aside-{name}"))
        check_all_reads(store, expected)
    before = {name.removeprefix(".aside-"): data for name, data in folder.files().items()}
    store.seal(RUN)
    assert sorted(folder.files()) == sorted([*folder.sealed(), "RunLog.json"])
    check_all_reads(store, expected)
    store.unseal(RUN)
    assert folder.files() == before


def test_what_was_set_aside_does_not_come_back_over_what_its_owner_has_written_since(store, folder):
    finish(store)
    (name,) = [name for name in folder.files() if name.startswith("StepLog-half-")]
    os.rename(os.path.join(folder.path, name), os.path.join(folder.path, f".aside-{name}"))
    store.add_step_log(RUN, step("half", message="newer"))
    expected = state(store)
    assert store.get_step_log(RUN, "half").message == "newer"
    store.seal(RUN)
    assert not [name for name in folder.files() if name.startswith(".aside-")]
    check_all_reads(store, expected)


@pytest.mark.parametrize("kind", ["StepLog-half", "StepUpdate-half", "Parameter-root", "BranchLog-"])
@pytest.mark.parametrize("torn", [b"", b"{", bytes(50)], ids=["empty", "cut off", "zeros"])
def test_a_torn_file_beside_the_sealed_one_never_makes_sealing_drop_that(store, folder, kind, torn):
    """As a loss of power may leave, while a run is unsealed or written to."""
    finish(store)
    expected = state(store)
    (name,) = [name for name in folder.files() if name.startswith(kind)]
    store.seal(RUN)
    folder.write(name, torn)
    for _ in range(2):
        store.add_step_log(RUN, step("late"))
        store.seal(RUN)
        store.get_run_log(RUN)
    if name in folder.files():
        assert folder.files()[name] == torn
        os.unlink(os.path.join(folder.path, name))
    log = store.get_run_log(RUN, strict=True)
    log.steps.pop("late")
    log.run_config = {}
    assert repr(log) == expected


def test_what_cannot_be_opened_beside_the_sealed_file_never_makes_sealing_drop_that(store, folder):
    finish(store)
    expected = repr(store.get_step_log(RUN, "half"))
    (name,) = [name for name in folder.files() if name.startswith("StepLog-half")]
    store.seal(RUN)
    os.mkdir(os.path.join(folder.path, name))
    store.add_step_log(RUN, step("late"))
    store.seal(RUN)
    assert name in {problem.file for problem in store.get_run_log(RUN).problems}
    os.rmdir(os.path.join(folder.path, name))
    assert repr(store.get_step_log(RUN, "half")) == expected


def test_an_update_is_never_applied_to_another_record_after_sealing(store, logs, folder):
    finish(store)
    store.seal(RUN)
    opened(logs).add_step_log(RUN, step("half", message="anew"))  # a newer record, which nobody has changed
    for change in (store.seal, store.unseal):
        assert store.get_step_log(RUN, "half").user_defined_metrics == {}
        change(RUN)
        assert store.get_run_log(RUN).steps["half"].user_defined_metrics == {}


# --- damage ----------------------------------------------------------------------------------------------------------


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


# --- finding single records ------------------------------------------------------------------------------------------


def test_a_single_step_of_thousands_is_found_by_reading_a_few_kilobytes(logs, folder):
    class Measuring(CountingSyscalls):
        got = 0

        def pread(self, fd, size, offset):
            data = super().pread(fd, size, offset)
            self.got += len(data)
            return data

        def read(self, fd, size):
            data = super().read(fd, size)
            self.got += len(data)
            return data

    store = opened(logs, durability="process")
    store.create_run_log(RUN)
    for number in range(2_000):
        store.add_step_log(RUN, step(f"s{number}"))
    finish(store)
    store.seal(RUN)
    size = len(folder.files()[folder.sealed()[0]])
    assert size > 500_000
    syscalls = Measuring()
    measured = ChunkedStore(DirectoryBackend(logs, syscalls=syscalls))
    for number in (0, 1, 10, 999, 1_000, 1_999):
        syscalls.got = 0
        assert measured.get_step_log(RUN, f"s{number}", full=False).internal_name == f"s{number}"
        assert syscalls.got < size / 4
    syscalls.got = 0
    with pytest.raises(StepLogNotFoundError):
        measured.get_step_log(RUN, "s2000")
    assert syscalls.got < size / 4


@pytest.mark.parametrize("many", [0, 400])
def test_names_that_begin_alike_are_told_apart(logs, many):
    names = ["s", "s-", "s-1", "s-10", "s-100", "s-1000-2", "s1", "s.", "S", "s-9" * 70, "s-9" * 71, "", "r" * 250]
    names = [name for name in names if name]
    store = opened(logs, durability="process")
    store.create_run_log(RUN)
    for name in [*names, *(f"s-{number}x" for number in range(many))]:
        store.add_step_log(RUN, StepLog(name="x", internal_name=name, message=name + "y" * (many and 200)))
    finish(store)
    store.seal(RUN)
    for reader in (store, opened(logs)):
        for name in names:
            assert reader.get_step_log(RUN, name).message.rstrip("y") == name
            assert reader.has_step_log(RUN, name)
        for absent in ("s-2", "s-1000", "s-1000-", "t", "r", "s-9"):
            assert not reader.has_step_log(RUN, absent)
            with pytest.raises(StepLogNotFoundError):
                reader.get_step_log(RUN, absent)


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("most", "is_sealed"), [(None, False), (4, False), (3, True), (0, True)])
@pytest.mark.parametrize("container", ["files", "journal"])
def test_runs_of_more_chunks_than_configured_are_sealed_when_they_finish(logs, folder, most, is_sealed, container):
    store = opened(logs, seal_finished_runs=most, container=container)
    store.create_run_log(RUN, parameters={"a": 1})
    for number in range(3):
        store.add_step_log(RUN, step(f"s{number}"))
    store.update_run_log(RUN, lambda log: setattr(log, "tag", "t"))
    assert not folder.sealed()
    finish(store, "FAIL")
    assert bool(folder.sealed()) == is_sealed
    log = store.get_run_log(RUN, strict=True)
    assert (log.status, list(log.steps), log.parameters) == ("FAIL", ["s0", "s1", "s2"], {"a": 1})
    store.add_step_log(RUN, step("late"))
    finish(store)  # it has finished before
    assert len(folder.sealed()) == is_sealed


def test_a_recorded_run_is_sealed_when_it_is_left(logs, folder):
    store = opened(logs, seal_finished_runs=0, catalog_folder=str(logs / ".catalog"))
    with store.start_run(RUN) as run, run.step("one") as one:
        one.log_metric("loss", 1.0, step=1)
    assert folder.sealed()
    log = store.get_run_log(RUN, strict=True)
    assert log.status == "SUCCESS"
    assert log.steps["one"].metric_series["loss"][0].value == 1.0


def test_a_run_that_cannot_be_sealed_has_finished_all_the_same(logs, folder, caplog):
    for number in itertools.count(1):
        shutil.rmtree(logs, ignore_errors=True)
        syscalls = FaultySyscalls(errno.ENOSPC, persistent=True, only=("create", "write"))
        options = chunkstore.StoreOptions(seal_finished_runs=0)
        store = ChunkedStore(DirectoryBackend(logs, syscalls=syscalls), options)
        store.create_run_log(RUN)
        store.add_step_log(RUN, step("s"))
        syscalls.counted, syscalls._at = 0, number
        caplog.clear()
        try:
            with caplog.at_level(logging.WARNING, "chunkstore"):
                finish(store)
        except StoreFullError:
            continue  # the status itself could not be written
        syscalls.heal()
        assert opened(logs).get_run_log(RUN, strict=True).status == "SUCCESS"
        if not syscalls.failed:
            break
        assert not folder.sealed()
        assert "not sealed" in caplog.text
    assert number > 3
    assert folder.sealed()


@pytest.mark.parametrize(
    ("store_type", "options", "key", "says"),
    [
        ("file-system", {"container": "journal"}, "container", "file-system"),
        ("buffered", {"container": "files"}, "container", "buffered"),
        ("file-system", {"seal_finished_runs": 5}, "seal_finished_runs", "file-system"),
        ("buffered", {"seal_finished_runs": 5}, "seal_finished_runs", "buffered"),
        ("chunked-fs", {"container": "journals"}, "container", "'journal'"),
        ("chunked-fs", {"container": 5}, "container", "'files', 'journal'"),
        ("chunked-fs", {"seal_finished_runs": -1}, "seal_finished_runs", "a number of chunks"),
        ("chunked-fs", {"seal_finished_runs": True}, "seal_finished_runs", "a number of chunks"),
        ("chunked-fs", {"seal_finished_runs": "many"}, "seal_finished_runs", "a number of chunks"),
        ("chunked-fs", {"seal_finished_runs": 1.5}, "seal_finished_runs", "a number of chunks"),
        ("chunked-fs", {"container": "journal", "pretty": True}, "pretty", "journal"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_and_the_message_says_what_would_be_right(
    tmp_path, store_type, options, key, says
):
    folder = {} if store_type == "buffered" else {"log_folder": str(tmp_path)}
    with pytest.raises(ConfigurationError) as raised:
        chunkstore.open_store(store_type, **folder, **options)
    assert raised.value.key == key
    assert says in str(raised.value)


def test_a_configuration_file_can_choose_both(tmp_path):
    file = tmp_path / "chunkstore.yaml"
    config = {"log_folder": str(tmp_path / "logs"), "container": "journal", "seal_finished_runs": 10}
    file.write_text(json.dumps({"run_log_store": {"type": "chunked-fs", "config": config}}))
    options = chunkstore.open_store(config=file).options
    assert (options.container, options.seal_finished_runs) == ("journal", 10)


def test_nothing_of_a_deleted_run_comes_back_when_it_is_sealed_by_its_name(store):
    finish(store)
    store.seal(RUN)
    store.delete_run(RUN)
    with pytest.raises(RunLogNotFoundError):
        store.seal(RUN)
    with pytest.raises(RunLogNotFoundError):
        list(store.iter_records(RUN))
