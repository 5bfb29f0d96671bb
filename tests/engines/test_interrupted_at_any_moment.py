"""Whenever an interrupt comes: at no later time does a branch of a finished run say that it goes on."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
#: How often each kind is tried; where processes start, a time costs a second.
MOMENTS = {"threads": 15, "processes": 6, "own": 6, "says yes": 15}

#: Interrupts itself at random moments, with a new run and a new engine each time; prints what is wrong.
PROGRAM = """
import json, os, random, signal, sys, threading, time, _thread
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
import chunkstore
from chunkstore.records.models import PROCESSING
from chunkstore.views.walking import all_records
from recording import gates, work

kind, folder, moments, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
store = chunkstore.open_store("chunked-fs", log_folder=folder, durability="process")
rng = random.Random(seed)
engines = {
    "threads": lambda: ThreadPoolExecutor(2),
    "processes": lambda: ProcessPoolExecutor(2),
    "own": lambda: None,
    "says yes": gates.Unstoppable,
}
found, ended = [], 0


def going_on(run_id):
    log = store.get_run_log(run_id)
    if log.status == PROCESSING:
        return None
    names = [record.internal_name for record in all_records(log.steps.values()) if record.status == PROCESSING]
    names += [record.internal_name for record in store.iter_records(run_id) if record.status == PROCESSING]
    counted = store.count_steps(run_id)
    return names + ([f"{counted} != {log.notes['steps']}"] if counted != log.notes["steps"] else [])


def interrupt(after):
    time.sleep(after)
    os.kill(os.getpid(), signal.SIGINT)


for number in range(moments):
    run_id, executor = f"run-{number}", engines[kind]()
    interrupting = threading.Thread(target=interrupt, args=(rng.random() * 0.15,))
    try:
        with store.start_run(run_id) as run:
            interrupting.start()
            run.map("score", range(12), work.a_while, executor=executor)
            time.sleep(5)
    except KeyboardInterrupt:
        pass
    interrupting.join()
    if not store.has_run(run_id):
        continue
    first = going_on(run_id)
    if kind == "processes":
        executor.shutdown(wait=False)  # one that was interrupted while it started may be waited for in vain
        time.sleep(0.2)
    elif executor is not None:
        getattr(executor, "_pool", executor).shutdown(wait=True)
    later = going_on(run_id)
    ended += later is not None
    if first or later:
        found.append([run_id, first, later])
print(json.dumps({"found": found, "ended": ended}), flush=True)
if kind == "processes":
    os._exit(0)  # the program's own pool, interrupted while it started a worker, would be waited for, in vain
"""


@pytest.mark.thorough
@pytest.mark.parametrize("kind", MOMENTS)
def test_no_branch_goes_on_for_ever_in_a_run_that_was_interrupted_at_any_moment(tmp_path, kind):
    paths = [str(TESTS), str(TESTS / "support"), *filter(None, [os.environ.get("PYTHONPATH")])]
    told, errors = tmp_path / "told", tmp_path / "errors"
    with told.open("w") as out, errors.open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, kind, str(tmp_path / "log"), str(MOMENTS[kind]), "1"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,
            stdout=out,
            stderr=err,
        )
    try:
        assert process.wait(120) == 0, errors.read_text()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # a pool that is interrupted while it starts may leave workers
        process.wait()
    found = json.loads(told.read_text().splitlines()[-1])
    assert found["found"] == []
    assert found["ended"] > MOMENTS[kind] // 2
