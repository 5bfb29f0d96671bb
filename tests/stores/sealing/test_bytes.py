"""Sealing and unsealing give back every byte, and leave what is no sound chunk where it is."""

import itertools
import json
import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chunkstore.records import codec
from chunkstore.records.integrity import with_checksum
from chunkstore.records.models import PACKED_FORMAT
from chunkstore.stores.packed.packed_lines import content_of, name_in, pack, unpack
from chunkstore.testing.strategies import json_values
from stores.sealing.sealed_runs import RUN, finish, opened, record, state, step

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
