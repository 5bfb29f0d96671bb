"""The catalog in a bucket: what `Catalog` promises, over object stores."""

import os
import pickle
import re
import tracemalloc
from hashlib import sha256
from pathlib import Path

import pytest

import chunkstore
from chunkstore.backends.data import PART
from chunkstore.errors import DataNotFoundError, InvalidNameError
from chunkstore.recording.catalog import catalog_of, output_in_store
from chunkstore.recording.catalog.data_names import BY_HASH
from chunkstore.recording.output import OutputFile

IDENTITY, OTHER = "0123456789abcdef", "fedcba9876543210"


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def store(object_place):
    return chunkstore.open_store(object_place.url, **object_place.options)


@pytest.fixture
def memory(memory_place):
    return chunkstore.open_store(memory_place.url)


@pytest.fixture
def catalog(store, work):
    return catalog_of(store, "run", IDENTITY)


def keys(catalog):
    return sorted(entry.name for entry in catalog.files.below(""))


def put(catalog, name, text, branch=""):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    (entry,) = catalog.put(name, None, branch)
    return entry


def text_of(found):
    with found.content as content:
        return content.read()


def test_data_comes_back_as_it_was_put(catalog):
    for size in (0, 1, PART - 1, PART, PART + 1, 2 * PART + 5):
        data = os.urandom(size)
        entry = put(catalog, "d.bin", data)
        assert entry.data_hash == sha256(data).hexdigest()
        assert entry.catalog_relative_path == f"run~{IDENTITY}/d.bin"
        path, got = catalog.get("d.bin", "copy", "")
        assert path.read_bytes() == data
        assert got.data_hash == entry.data_hash
        assert path.read_bytes() == catalog.get_version(entry, "version")[0].read_bytes()
    assert not [key for key in keys(catalog) if ".tmp-" in key]


def test_what_data_replaces_is_kept(catalog):
    first, second = put(catalog, "a/d", "first"), put(catalog, "a/d", "second")
    assert catalog.get_version(first, "old")[0].read_text() == "first"
    assert catalog.get_newest(first, {first.data_hash, second.data_hash}, "new")[0].read_text() == "second"
    assert keys(catalog) == sorted(
        [f"run~{IDENTITY}/a/d", *(f"run~{IDENTITY}/{BY_HASH}/{entry.data_hash}" for entry in (first, second))]
    )


def test_who_may_do_what_with_data_is_kept(catalog):
    Path("tool").write_text("#!/bin/sh\n")
    os.chmod("tool", 0o750)
    catalog.put("tool", None, "")
    path, _ = catalog.get("tool", "copy", "")
    assert path.stat().st_mode & 0o777 == 0o750


def test_a_branch_gets_its_own_data_before_that_of_the_run(catalog):
    put(catalog, "d", "of the run")
    put(catalog, "d", "of the branch", "m.1")
    assert catalog.get("d", "got", "m.1.s.2")[0].read_text() == "of the branch"
    assert catalog.get("d", "got", "m.2")[0].read_text() == "of the run"
    with pytest.raises(DataNotFoundError, match="has no such data"):
        catalog.get("e", None, "m.1")


def test_data_belongs_to_one_incarnation_of_a_run(catalog, store):
    put(catalog, "d", "of the first")
    later = catalog_of(store, "run", OTHER)
    with pytest.raises(DataNotFoundError):
        later.get("d", None, "")
    put(later, "d", "of the second")
    catalog.remove()
    assert later.get("d", "got", "")[0].read_text() == "of the second"
    assert {key.partition("/")[0] for key in keys(catalog)} == {f"run~{OTHER}"}


def test_data_is_taken_over_without_being_sent_again(memory, work):
    catalog, later = catalog_of(memory, "first", IDENTITY), catalog_of(memory, "second", OTHER)
    entries = [put(catalog, "d", "data"), put(catalog, "big", os.urandom(PART + 7), "m.1")]
    assert later.has(entries, "first")
    adopted = later.adopt(entries, "first")
    catalog.remove()
    for before, entry in zip(entries, adopted, strict=True):
        assert entry.catalog_relative_path.partition("/")[0] == f"second~{OTHER}"
        assert (
            sha256(text_of(later.version(entry.catalog_relative_path, entry.data_hash))).hexdigest() == before.data_hash
        )


def test_data_that_somebody_changed_is_not_taken_over(catalog, store):
    entry = put(catalog, "d", "data")
    for key in keys(catalog):
        catalog.files.put(key, b"other", {})
    later = catalog_of(store, "later", OTHER)
    assert not later.has([entry], "run")
    with pytest.raises(DataNotFoundError):
        later.adopt([entry], "run")
    with pytest.raises(DataNotFoundError, match="are not those that run 'run' has recorded"):
        catalog.get_version(entry, "copy")
    assert not Path("copy").exists()


def test_what_another_run_keeps_is_not_deleted(catalog, store):
    put(catalog, "d", "data")
    keeper = catalog_of(store, "run", OTHER)
    keeper.keep(f"run~{IDENTITY}")
    catalog.remove()
    assert text_of(catalog.newest(f"run~{IDENTITY}/d")) == b"data"
    keeper.remove()
    catalog.remove()
    assert keys(catalog) == []


@pytest.mark.thorough
def test_data_of_any_size_takes_little_memory(s3_place, work):
    """The parts of a file, and what is sent of it at once, are all that is in memory."""
    catalog = catalog_of(chunkstore.open_store(s3_place.url, **s3_place.options), "run", IDENTITY)
    size = 12 * PART

    with open("long", "wb") as file:
        file.truncate(size)
    tracemalloc.start()
    try:
        (entry,) = catalog.put("long", None, "")
        catalog.get("long", "copy", "")
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert os.path.getsize("copy") == size
    assert entry.data_hash == sha256(bytes(size)).hexdigest()
    assert most < 7 * PART


@pytest.mark.parametrize("size", [PART // 2, 3 * PART])
def test_a_file_that_cannot_be_read_to_its_end_leaves_nothing(memory, work, size):
    catalog = catalog_of(memory, "run", IDENTITY)

    class Breaking:
        left = size

        def read(self, most):
            if self.left <= 0:
                raise OSError(5, "the disk is broken")
            self.left -= most
            return b"x" * most

        def tell(self):
            return 0

        def seek(self, *_):
            return size

    with pytest.raises(OSError, match="the disk is broken"):
        catalog.put_content(f"run~{IDENTITY}/d", "d", Breaking(), 0o644)
    assert keys(catalog) == []


def test_a_copy_that_was_stopped_does_not_count(memory, work, monkeypatch):
    """As if the process was killed: nothing is cleaned up, and nobody finds what it had sent."""
    catalog = catalog_of(memory, "run", IDENTITY)

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(type(catalog.files), "copy", stopped)
        patched.setattr(type(catalog.files), "delete", lambda *_: None)
        Path("d").write_bytes(os.urandom(PART + 1))
        with pytest.raises(KeyboardInterrupt):
            catalog.put("d", None, "")
    (left,) = keys(catalog)
    assert re.fullmatch(rf"run~{IDENTITY}/\.tmp-\d+-.*", left)
    with pytest.raises(DataNotFoundError):
        catalog.get("d", None, "")
    catalog.remove_left_over(*left.split("/"))
    assert keys(catalog) == []


@pytest.mark.parametrize("name", ["a\nb", "a\x7fb", "a\\b", "a/b.versions/c", "/".join(["x" * 250] * 5)])
def test_a_name_that_no_key_can_hold_is_refused(memory, work, name):
    catalog = catalog_of(memory, "run", IDENTITY)
    Path("d").write_text("data")
    with pytest.raises(InvalidNameError, match="Pass another name"):
        catalog.put("d", name, "")
    assert keys(catalog) == []


@pytest.mark.parametrize("name", ["a b", "ü", "a%b", "a~b", "#?", "[a]*", '"', "x" * 255])
def test_any_other_name_is_its_key(catalog, name):
    Path("d").write_text("data")
    catalog.put("d", name, "")
    assert f"run~{IDENTITY}/{name}" in keys(catalog)
    assert catalog.get(name, "copy", "")[0].read_text() == "data"


def test_what_a_step_prints_is_one_object(catalog):
    output = OutputFile(catalog, "s")
    output.write("one\n")
    output.write("two\n")
    entry = output.finish()
    assert keys(catalog) == [f"run~{IDENTITY}/s.execution.log"]
    assert text_of(catalog.newest(entry.catalog_relative_path)) == b"one\ntwo\n"
    assert entry.data_hash == sha256(b"one\ntwo\n").hexdigest()


def test_what_an_earlier_attempt_printed_is_kept(catalog):
    entries = []
    for text in ("first", "second", "third"):
        output = OutputFile(catalog, "s")
        output.write(text)
        entries.append(output.finish())
    for entry, text in zip(entries, (b"first", b"second", b"third"), strict=True):
        assert text_of(catalog.version(entry.catalog_relative_path, entry.data_hash)) == text
    assert text_of(catalog.newest(entries[-1].catalog_relative_path)) == b"third"


def test_what_a_step_prints_can_be_read_while_it_goes_on(catalog, monkeypatch):
    output = OutputFile(catalog, "s")
    output.write("one\n")
    place = output._opened[output._name].place
    relative = f"run~{IDENTITY}/s.execution.log"
    place.send()
    output.write("two\n")
    place.send()
    place.send()
    assert len(output_in_store.printed_parts(catalog.files, relative)) == 2
    assert catalog.is_seen(relative)
    assert b"".join(catalog.read_on(relative, 0)) == b"one\ntwo\n"
    assert b"".join(catalog.read_on(relative, 2)) == b"e\ntwo\n"
    assert b"".join(catalog.read_on(relative, 6)) == b"o\n"
    output.write("three\n")
    output.finish()
    assert b"".join(catalog.read_on(relative, 8)) == b"three\n"
    assert b"".join(catalog.read_on(relative, 14)) == b""
    assert keys(catalog) == [relative]


def test_parts_of_what_is_printed_go_up_by_themselves(memory, work, monkeypatch):
    monkeypatch.setattr(output_in_store, "SECONDS_BETWEEN_PARTS", 0.01)
    monkeypatch.setattr(output_in_store, "_sender", output_in_store._Sender())
    catalog = catalog_of(memory, "run", IDENTITY)
    output = OutputFile(catalog, "s")
    output.write("one\n")
    while not output_in_store.printed_parts(catalog.files, f"run~{IDENTITY}/s.execution.log"):
        pass
    output.finish()
    assert keys(catalog) == [f"run~{IDENTITY}/s.execution.log"]


def test_a_catalog_can_be_sent_to_another_process(store, memory):
    catalog = catalog_of(store, "run", IDENTITY)
    if store.backend.shared_between_processes:
        assert pickle.loads(pickle.dumps(catalog)).path == catalog.path
    else:
        with pytest.raises(chunkstore.StoreUsageError, match="to another process"):
            pickle.dumps(catalog)


def test_a_bucket_may_have_its_catalog_in_a_folder(object_place, work):
    store = chunkstore.open_store(object_place.url, catalog_folder="data", **object_place.options)
    catalog = catalog_of(store, "run", IDENTITY)
    put(catalog, "d", "data")
    assert (work / "data" / "run" / "d").read_text() == "data"
