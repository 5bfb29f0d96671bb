"""Each fault at each request of what is done with data: it returned and is there, or it raised and nothing counts."""

import os
from hashlib import sha256
from pathlib import Path

import pytest

import chunkstore
from chunkstore.backends.data import PART
from chunkstore.backends.objects import waits
from chunkstore.errors import ChunkstoreError, DataNotFoundError
from chunkstore.recording.catalog import catalog_of
from chunkstore.recording.output import OutputFile
from chunkstore.testing.proxy import CUT_REPLY, LOST_REPLY, answered, refused

IDENTITY = "0123456789abcdef"
FAULTS = [LOST_REPLY, CUT_REPLY, refused(503, "SlowDown"), answered(500, "InternalError")]
SMALL, LARGE = b"data", os.urandom(PART + 1)
#: For good: nothing comes through from there on.
ONCE, FOR_GOOD = 1, None


@pytest.fixture(autouse=True)
def _no_pauses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(waits, "_FIRST_PAUSE", 0.0)
    monkeypatch.setattr(waits, "_LONGEST_PAUSE", 0.0)


def catalog_at(place):
    return catalog_of(chunkstore.open_store(place.url, **place.options), "run", IDENTITY)


def put(catalog, data):
    Path("d").write_bytes(data)
    (entry,) = catalog.put("d", None, "")
    return entry


def put_small(catalog):
    assert put(catalog, SMALL).data_hash == sha256(SMALL).hexdigest()


def put_large(catalog):
    assert put(catalog, LARGE).data_hash == sha256(LARGE).hexdigest()


def print_something(catalog):
    output = OutputFile(catalog, "s")
    output.write("printed")
    assert output.finish().data_hash == sha256(b"printed").hexdigest()


def get_large(catalog):
    assert catalog.get("before", "got", "")[0].read_bytes() == LARGE


def there(catalog, name):
    try:
        return catalog.get(name, "found", "")[0].read_bytes()
    except DataNotFoundError:
        return None


def cases():
    for does, name, whole in ((put_small, "d", SMALL), (put_large, "d", LARGE), (print_something, "", None)):
        for fault in FAULTS:
            is_quick = does is put_small and fault is LOST_REPLY
            marks = () if is_quick else pytest.mark.thorough
            yield pytest.param(does, name, whole, fault, marks=marks, id=f"{does.__name__}-{fault}")


@pytest.mark.parametrize(("does", "name", "whole", "fault"), list(cases()))
def test_a_fault_at_a_request_loses_no_data_and_leaves_no_half(s3_place, s3_proxy, does, name, whole, fault):
    for times in (ONCE,) if whole is LARGE else (ONCE, FOR_GOOD):  # large data is tried again for long
        number = 0
        while True:
            place = s3_place.fresh()
            behind = catalog_at(place.through(s3_proxy.endpoint))
            if times is FOR_GOOD:
                behind.files._client._patience = 0.0
            error = None
            with s3_proxy.failing(fault, at=number, times=times) as planned:
                try:
                    does(behind)
                except (ChunkstoreError, OSError) as raised:
                    error = raised
            where = f"{fault} at request {number}, {times}: {error!r}"
            healthy = catalog_at(place)
            assert error is None or times is FOR_GOOD, where
            if name:
                found = there(healthy, name)
                assert found == whole if error is None else found in (None, whole), where
            if error is not None:
                does(healthy)  # it can be done again
            if not planned.hit:
                break
            number += 1
        assert number > 0


@pytest.mark.thorough
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_data_that_is_got_is_whole_or_not_there(s3_place, s3_proxy, fault):
    Path("before").write_bytes(LARGE)
    catalog_at(s3_place).put("before", None, "")
    behind = catalog_at(s3_place.through(s3_proxy.endpoint))
    number = 0
    while True:
        with s3_proxy.failing(fault, at=number) as planned:
            get_large(behind)
        if not planned.hit:
            break
        number += 1
    behind.files._client._patience = 0.0
    with s3_proxy.failing(fault, at=1, times=None), pytest.raises(ChunkstoreError, match="Cannot read"):
        behind.get("before", "half", "")
    assert not Path("half").exists()
    assert not [name for name in os.listdir() if name.startswith(".tmp-")]
