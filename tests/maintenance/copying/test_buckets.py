"""Runs are copied into buckets and out of them, with few requests."""

import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

import chunkstore
from chunkstore.maintenance.copying import copy_runs
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


def test_data_that_was_copied_out_of_a_bucket_is_deleted_with_the_copy(object_place, tmp_path):
    store, back = bucket(object_place), open_store("chunked-fs", tmp_path / "back")
    record(store, data=True)
    copied(store, back)
    assert chunkstore.get_data(back, RUN, "in-1.py", to=tmp_path / "got").read_bytes()
    delete_with_data(back)
    assert [path.name for path in (tmp_path / "back" / "catalog").iterdir() if path.name.startswith(RUN)] == []
    assert data_in(store)


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


def test_a_finished_run_is_copied_with_few_requests_and_found_unchanged_with_one(disk, s3_place):
    with s3_place.behind_proxy() as (place, proxy):
        bucket(place).create_run_log("earlier")
        record(disk, steps=50)
        with proxy.counted() as first:
            copied(disk, bucket(place))
        with proxy.counted() as again:
            assert copied(disk, bucket(place)).outcome == "unchanged"
    # The first write of a process finds out whether the server keeps its conditions.
    sent = [request for request in first.requests if request.operation == "put" and request.status == 200]
    assert [request.key.rpartition("/")[2].partition("-")[0] for request in sent] == ["Sealed", "RunLog.json"]
    assert first.gets + first.lists <= 4
    assert again.by_operation == {"get": 1}


def test_of_a_run_that_goes_on_only_what_is_new_is_sent(disk, s3_place):
    with s3_place.behind_proxy() as (place, proxy), disk.start_run(RUN, capture_output=False) as run:
        record_into(disk, run, 50)
        store = bucket(place)
        copied(disk, store)
        with run.step("later"):
            pass
        with proxy.counted() as counted:
            copied(disk, store)
        assert same(disk, store)
    assert counted.puts <= 2
    assert counted.total <= 10


def test_many_runs_are_copied_at_once(disk, s3_place):
    for number in range(40):
        disk.create_run_log(f"run-{number}", status="SUCCESS")
    with s3_place.behind_proxy(latency=0.03) as (place, proxy), proxy.counted() as counted:
        report = copy_runs(disk, bucket(place))
    assert not report.has_problems
    assert counted.most_at_once >= 16


@pytest.mark.thorough
def test_copies_into_a_bucket_that_are_killed_again_and_again_come_to_an_end(disk, s3_place):
    names = [f"run-{number}" for number in range(20)]
    for name in names:
        record(disk, name, steps=2, data=True)
    command = [
        sys.executable,
        "-m",
        "chunkstore",
        "copy",
        "--all",
        "--store",
        disk.backend.location,
        "--to",
        s3_place.url,
    ]
    chance = random.Random(3)
    store = bucket(s3_place)
    for _ in range(6):
        process = subprocess.Popen(
            [*command, "--store", disk.backend.location],
            env={**os.environ, **s3_place.environment},
        )
        try:
            process.wait(chance.uniform(0.4, 1.5))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for run in store.list_runs():
            assert run.status == "PROCESSING" or same(disk, store, run.run_id)
    assert list(store.list_runs())
    assert not copy_runs(disk, store).has_problems
    assert all(same(disk, store, name) for name in names)
    assert list(chunkstore.verify(store, with_data=True)) == []


@pytest.mark.thorough
def test_a_run_in_a_bucket_that_eight_write_is_copied_until_both_are_equal(s3_place, tmp_path):
    source, target = bucket(s3_place), open_store("chunked-fs", tmp_path / "target")
    source.create_run_log(RUN)
    source.add_step_log(RUN, chunkstore.StepLog(name="shared", internal_name="shared"))

    def write(number):
        store = bucket(s3_place)
        run = store.join_run(RUN)
        for each in range(4):
            with run.step(f"step-{number}-{each}") as step:
                step.log_metric("loss", each, step=each)
            store.set_parameters(RUN, {f"p-{number}": each})
            store.anew().update_step_log(RUN, "shared", lambda found: found.user_defined_metrics.update({number: 1}))

    with ThreadPoolExecutor(8) as pool:
        writers = [pool.submit(write, f"writer-{number}") for number in range(8)]
        while not all(writer.done() for writer in writers):
            copied(source, target)
    assert [writer.result() for writer in writers] == [None] * 8
    copied(source, target)
    assert same(source, target)
    assert len(target.get_step_log(RUN, "shared").user_defined_metrics) == 8
