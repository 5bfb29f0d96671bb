"""Any bytes give a record, or are said to be corrupt: never a hang, a crash or another error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkstore.errors import CorruptChunkError, InvalidValueError
from chunkstore.records.models import BranchLog, RunLog, StepLog

DAMAGED = {
    "empty": b"",
    "blank": b" \n",
    "cut off": b'{"name": "s", "internal_name": "s"',
    "no utf-8": b'{"name": "\xff", "internal_name": "s"}',
    "two values": b"{}{}",
    "no object": b"[]",
    "null": b"null",
    "missing field": b'{"name": "s"}',
    "wrong type": b'{"name": 1, "internal_name": "s"}',
    "empty name": b'{"name": "", "internal_name": ""}',
    "nested bombs": b"[" * 1_000_000,
    "nested objects": b'{"a":' * 100_000,
    "long integer": b'{"name": "s", "internal_name": "s", "result": ' + b"9" * 5_000 + b"}",
    "nan": b'{"name": "s", "internal_name": "s", "result": NaN}',
    "huge float": b'{"name": "s", "internal_name": "s", "attempts": [{"attempt_number": 1e400}]}',
    "huge attempt": b'{"name": "s", "internal_name": "s", "attempts": [{"attempt_number": ' + b"9" * 40 + b"}]}",
    "deep unknown field": b'{"name": "s", "internal_name": "s", "new": '
    + b"[" * 900
    + b'{"$float":"NaN"}'
    + b"]" * 900
    + b"}",
    "deep result": b'{"name": "s", "internal_name": "s", "result": '
    + b"[" * 900
    + b'{"$float":"NaN"}'
    + b"]" * 900
    + b"}",
    "zeros": b"\0" * 4096,
    "byte order mark": b"\xef\xbb\xbf{}",
    "extra": b'{"name": "s", "internal_name": "s", "$extra": 1, "steps": {}}',
}


def nested_document(levels, end):
    """A run of composite steps inside composite steps."""
    text = b'{"run_id": "r", "steps": '
    text += b'{"s": {"name": "s", "internal_name": "s", "branches": {"b": {"internal_name": "b", "steps": ' * levels
    return text + end + b"}}}}" * levels + b"}"


@pytest.mark.parametrize("data", DAMAGED.values(), ids=list(DAMAGED))
def test_any_bytes_give_a_record_or_say_that_they_are_corrupt(data):
    for kind in (StepLog, BranchLog, RunLog):
        try:
            record = kind.from_json(data)
        except CorruptChunkError as error:
            where = error.offset
        else:
            assert isinstance(record, kind)
            continue
        assert 0 <= where <= len(data)


@pytest.mark.parametrize("end", [b"{}", b'{"s": {"name": "s", "internal_name": "s", "new": 1}}', b'{"s": 5}'])
@pytest.mark.parametrize("levels", [10, 100, 200, 300, 100_000])
def test_a_document_nested_however_deep_is_read_or_said_to_be_corrupt(levels, end):
    data = nested_document(levels, end)
    try:
        log = RunLog.from_json(data)
    except CorruptChunkError:
        assert levels > 50 or end == b'{"s": 5}'
        return
    try:
        text = log.to_json()
    except InvalidValueError:
        assert levels > 50
        return
    assert RunLog.from_json(text) == log


@given(data=st.binary(max_size=60))
def test_random_bytes_are_no_record(data):
    with pytest.raises(CorruptChunkError):
        StepLog.from_json(data)


def test_every_flipped_bit_and_every_truncation_is_noticed_or_harmless():
    data = StepLog(name="s", internal_name="s", result=[1.5, "x", None]).to_json().encode()
    for length in range(len(data)):
        with pytest.raises(CorruptChunkError):
            StepLog.from_json(data[:length])
    for position in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            try:
                record = StepLog.from_json(bytes(damaged))
            except CorruptChunkError:
                continue
            assert isinstance(record, StepLog)


def test_text_with_half_a_surrogate_pair_is_no_document():
    with pytest.raises(CorruptChunkError, match="surrogate"):
        StepLog.from_json('{"name": "\ud800"}')
    with pytest.raises(CorruptChunkError):
        StepLog.from_json(r'{"name": "s", "internal_name": "\ud800"}')


def test_of_two_equal_keys_one_counts():
    assert StepLog.from_json('{"name": "a", "internal_name": "s", "name": "b"}').name == "b"


def test_text_beyond_the_limit_of_size_is_refused_before_it_is_decoded(monkeypatch):
    text = StepLog(name="s", internal_name="s").to_json()
    monkeypatch.setattr("chunkstore.records.codec.MAX_BYTES", len(text))
    assert StepLog.from_json(text).name == "s"
    with pytest.raises(CorruptChunkError, match="larger than"):
        StepLog.from_json(text + " ")
