"""What processes do that race for one run in a bucket."""

from recorded import count

import chunkstore
from chunkstore.errors import RunLogExistsError


def create(url, options, number, run_ids):
    """Create runs; return those that this process has created."""
    store = chunkstore.open_store(url, **options)
    won = []
    for run_id in run_ids:
        try:
            store.create_run_log(run_id, tag=str(number))
        except RunLogExistsError:
            continue
        won.append(run_id)
    return won


def change_step(url, options, _, times):
    store = chunkstore.open_store(url, **options)
    for _ in range(times):
        store.update_step_log("run", "counted", count)


def change_run(url, options, _, times):
    store = chunkstore.open_store(url, **options)
    for _ in range(times):
        store.update_run_log("run", _count)


def _count(log):
    log.run_config["count"] = log.run_config.get("count", 0) + 1


def change_parameters(url, options, number, times):
    store = chunkstore.open_store(url, **options)
    for turn in range(times):
        store.set_parameters("run", {f"{number}-{turn}": turn})
