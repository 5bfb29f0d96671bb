"""What one file of a run holds: records, changes laid over them, values."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import msgspec

from chunkstore.errors import CorruptChunkError, InvalidValueError
from chunkstore.records import codec, overlay
from chunkstore.records.base import Record
from chunkstore.records.decoding import RecordCodec
from chunkstore.records.encoding import encode_record
from chunkstore.records.integrity import split_checksum, with_checksum
from chunkstore.records.models import BranchLog, RunLog, StepLog
from chunkstore.stores.chunk_files import Parameters
from chunkstore.stores.reading.metric_lines import metric_lines
from chunkstore.stores.reading.problems import Problems
from chunkstore.stores.run_document import Document, RunDocument

from .inputs import check_message, lines_with_checksums
from .registry import target

_GOLDEN = Path(__file__).parents[2] / "golden"
_KINDS: dict[bytes, type[Record]] = {
    b"s": StepLog, b"b": BranchLog, b"r": RunLog, b"p": Parameters, b"d": RunDocument,
}  # fmt: skip

STEP = (
    b'{"name":"a","internal_name":"m.b.a","status":"SUCCESS","step_type":"task","message":"","mock":false,'
    b'"code_identities":[{"code_identifier":"x","code_identifier_type":"git"}],"attempts":[{"attempt_number":1,'
    b'"start_time":"2024-02-02 05:49:41.697142+00:00","end_time":"2024-02-02 05:49:42+00:00","duration":"0:00:00.3",'
    b'"status":"FAIL","parameters":{"x":1},"input_parameters":{"n":{"kind":"json","value":1}}}],'
    b'"user_defined_metrics":{"loss":{"$float":"NaN"}},"branches":{},"data_catalog":[{"name":"d","data_hash":"ab",'
    b'"catalog_relative_path":"run/d","catalog_handler_location":".c","stage":"put"}],'
    b'"metric_series":{"acc":[[0,1.0,""],[1,{"$float":"Infinity"},"2024-02-02"]]},"result":[1,{"$$float":"x"}],'
    b'"arguments":"h","later":{"of":["another","version"]}}'
)
BRANCH = b'{"internal_name":"m.b","status":"SUCCESS","steps":{"m.b.a":%b},"parameters":{"p":[1]},"item":{"i":1}}' % STEP
RUN = (
    b'{"run_id":"run","dag_hash":"","use_cached":false,"tag":"t","original_run_id":"","status":"SUCCESS","steps":'
    b'{"m":{"name":"m","internal_name":"m","step_type":"map","branches":{"m.b":%b}}},"parameters":{"a":1},'
    b'"run_config":{"chunkstore":{"format":1,"version":"0.1","created":"2024-02-02 05:49:41+00:00","incarnation":'
    b'"0123456789abcdef","steps":{"SUCCESS":2},"message":"why"}},"job":null,"orphans":{"steps":{},"branches":{},'
    b'"parameters":{"x.y":{"a":1}}}}' % BRANCH
)
DOCUMENT = (
    RUN[:-1]
    + b',"bookkeeping":{"changes":{"StepLog m":{"keys":{"message":{"set":"new"}}}},"owners":{"StepLog m":"1-ab"},'
    b'"metrics":[{"internal_name":"m","over":"1-ab","points":{"loss":[[0,1,""]]}}]}}'
)
METRIC = b'{"internal_name":"m.b.a","over":"","points":{"loss":[[0,1.5,""],[1,{"$float":"NaN"},""]]}}'
UPDATE = b'{"internal_name":"m","over":"StepLog-m-2.json","change":{"keys":{"message":{"set":"x"}}}}'


def _records() -> Iterator[bytes]:
    yield from (b"s" + STEP, b"b" + BRANCH, b"r" + RUN, b"d" + DOCUMENT, b'p{"branch":"m.b","parameters":{"p":1}}')
    yield from (b"r" + path.read_bytes() for path in sorted(_GOLDEN.glob("*.json")))
    yield b's{"name":"a","internal_name":"a","result":' + b"[" * 150 + b"]" * 150 + b"}"
    yield b's{"name":"a","internal_name":"a","result":' + b'{"a":' * 1_500 + b"1" + b"}" * 1_500 + b"}"
    yield b"s" + with_checksum(STEP)


@target(_records, 8_192)
def record(data: bytes) -> None:
    """A record is read or corrupt; what was read can be written and is the same then, in each form."""
    kind = _KINDS.get(data[:1])
    if kind is None:
        return
    try:
        body, _ = split_checksum(data[1:], "f")
        found = RecordCodec.of(kind).decode(body, "f")
    except CorruptChunkError as error:
        check_message(error)
        return
    try:
        written = encode_record(found)
    except InvalidValueError:
        return  # it is nested deeper than what is written may be
    again = RecordCodec.of(kind).decode(written, "f")
    assert repr(again) == repr(found)
    assert encode_record(again) == written
    assert repr(RecordCodec.of(kind).decode(encode_record(found, indent=4), "f")) == repr(found)
    assert repr(pickle.loads(pickle.dumps(found))) == repr(found)
    assert repr(RecordCodec.of(kind).decode(with_checksum(written)[:-33], "f")) == repr(found)
    if isinstance(found, RunDocument):
        _check_document(found)


def _check_document(found: RunDocument) -> None:
    document = Document(found)
    document.to_show()
    written = encode_record(document.to_write())
    again = Document(RecordCodec.of(RunDocument).decode(written, "f"))
    assert encode_record(again.to_write()) == written


def _values() -> Iterator[bytes]:
    yield b'{"a":[1,1.0,-0.0,1e308,10000000000000000000000,"x\\u0000\\ud83d\\ude00",null,true],"$float":{"$float":0}}'
    yield b'[{"$float":"NaN"},{"$$float":"NaN"},{"$float":1},{"$$$float":[]},{"$float":"NaN","b":1}]'
    yield b"9" * 4_400
    yield b"[" * 140 + b"]" * 140


@target(_values)
def value(data: bytes) -> None:
    """A value is read or corrupt; what was read is written as it was, also by way of Python's values."""
    try:
        raw = codec.decode(data, "f")
    except CorruptChunkError:
        return
    revived = codec.revive(msgspec.json.decode(data))
    try:
        plain = codec.plain(revived)
    except InvalidValueError:
        return
    assert repr(codec.revive(codec.decode(codec.encode(plain)))) == repr(revived)
    assert codec.encode(codec.decode(codec.encode(raw))) == codec.encode(raw)


def _changes() -> Iterator[bytes]:
    yield b'{"a":1,"b":[1,2],"c":{"d":1}}\n{"a":2,"b":[3],"c":{"e":1}}\n{"keys":{"b":{"items":{"0":{"set":7}}}}}'
    yield STEP + b"\n" + STEP.replace(b"SUCCESS", b"FAIL") + b'\n{"keys":{"message":{"set":"x"}},"removed":["result"]}'
    yield b"[]\n[1]\n" + b'{"keys":{"a":' * 400 + b'{"set":1}' + b"}}" * 400


@target(_changes)
def change(data: bytes) -> None:
    """What is laid over a record gives what was wanted, beside whatever others have laid over it before."""
    lines = data.split(b"\n")
    try:
        base, new = (codec.decode(line) for line in lines[:2])
    except (CorruptChunkError, ValueError):
        return
    earlier = None
    if len(lines) > 2:
        try:
            earlier = codec.decode(lines[2], "", codec.decoder_of(overlay.Change))
        except (CorruptChunkError, msgspec.ValidationError):
            return
    try:
        seen = overlay.apply(earlier, base)
        merged = overlay.merge(seen, earlier, new)
        result = overlay.apply(merged, base)
        overlay.without_appended(merged, result, new)
    except RecursionError:
        return  # what holds a record cannot be so deep
    if earlier is None or earlier.set is not msgspec.UNSET or _is_made_for(earlier, base):
        assert overlay._same(result, new), (base, earlier, new, result)


def _is_made_for(made: overlay.Change, base: object) -> bool:
    """Tell whether a change has nothing in it that the base has no place for: only such changes are ever written."""
    if made.set is not msgspec.UNSET:
        return True
    if isinstance(base, list):
        inner = {str(index): item for index, item in enumerate(base)}
        return (
            not made.keys
            and not made.removed
            and made.items.keys() <= inner.keys()
            and all(_is_made_for(each, inner[index]) for index, each in made.items.items())
        )
    if overlay._is_object(base):
        return (
            not made.items
            and not made.append
            and set(made.removed) <= base.keys()
            and all(
                (key in base and key not in made.removed and _is_made_for(each, base[key]))
                or each.set is not msgspec.UNSET
                for key, each in made.keys.items()
            )
        )
    return False


def _series() -> Iterator[bytes]:
    yield METRIC + b"\n" + METRIC.replace(b"loss", b"acc") + b"\n"
    yield METRIC + b"\n" + METRIC[:30]
    yield b"\n\n{}\n" + METRIC


@target(_series)
def metric_file(data: bytes) -> None:
    """Each line of a file of metrics is read or a problem, with a checksum in each and without; none hides another."""
    for content in (data, lines_with_checksums(data)):
        problems = Problems()
        found = list(metric_lines(lambda _file, content=content: content, "Metric-a-1.jsonl", problems))
        assert len(found) + len(problems.all()) <= content.count(b"\n") + 2
        if content.endswith(b"\n") and found:
            assert len(found) <= content.count(b"\n")
    whole = lines_with_checksums(METRIC + b"\n")
    problems = Problems()
    assert next(metric_lines(lambda _file: whole + data + b"\n", "f", problems)).internal_name == "m.b.a"
