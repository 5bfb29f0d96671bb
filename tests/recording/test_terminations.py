"""In a job of a batch system, SIGTERM ends what is recorded, and the records say so; elsewhere it does what it does."""

import os
import signal
import subprocess
import sys
import time

import pytest

import chunkstore

JOB = {"SLURM_JOB_ID": "77", "SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "7"}
PROGRAM = """
import os, signal, sys, time
import chunkstore

store = chunkstore.open_store("chunked-fs", log_folder=sys.argv[1])
{before}
with store.{begin} as run:
    {inside}
"""
WAITS = "print('at work', flush=True); time.sleep(60)"


def started(folder, *, job=JOB, before="", begin='join_run("r", create=True)', inside):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "JOB_"))}
    program = PROGRAM.format(before=before, begin=begin, inside=inside)
    return subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        env={**environment, **job},
        stdout=subprocess.PIPE,
        text=True,
    )


def ended(process, sent=1):
    """Wait until a process says that it is at work, end it with SIGTERM, and return its exit code."""
    with process:
        process.stdout.readline()
        for _ in range(sent):
            process.send_signal(signal.SIGTERM)
        return process.wait(30)


def log_of(folder):
    return chunkstore.open_store("chunked-fs", log_folder=folder).get_run_log("r")


@pytest.mark.parametrize("sent", [1, 2])
def test_in_a_job_the_step_that_sigterm_ends_says_so(tmp_path, sent):
    assert ended(started(tmp_path, inside=f"with run.step('s'): {WAITS}"), sent) == 128 + signal.SIGTERM
    step = log_of(tmp_path).steps["s"]
    assert (step.status, step.attempts[-1].status) == ("FAIL", "FAIL")
    assert step.message.startswith("Terminated: SIGTERM: Slurm 70_7 was told to end")


def test_a_step_that_waits_for_its_next_attempt_says_so(tmp_path):
    inside = "run.step('s', lambda: print('at work', flush=True) or 1 / 0, max_attempts=2, backoff=60)"
    process = started(tmp_path, inside=inside)
    process.stdout.readline()
    while not ((step := log_of(tmp_path).steps.get("s")) and step.attempts[-1].status == "FAIL"):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    with process:
        assert process.wait(30) == 128 + signal.SIGTERM
    step = log_of(tmp_path).steps["s"]
    assert [attempt.message.splitlines()[-1] for attempt in step.attempts] == ["ZeroDivisionError: division by zero"]
    assert step.message.startswith("Terminated: SIGTERM: Slurm 70_7 was told to end")


@pytest.mark.thorough
@pytest.mark.parametrize("work", ["await asyncio.sleep(60)", "time.sleep(60)"], ids=["waits", "runs"])
def test_asyncio_ends_with_it_and_what_is_cancelled_says_so(tmp_path, work):
    before = f"""
import asyncio
async def work(item):
    if item == 1:
        print('at work', flush=True)
        {work}
    await asyncio.sleep(60)
"""
    assert ended(started(tmp_path, before=before, inside="asyncio.run(run.amap('m', [0, 1], work))")) == 143
    step = log_of(tmp_path).steps["m"]
    for record in (step, *(inner for branch in step.branches.values() for inner in branch.steps.values())):
        assert record.status == "FAIL"
        assert "SIGTERM: Slurm 70_7 was told to end" in record.message


def test_a_run_that_was_started_in_the_job_ends_with_it(tmp_path):
    process = started(tmp_path, begin='start_run("r")', inside=f"run.step('s', lambda: [{WAITS.replace(';', ',')}])")
    assert ended(process) == 128 + signal.SIGTERM
    log = log_of(tmp_path)
    assert (log.status, log.steps["s"].status) == ("FAIL", "FAIL")
    assert "SIGTERM" in log.notes["message"]


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"job": {}, "inside": f"with run.step('s'): {WAITS}"}, "PROCESSING"),
        (
            {
                "before": "signal.signal(signal.SIGTERM, lambda *_: os._exit(5))",
                "inside": f"with run.step('s'): {WAITS}",
            },
            5,
        ),
        ({"inside": f"run.step('s', int); run.__exit__(None, None, None); {WAITS}"}, "SUCCESS"),
    ],
    ids=["outside of any job", "the program handles it itself", "nothing is recorded any more"],
)
def test_elsewhere_sigterm_does_what_it_would_do(tmp_path, options, status):
    code = ended(started(tmp_path, **options))
    assert code == (status if isinstance(status, int) else -signal.SIGTERM)
    assert log_of(tmp_path).steps["s"].status == ("PROCESSING" if isinstance(status, int) else status)


def test_forked_children_are_ended_at_once(tmp_path):
    inside = """
    with run.step("s"):
        for _ in range(20):
            pid = os.fork()
            if not pid:
                time.sleep(10)
                os._exit(0)
            os.kill(pid, signal.SIGTERM)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
        print("all")
    """
    with started(tmp_path, inside=inside.strip()) as process:
        assert process.stdout.read() == "all\n"
    assert log_of(tmp_path).steps["s"].status == "SUCCESS"
