"""Whoever lists the runs of a bucket while others change them never sees what no record says, in real processes."""

import os
import random
import subprocess
import sys

import pytest
from request_counts import opened

from chunkstore.records.models import FAIL, SUCCESS

_LISTS = """
import sys, chunkstore
while True:
    print(sum(1 for _ in chunkstore.open_store(sys.argv[1]).list_runs()), flush=True)
"""


@pytest.mark.thorough
def test_lists_by_other_processes_do_not_mislead_those_who_change_runs(s3_place):
    store = opened(s3_place)
    acknowledged = {}
    for number in range(30):
        store.create_run_log(f"run-{number}", status=SUCCESS)
        acknowledged[f"run-{number}"] = "", SUCCESS
    listing = [
        subprocess.Popen(
            [sys.executable, "-c", _LISTS, s3_place.url],
            env={**os.environ, **s3_place.environment},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        for process in listing:
            assert process.stdout.readline()  # it has begun
        chance = random.Random(1)
        for number in range(40):
            run = f"run-{chance.randrange(30)}"
            if run not in acknowledged:
                store.create_run_log(run, tag=str(number), status=SUCCESS)
                acknowledged[run] = str(number), SUCCESS
            elif chance.random() < 0.3:
                store.delete_run(run)
                del acknowledged[run]
            else:
                status = chance.choice([SUCCESS, FAIL])

                def change(log, number=number, status=status):
                    log.tag, log.status = str(number), status

                store.update_run_log(run, change)
                acknowledged[run] = str(number), status
            assert {one.run_id: (one.tag, one.status) for one in opened(s3_place).list_runs()} == acknowledged
        assert all(process.poll() is None for process in listing)
    finally:
        for process in listing:
            process.kill()
            process.communicate()
