"""A pipeline that is started as a program of its own, and killed: `python pipeline.py LOG_FOLDER CALLS RUN RESUME`."""

import sys
from functools import partial
from pathlib import Path

import chunkstore
from recording import work

ITEMS = [f"data/{number}.csv" for number in range(10)]
QUICK = 4


def score(calls, item):
    """Score an item; the later ones wait until the file `go` is there."""
    number = int(item.removeprefix("data/").removesuffix(".csv"))
    work.note(calls, number)
    if number >= QUICK:
        work.wait_for_file(Path(calls).with_name("go"))
    chunkstore.current_step().log_metric("number", number)
    return {"item": item, "score": number / 10}


def load(calls):
    work.note(calls, "load")
    return len(ITEMS)


def total(calls, scores):
    work.note(calls, "total")
    return sum(score["score"] for score in scores)


def main(log_folder, calls, run_id, resume):
    store = chunkstore.open_store("chunked-fs", log_folder=log_folder)
    with store.start_run(run_id, resume=resume or None, parameters={} if resume else {"seed": 7}) as run:
        assert run.step("load", load, calls) == len(ITEMS)
        scores = run.map("score", ITEMS, partial(score, calls))
        run.step("total", total, calls, scores)


if __name__ == "__main__":
    main(*sys.argv[1:])
