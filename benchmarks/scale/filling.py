"""Filling a store with runs of the past: sealed ones, and as many objects of others as are asked for."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import chunkstore
from benchmarks.buckets.server import Server
from benchmarks.example import make_step
from benchmarks.scale.places import StorePlace
from chunkstore.records.encoding import encode_record
from chunkstore.records.integrity import with_checksum

_THREADS = 32
#: Steps of a run of the past, and chunks of one that was never sealed.
STEPS, CHUNKS = 10, 900


def add_runs(place: StorePlace, count: int, *, seal: bool = False) -> None:
    """Add runs that have ended, each written as a whole.

    Args:
        place: where.
        count: how many.
        seal: whether they are sealed then, where they are not written so.
    """
    store = place.open()
    steps = {step.internal_name: step for step in map(make_step, range(STEPS))}

    def add(number: int) -> None:
        log = chunkstore.RunLog(run_id=f"past-{number:06}", status="SUCCESS")
        log.steps.update(steps)
        store.add_run_log(log)
        if seal:
            store.seal(log.run_id)

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(add, range(count)))


def add_objects(server: Server, prefix: str, place: StorePlace, count: int) -> None:
    """Put chunks into runs that go on, the bytes that chunkstore would put, without its looks and its clock.

    Args:
        server: where.
        prefix: of the store.
        place: the store.
        count: how many.
    """
    import obstore  # noqa: PLC0415 - perhaps not installed

    store = place.open()
    client: Any = server.place(prefix).connect()
    runs = [store.create_run_log(f"open-{number:04}") for number in range(-(-count // CHUNKS))]
    now = time.time_ns()

    def put(number: int) -> None:
        run = runs[number // CHUNKS]
        step = make_step(number % CHUNKS)
        key = f"{run.run_id}/StepLog-{step.internal_name}-{now + number}.json"
        data = with_checksum(encode_record(step))
        obstore.put(client, key, data, attributes={"incarnation": run.incarnation}, use_multipart=False)

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(put, range(count)))
