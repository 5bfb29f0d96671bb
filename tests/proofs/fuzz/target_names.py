"""Names of steps, runs, files and data."""

from __future__ import annotations

from collections.abc import Iterator

from chunkstore import names
from chunkstore.clock import format_nanoseconds, format_time, parse_time
from chunkstore.errors import InvalidNameError
from chunkstore.recording.catalog.data_names import check_data_name, default_name, path_of

from .inputs import check_message, text_of
from .registry import target


def _names() -> Iterator[bytes]:
    yield from (b"a.b\na%2Eb", b"..\n%2E%2E", b"x" * 300 + b"\n" + b"x" * 301, b".\n ", b"a~0123456789abcdef\na")
    yield from ("模型\nroot".encode(), b"\xed\xa0\x80\na", b"%\n%25", b"a/b:c*\na", b"a\0\n\x7f", b"Root\nroot")


@target(_names)
def name(data: bytes) -> None:
    """Names become file names and come back; no two names have one file name, and none leads anywhere."""
    texts = text_of(data).split("\n")[:4]
    encoded = {}
    for text in texts:
        try:
            names.check_name(text)
        except InvalidNameError as error:
            check_message(error)
            continue
        segment = names.escape_segment(text)
        assert "." not in segment
        assert names.unescape_segment(segment) == text
        assert names.join_name("a.b", text).rpartition(".") == ("a.b", ".", segment)
        for each in (text, segment):
            file = names.encode_for_file(each)
            assert encoded.setdefault(file, each) == each, "two names have one file"
            assert file.isascii()
            assert 0 < len(file) <= names.MAX_ENCODED_LENGTH
            assert not set(file) & set('/\\:*?"<>|\0\n')
            assert file[0] not in ". "
            assert file[-1] not in ". "
            for kind in ("StepLog", "BranchUpdate", "Metric"):
                chunk = names.parse_chunk_file(names.chunk_file(kind, each, 17))
                assert chunk is not None
                assert (chunk.kind, chunk.encoded, chunk.timestamp) == (kind, file, 17)
            parameters = names.parameter_file(each)
            assert names.is_parameter_file(parameters)
            assert parameters != names.parameter_file("")
            assert len(names.chunk_file("BranchUpdate", each, names.END_OF_TIME - 1).encode()) <= 255
        assert list(names.scopes_of(segment))[-1] == ""
        inner = names.encode_for_file(names.join_name(text, "x")) if text.isascii() else None
        assert inner is None or inner.startswith(names.inner_prefixes(text)), text


@target(
    lambda: [b"StepLog-a-1.json", b"Metric-a.b-2.jsonl", b"Sealed-1.jsonl", b"Journal-2-1.jsonl", b"run~ab", b"1" * 30]
)
def file_name(data: bytes) -> None:
    """Any name of a file is that of a chunk, of something else, or of nothing; ids of runs are good or refused."""
    file = data.decode("utf-8", "surrogateescape")
    chunk = names.parse_chunk_file(file)
    if chunk is not None:
        assert chunk.file == file
        assert 0 <= chunk.timestamp < names.END_OF_TIME
        assert f"{chunk.kind}-{chunk.encoded}-" == file[: len(chunk.kind) + len(chunk.encoded) + 2]
    if names.is_sealed_file(file) or names.is_journal_file(file):
        assert names.timestamp_of_packed(file) >= 0
        assert chunk is None
    names.is_parameter_file(file)
    names.is_data_folder(file, "run")
    try:
        names.check_run_id(file)
    except InvalidNameError:
        return
    assert file.isascii()
    assert "/" not in file
    assert 0 < len(file) <= names.MAX_RUN_ID_LENGTH


@target(lambda: [b"a/b.csv\nm.b", b"../x\n", b".branches/x\na", b"fit.execution.log\n", b"a//b\n\xff", b"/\n", b"\n"])
def data_name(data: bytes) -> None:
    """Data lies below its folder in the catalog, whatever it is called, or is refused."""
    text, _, branch = text_of(data).partition("\n")
    if "\0" not in text:
        default = default_name(text)
        assert not default.startswith("/")
        assert default == ".." or ".." not in default.split("/")
    try:
        check_data_name(text)
        if branch:
            names.check_name(branch)
    except InvalidNameError:
        return
    path = path_of("run", text, branch)
    parts = path.split("/")
    assert parts[0] == "run"
    assert not {"", ".", ".."} & set(parts)
    assert path.endswith(text)


@target(
    lambda: [b"2024-02-02 05:49:41.697142+00:00", b"2024-02-02", b"0001-01-01", b"9999-12-31T23:59:59-23:59", b"1e18"]
)
def moment(data: bytes) -> None:
    """A time of a run log is one, or none; one that is comes back."""
    text = text_of(data)
    found = parse_time(text)
    if found is not None:
        assert parse_time(format_time(found)) == found
    if text.isascii() and text.isdecimal() and len(text) < 40 and int(text) < names.END_OF_TIME:
        assert parse_time(format_nanoseconds(int(text)))
