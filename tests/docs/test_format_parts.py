"""Names, bytes and fields are what `docs/reference/format.md` says."""

import json
import re
from pathlib import Path

import format_records
import msgspec
import pytest
from format_records import encoded, revived
from hypothesis import given
from hypothesis import strategies as st

import chunkstore
from chunkstore.names import encode_for_file, parameter_file, parse_chunk_file
from chunkstore.records.codec import encode, plain

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "format.md"

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300) | st.sampled_from(
    [".a", "a.", " ", "%", "%2E", "n" * 300, "模型" * 40, "~0123456789abcdef"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["$float", "$$float", "a", "NaN"]), inner),
    max_leaves=10,
)


@given(texts)
def test_names_are_encoded_as_the_page_says(name):
    assert encoded(name) == encode_for_file(name)
    assert format_records.parameter_file(name) == parameter_file(name)


@given(st.from_regex(r"(Step(Log|Update)|Branch(Log|Update)|Metric)-.{0,9}-?[0-9]{0,20}\.jsonl?", fullmatch=True))
def test_names_of_files_are_told_apart_as_the_page_says(file):
    known = parse_chunk_file(file)
    assert format_records.parsed(file) == (known and (known.kind, known.encoded, known.timestamp))


@given(values)
def test_floats_are_marked_as_the_page_says(value):
    assert repr(revived(json.loads(encode(plain(value))))) == repr(value)


@pytest.mark.parametrize(
    "name", ["RunLog", "StepLog", "BranchLog", "StepAttempt", "CodeIdentity", "DataCatalog", "JobLog"]
)
def test_the_page_lists_the_fields_of_each_record_in_their_order(name):
    (rows,) = re.findall(rf"^`{name}`\n\n(?:\|.*\n){{2}}((?:\|.*\n)+)", PAGE.read_text(), re.MULTILINE)
    listed = [re.fullmatch(r"\| `(\w+)` \| [^`—|]+ \| (?:`(.*)` |(—) )?\|", row).groups() for row in rows.splitlines()]
    expected = [(info.encode_name, *_default(info)) for info in msgspec.structs.fields(getattr(chunkstore, name))]
    assert listed == [entry for entry in expected if entry[0] != "$extra"]


def _default(info):
    if info.default is msgspec.UNSET:
        return None, "—"
    if info.default_factory is not msgspec.NODEFAULT:
        return json.dumps(info.default_factory()), None
    return (None if info.default is msgspec.NODEFAULT else json.dumps(info.default)), None
