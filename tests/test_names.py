"""Every name maps to one file name inside the folder, and different names to different ones."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkstore.errors import InvalidNameError
from chunkstore.names import (
    BRANCH,
    BRANCH_UPDATE,
    END_OF_TIME,
    MAX_NAME_LENGTH,
    METRIC,
    ROOT_SCOPE,
    STEP,
    STEP_UPDATE,
    check_name,
    check_run_id,
    chunk_file,
    encode_for_file,
    escape_segment,
    generate_run_id,
    is_parameter_file,
    join_name,
    parameter_file,
    parse_chunk_file,
    unescape_segment,
)
from chunkstore.testing.strategies import HOSTILE_NAMES, names

KINDS = st.sampled_from([STEP, BRANCH, STEP_UPDATE, BRANCH_UPDATE, METRIC])
TIMESTAMPS = st.integers(0, END_OF_TIME - 1)
SAFE = re.compile(r"[ !#$%&'()+,\-.0-9;=@A-Z\[\]^_`a-z{}~]+\Z")
#: Names that are near each other: parts of escapes, dots, hashes.
NEAR = st.text(alphabet="%25E.~0aéA/", min_size=1, max_size=8)


@given(name=st.one_of(names, NEAR), kind=KINDS, timestamp=TIMESTAMPS)
def test_a_file_name_is_safe_everywhere_and_parses_back(name, kind, timestamp):
    file = chunk_file(kind, name, timestamp)
    assert SAFE.match(file), file
    assert len(file) < 255
    assert file[0] not in ". "
    parsed = parse_chunk_file(file)
    assert (parsed.kind, parsed.encoded, parsed.timestamp, parsed.file) == (
        kind,
        encode_for_file(name),
        timestamp,
        file,
    )


@given(one=st.one_of(names, NEAR), other=st.one_of(names, NEAR))
def test_different_names_have_different_files(one, other):
    if one != other:
        assert encode_for_file(one) != encode_for_file(other)
        assert parameter_file(one) != parameter_file(other)
    assert parameter_file(one) != parameter_file("")


def test_hostile_names_have_different_files():
    assert len({encode_for_file(name) for name in HOSTILE_NAMES}) == len(HOSTILE_NAMES)
    assert len({parameter_file(name) for name in ("", ROOT_SCOPE, "%72oot", *HOSTILE_NAMES)}) == len(HOSTILE_NAMES) + 2


@given(name=st.text(min_size=201, max_size=400))
def test_a_shortened_name_says_so(name):
    encoded = encode_for_file(name)
    assert len(encoded) <= 200


def test_names_of_the_time_before_chunkstore_are_parsed():
    parsed = parse_chunk_file("StepLog-train.rf.fit-1706852981689005000.json")
    assert (parsed.kind, parsed.encoded, parsed.timestamp) == ("StepLog", "train.rf.fit", 1706852981689005000)
    assert parse_chunk_file("StepLog-a-b-5.json").encoded == "a-b"


@pytest.mark.parametrize(
    "file",
    [
        "",
        "RunLog.json",
        "StepLog.json",
        "StepLog-.json",
        "StepLog-x.json",
        "StepLog--1.json",
        "StepLog-x-.json",
        "StepLog-x-1.jsonl",
        "StepLog-x-1.json.tmp",
        "StepLog-x-\u0661.json",
        "StepLog-x-12345678901234567890.json",
        f"StepLog-x-{END_OF_TIME}.json",
        "StepLog-x--1.json.",
        "Steplog-x-1.json",
        "Metric-x-1.json",
        "Parameter-x-1.json",
        ".tmp-StepLog-x-1.json",
        "StepLog-x-1\n.json",
    ],
)
def test_what_is_no_chunk_is_not_taken_for_one(file):
    assert parse_chunk_file(file) is None


@given(file=st.text())
def test_any_text_is_parsed_or_not(file):
    parsed = parse_chunk_file(file)
    assert parsed is None or parsed.file == file
    is_parameter_file(file)


@given(segment=names)
def test_a_segment_has_no_dots_and_comes_back(segment):
    escaped = escape_segment(segment)
    assert "." not in escaped
    assert unescape_segment(escaped) == segment
    assert join_name("a.b", segment) == f"a.b.{escaped}"
    assert join_name("", segment) == escaped


@pytest.mark.parametrize(
    "name", ["", None, 1, b"x", "\ud800", "x" * (MAX_NAME_LENGTH + 1)], ids=lambda n: ascii(n)[:20]
)
def test_what_cannot_be_a_name_is_refused_with_a_reason(name):
    for check in (check_name, escape_segment):
        with pytest.raises(InvalidNameError) as caught:
            check(name)
        assert caught.value.reason in str(caught.value)
        assert len(str(caught.value)) < 300


@given(run_id=st.text(max_size=30))
def test_a_run_id_is_a_plain_folder_name_or_refused(run_id):
    try:
        check_run_id(run_id)
    except InvalidNameError:
        return
    assert run_id.isascii()
    assert run_id.isprintable()
    assert not set('/\\:*?"<>|\0') & set(run_id)
    assert run_id.strip(". ") == run_id != ""


def test_generated_run_ids_are_words_and_a_time_and_random():
    ids = {generate_run_id() for _ in range(2_000)}
    assert len(ids) == 2_000
    for run_id in ids:
        check_run_id(run_id)
        assert re.fullmatch(r"[a-z]+-[a-z]+-[0-2][0-9][0-5][0-9]-[0-9a-z]{12}", run_id)


def test_long_names_that_differ_at_their_ends_have_different_files():
    files = {encode_for_file("x" * 300 + end) for end in ("", "a", "b", "aa", ".a")}
    assert len(files) == 5
