"""Bytes made to hang a reader or to fill its memory are read or reported within limits."""

import json
import os

import pytest
from outcomes import error_of
from restricted import MEBIBYTE, within_limits

from chunkstore.records.codec import MAX_BYTES
from proofs.bad_bytes.whole_runs import (
    HELD,
    RUN,
    check_the_rest,
    contents,
    make_run,
    open_chunked,
    open_documents,
    read,
)


def record_with(value, key=b"result"):
    """Return JSON that a step, a branch, parameters or a run could hold, with one more value in it."""
    fields = b'"name":"evil","internal_name":"evil","branch":"evil","run_id":"run","over":"x","change":{},"points":{}'
    return b"{" + fields + b',"' + key + b'":' + value + b"}"


def repeated(value, times, start=b"", end=b""):
    return lambda: start + value * times + end


MANY = 10**6
#: The bytes of each, made when they are needed.
BOMBS = {
    "deep lists": repeated(b"[", MANY),
    "deep objects": repeated(b'{"a":', MANY),
    "deep and closed": lambda: record_with(b"[" * MANY + b"]" * MANY),
    "deep unknown field": lambda: record_with(b'{"a":' * MANY + b"1" + b"}" * MANY, b"later"),
    "long integer": lambda: record_with(b"9" * 5_000),
    "very long integer": lambda: record_with(b"-" + b"9" * MANY),
    "long fraction": lambda: record_with(b"0." + b"9" * MANY + b"e-5000"),
    "half a surrogate pair": lambda: record_with(b'"\\ud800"'),
    "half a surrogate pair in a name": lambda: b'{"name":"\\ud800","internal_name":"\\ud800","branch":"\\udfff"}',
    "half a surrogate pair as bytes": lambda: record_with(b'"\xed\xa0\x80"'),
    "equal keys": repeated(b'"internal_name":"a",', 10**5, b"{", b'"name":"evil","internal_name":"evil"}'),
    "many keys": lambda: record_with(b"{" + b",".join(b'"%d":0' % number for number in range(10**5)) + b"}"),
    "many unknown keys": lambda: record_with(b",".join([b"0", *(b'"%d":0' % number for number in range(10**5))])),
    "long list": lambda: record_with(b"[" + b"0," * MANY + b"0]"),
    "long list of lists": lambda: record_with(b"[" + b"[]," * 10**5 + b"0]"),
    "long list of steps": repeated(b"{},", 10**5, b'{"run_id":"run","steps":[', b"{}]}"),
    "long list of marked floats": lambda: record_with(b"[" + b'{"$float":"NaN"},' * 10**5 + b"0]"),
    "many lines": repeated(b"{}\n", 10**4),
    "many empty lines": repeated(b"\n", 10**4),
    "no utf-8": lambda: record_with(b'"\xff\xfe"'),
    "utf-16": lambda: record_with(b"0").decode().encode("utf-16"),
    "utf-32": lambda: record_with(b"0").decode().encode("utf-32"),
    "byte order mark": lambda: b"\xef\xbb\xbf" + record_with(b"0"),
    "white space": repeated(b" \t\r ", MANY),
    "white space as long as a checksum": repeated(b" ", 32, b"", b"\n"),
    "long name": lambda: b'{"name":"' + b"x" * MANY + b'","internal_name":"' + b"x" * MANY + b'"}',
}
#: Larger ones, some by their length alone: files of so many zeros, which need no room on the disk.
LARGE = {
    "long text": lambda: record_with(b'"' + b"x" * 10**8 + b'"'),
    "zeros": 10**8,
    "larger than a file may be": MAX_BYTES + 1,
    "much larger than a file may be": 1 << 40,
}
#: Files to put a bomb into, and what else looks at them.
TARGETS = {
    "RunLog.json": lambda store: list(store.list_runs()),
    "StepLog-evil-1.json": lambda store: store.get_step_log(RUN, "evil"),
    "BranchLog-evil-1.json": lambda store: store.get_branch_log(RUN, "evil"),
    "StepUpdate-good-1.json": lambda store: store.get_step_log(RUN, "good"),
    "BranchUpdate-map.a-1.json": lambda store: store.get_branch_log(RUN, "map.a"),
    "Parameter-evil.json": lambda store: store.get_parameters(RUN, "evil"),
    "Metric-good-1.jsonl": lambda store: store.get_step_log(RUN, "good"),
}


def check_bombs(folder, bomb, *, look_closer=True):
    """Put a bomb into each file in turn, and look at the run in every way that may meet it."""
    whole = contents(read(folder))
    for name, look in TARGETS.items():
        file = folder / name
        before = file.read_bytes() if file.exists() else None
        file.unlink(missing_ok=True)
        os.link(bomb, file)
        store = open_chunked(folder.parent)
        log = store.get_run_log(RUN)
        check_the_rest(log, whole, HELD.get(name, set()))
        assert {problem.file for problem in log.problems} <= {name, "evil"}, name
        assert all(len(problem.message) < 1_000 for problem in log.problems), name
        if look_closer:
            for error in (error_of(look, store), error_of(store.get_run_json, RUN)):
                assert len(str(error)) < 2_000, name
        del log
        file.unlink()
        if before is not None:
            file.write_bytes(before)


def check_bomb_as_document(folder, bomb):
    folder.mkdir()
    store = open_documents(folder)
    store.create_run_log("good")
    os.link(bomb, folder / f"{RUN}.json")
    for error in (error_of(store.get_run_log, RUN), error_of(store.set_parameters, RUN, {"a": 1})):
        assert len(str(error)) < 2_000
    assert sorted(summary.run_id for summary in store.list_runs()) == ["good", RUN]
    assert store.get_run_log("good").problems == []


@pytest.mark.parametrize("make", BOMBS.values(), ids=list(BOMBS))
def test_a_bomb_in_any_file_is_read_or_reported_within_limits(memory, make):
    folder, bomb = make_run(memory / "logs"), memory / "bomb"
    bomb.write_bytes(make())
    assert within_limits(lambda: check_bombs(folder, bomb), memory=512 * MEBIBYTE)
    assert within_limits(lambda: check_bomb_as_document(memory / "documents", bomb), memory=512 * MEBIBYTE)


@pytest.mark.thorough
@pytest.mark.parametrize("made_of", LARGE.values(), ids=list(LARGE))
def test_a_large_file_is_read_or_reported_within_a_few_times_its_size(memory, made_of):
    folder, bomb = make_run(memory / "logs"), memory / "bomb"
    bomb.write_bytes(made_of if isinstance(made_of, bytes) else b"")
    if isinstance(made_of, int):
        os.truncate(bomb, made_of)
    size = bomb.stat().st_size
    limit = 64 * MEBIBYTE + (8 * size if size <= MAX_BYTES else 0)
    assert within_limits(lambda: check_bombs(folder, bomb, look_closer=size > MAX_BYTES), memory=limit)
    assert within_limits(lambda: check_bomb_as_document(memory / "documents", bomb), memory=limit)


def test_the_json_of_a_run_is_that_of_its_log_also_where_a_file_leaves_fields_out(memory):
    folder = make_run(memory)
    (folder / "StepLog-short-1.json").write_text('{"name": "short", "internal_name": "short"}')
    store = open_chunked(memory)
    assert json.loads(store.get_run_json(RUN)) == json.loads(store.get_run_log(RUN).to_json())
