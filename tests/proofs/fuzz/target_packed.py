"""Many chunks in one file: journals and sealed files."""

from __future__ import annotations

from collections.abc import Iterator

from chunkstore.backends.memory import MemoryBackend
from chunkstore.names import is_journal_file, is_sealed_file
from chunkstore.stores.packed.packed_file import PackedFile
from chunkstore.stores.packed.packed_lines import content_of, name_in, pack, split_damaged, unpack

from .inputs import lines_with_checksums
from .registry import target
from .target_records import METRIC, STEP


def _packed() -> Iterator[bytes]:
    lines = [
        b'{"file":"Metric-m-3.jsonl","body":%b}' % METRIC,
        b'{"file":"StepLog-a-1.json","body":%b}' % STEP,
        b'{"file":"StepLog-b-2.json","form":"indented","body":{"name":"b","internal_name":"b"}}',
        b'{"file":"StepLog-c-2.json","form":"bare","body":{"name":"c"}}',
        b'{"file":"StepLog-d-2.json","form":"text","text":" {\\n}","body":{}}',
    ]
    for name in (b"Sealed-9.jsonl", b"Journal-1-9.jsonl"):
        yield name + b"\n" + b"\n".join(lines) + b"\n"
        yield name + b"\n" + b"\n".join(reversed(lines)) + b'\n{"file":"Step'
    yield b'Sealed-9.jsonl\n{"file":"a\xff","body":1}\n'
    yield b'Sealed-9.jsonl\n{"file":"a","form":"bare","body":' + b"[" * 1_500 + b"]" * 1_500 + b"}\n"


@target(_packed, 8_192)
def packed_file(data: bytes) -> None:
    """Every chunk that is in a packed file is found in each way, and has the same bytes; the rest is damage."""
    name_bytes, _, content = data.partition(b"\n")
    try:
        name = name_bytes.decode()
    except UnicodeDecodeError:
        return
    if not is_sealed_file(name) and not is_journal_file(name):
        return
    for lines in (lines_with_checksums(content), content):
        _check_packed(name, lines)


def _check_packed(name: str, content: bytes) -> None:
    backend = MemoryBackend()
    backend.create_folder("run", {name: content})
    with backend.reader("run") as reader:
        kept = PackedFile(reader, name, _ignore)
        apart = PackedFile(reader, name, _ignore, keep=False)
        names = kept.names()
        assert apart.names() == names
        assert kept.is_damaged == apart.is_damaged
        for each in names:
            found = kept.lines_of(each)
            assert found, each
            assert found == apart.lines_of(each)
            assert all(name_in(line) == each for line in found)
            unpack(found)
            for line in found:
                content_of(line)
            alone = PackedFile(reader, name, _ignore).lines_of(each)
            assert alone == found or not _is_as_written(name, content), each


def _is_as_written(name: str, content: bytes) -> bool:
    """Tell whether a single chunk must be found without a look at the rest: in a sealed file, by bisection."""
    found = [name_in(line) for line in content.splitlines(keepends=True)]
    return is_journal_file(name) or (None not in found and found == sorted(filter(None, found)))


def _ignore(_file: str, _error: Exception) -> None:
    """Let damage be."""


def _loose() -> Iterator[bytes]:
    yield b"StepLog-a-1.json\n" + STEP
    yield b'StepLog-a-1.json\n{\n    "name": "a",\n    "x": [\n        1\n    ]\n}'
    yield b"Metric-a-1.jsonl\n" + METRIC + b"\n" + METRIC + b"\n"
    yield b'Parameter-\xc3\xa9.json\n{"a":"\xe2\x80\xa8"}\n'


@target(_loose)
def packing(data: bytes) -> None:
    """What is packed comes out as it was, byte for byte; what is not JSON is not packed."""
    name_bytes, _, content = data.partition(b"\n")
    try:
        name = name_bytes.decode("utf-8", "surrogateescape")
    except UnicodeDecodeError:
        return
    for each in (content, lines_with_checksums(content), lines_with_checksums(content + b"\n")):
        packed = pack(name, each)
        if packed is None:
            continue
        lines = packed.splitlines(keepends=True)
        assert [name_in(line) for line in lines] == [name] * len(lines)
        assert unpack(lines) == each
        # Where the line break alone was damaged, the lines are found all the same.
        for part in split_damaged(packed[:-1] + b"\x0b"):
            name_in(part)
