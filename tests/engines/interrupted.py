"""A program that is interrupted while its branches wait; what they note tells how far they came.

python interrupted.py ENGINE LOG_FOLDER NOTES ITEMS
"""

import time
from functools import partial
from pathlib import Path

from clusters import engine

import chunkstore


def held(notes, item):
    """Begin, and go on when there is a file `go`."""
    notes = Path(notes)
    run = chunkstore.current_run()
    with run.step("before"):
        (notes / f"begun-{item}").touch()
    deadline = time.monotonic() + 60
    while not (notes / "go").exists():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.02)
    with run.step("after") as step:
        step.log_metric("item", item)
    (notes / f"ended-{item}").touch()
    return item


def main(name, folder, notes, items, error=""):
    """Map until somebody interrupts that, or until there is a file `begun-1`, and then an error in the driver."""
    store = chunkstore.open_store("chunked-fs", log_folder=folder)
    with engine(name) as executor, store.start_run("run") as run:
        given = failing(notes, error) if error else range(int(items))
        run.map("score", given, partial(held, notes), executor=executor)


def failing(notes, error):
    yield from range(2)
    while not (Path(notes) / "begun-1").exists():
        time.sleep(0.02)
    raise ValueError(error)
