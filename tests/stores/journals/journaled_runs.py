"""A run whose chunks are lines of journals."""

import json

import chunkstore
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.records.fields import MetricPoint
from chunkstore.stores.base import StoreOptions
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.testing.faults import FaultySyscalls

RUN = "run"


def points(store, name="a"):
    series = store.get_run_log(RUN, strict=True).steps[name].metric_series or {}
    return [point.step for point in series.get("m", [])]


def add_point(store, number, name="a"):
    store.append_metrics(RUN, name, {"m": [MetricPoint(number, number)]})


def finish(store):
    store.update_run_log(RUN, lambda log: setattr(log, "status", "SUCCESS"))


def opened(logs, **options):
    return chunkstore.open_store("chunked-fs", log_folder=logs, container="journal", **options)


def faulty(logs, durability="process", **options):
    syscalls = FaultySyscalls(**options)
    backend = DirectoryBackend(logs, durability=durability, syscalls=syscalls)
    return ChunkedStore(backend, StoreOptions(container="journal")), syscalls


def files_in(data):
    return [json.loads(line)["file"].partition("-")[0] for line in data.splitlines()]
