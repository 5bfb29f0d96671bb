"""Runs are copied into buckets and out of them, with few requests."""

import pytest

import chunkstore
from chunkstore.maintenance.retention import Rule, collect, plan_retention
from maintenance.copying.runs import RUN, chunks, copied, open_store, record, record_into, same


@pytest.fixture
def disk(tmp_path):
    return open_store("chunked-fs", tmp_path / "disk")


def bucket(place):
    return chunkstore.open_store(place.url, **place.options)


def test_a_node_records_on_its_disk_and_sends_the_run_to_a_bucket(disk, object_place, tmp_path):
    store = bucket(object_place)
    with disk.start_run(RUN, parameters={"seed": 7}) as run:
        record_into(disk, run, 2, data=True)
        assert not copied(disk, store).has_ended
        assert same(disk, store)
        disk.set_parameters(RUN, {"later": 1})
        with run.step("later"):
            pass
        assert copied(disk, store).chunks == 2
        assert same(disk, store)
        assert store.liveness(RUN).state == ("UNKNOWN" if object_place.server else "LIVE")
    assert copied(disk, store).has_ended
    assert copied(disk, bucket(object_place)).outcome == "unchanged"
    assert same(disk, store)
    assert chunks(disk) == chunks(store)
    assert chunkstore.get_data(store, RUN, "in-1.py", to=tmp_path / "got").read_bytes()
    back = open_store("chunked-fs", tmp_path / "back")
    assert copied(store, back).data == 2
    assert chunks(disk) == chunks(back)
    assert list(chunkstore.verify(store, with_data=True)) == list(chunkstore.verify(back, with_data=True)) == []


def test_data_that_was_copied_into_a_bucket_is_deleted_with_the_last_copy(disk, object_place):
    record(disk, data=True)
    store = bucket(object_place)
    copied(disk, store)
    assert data_in(store)
    delete_with_data(store)
    assert data_in(store) == []
    copied(disk, store)
    assert list(chunkstore.verify(store, with_data=True)) == []


def data_in(store):
    return [entry.name for entry in store.data_files.below("")]


def delete_with_data(store):
    plan = plan_retention(store, Rule(keep_last=0), with_data=True)
    assert [done.failed for done in collect(store, plan, with_data=True)] == [False]


def test_a_run_in_a_bucket_is_copied_while_it_is_recorded(object_place, tmp_path):
    other = chunkstore.open_store("memory://" + object_place.prefix + "-copies")
    source, targets = bucket(object_place), [other, open_store("file-system", tmp_path / "target")]
    with source.start_run(RUN) as run:
        record_into(source, run, 2)
        for target in targets:
            copied(source, target)
            assert same(source, target)
        change_by_others_again(source)
        with run.step("later"):
            pass
    for target in targets:
        copied(source, target)
        assert same(source, target)


def change_by_others_again(store):
    store.anew().update_step_log(RUN, "map.a.fit", lambda step: setattr(step, "message", "twice"))
    store.set_parameters(RUN, {"more": 1})
