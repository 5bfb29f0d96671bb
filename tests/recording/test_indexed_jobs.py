"""Pods of an indexed job: two with one index at once, and one that is evicted and replaced; no cluster is needed."""

import os
import signal
import subprocess
import sys

import pytest

import chunkstore

pytestmark = pytest.mark.thorough

POD = """
import os, sys, time
import chunkstore

with chunkstore.open_store("chunked-fs", log_folder="runs").join_run("sweep", create=True) as run:
    with run.step(f"pod-{os.environ['JOB_COMPLETION_INDEX']}") as step:
        step.log_metric("pod", os.environ["HOSTNAME"])
        try:
            print("at work", flush=True)
            sys.stdin.read()
        finally:
            time.sleep(float(os.environ.get("FAREWELL", 0)))
"""


class Pod:
    """A process that runs the program of a pod until it is told to end."""

    def __init__(self, folder, name, index=3, **environment):
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, "-c", POD],
            cwd=folder,
            env={**os.environ, "JOB_COMPLETION_INDEX": str(index), "HOSTNAME": name, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begun(self):
        """Wait until its step is recorded."""
        assert self.process.stdout.readline() == "at work\n"
        return self

    def ended(self, *signals, grace=0):
        """End it, by its input or by signals; return its exit code."""
        if not signals:
            self.process.stdin.close()
        for number in signals:
            self.process.send_signal(number)
            try:
                self.process.wait(grace if number != signal.SIGKILL else 30)
            except subprocess.TimeoutExpired:
                pass
        code = self.process.wait(30)
        self.process.stdin.close()
        self.process.stdout.close()
        return code


def told(folder):
    """Return what the log tells of the attempts of the one step: of which pod each was, and what came of it."""
    log = chunkstore.open_store("chunked-fs", log_folder=folder / "runs").get_run_log("sweep")
    assert log.problems == []
    (step,) = log.steps.values()
    return step, [(attempt.job, attempt.status) for attempt in step.attempts]


def test_two_pods_of_one_index_at_once_are_two_attempts_of_one_step(tmp_path):
    pods = [Pod(tmp_path, "sweep-3-aaaaa"), Pod(tmp_path, "sweep-3-bbbbb")]
    for pod in pods:
        pod.begun()
    assert [pod.ended() for pod in pods] == [0, 0]
    step, attempts = told(tmp_path)
    assert step.status == "SUCCESS"
    assert sorted(attempts) == [(f"Kubernetes {pod.name} index 3", "SUCCESS") for pod in pods]
    assert step.user_defined_metrics["pod"] in {pod.name for pod in pods}


def test_the_twin_that_fails_later_does_not_undo_the_success(tmp_path):
    first, second = Pod(tmp_path, "sweep-3-aaaaa").begun(), Pod(tmp_path, "sweep-3-bbbbb").begun()
    assert first.ended() == 0
    assert second.ended(signal.SIGTERM, grace=30) == 128 + signal.SIGTERM
    step, attempts = told(tmp_path)
    assert sorted(attempts) == [
        ("Kubernetes sweep-3-aaaaa index 3", "SUCCESS"),
        ("Kubernetes sweep-3-bbbbb index 3", "FAIL"),
    ]
    assert (step.status, step.user_defined_metrics) == ("SUCCESS", {"pod": first.name})


@pytest.mark.parametrize(
    ("signals", "farewell", "code", "status"),
    [
        ([signal.SIGTERM, signal.SIGKILL], "0", 128 + signal.SIGTERM, "FAIL"),
        ([signal.SIGTERM, signal.SIGKILL], "60", -signal.SIGKILL, "LOST"),
        ([signal.SIGKILL], "0", -signal.SIGKILL, "LOST"),
    ],
    ids=["evicted", "evicted, and too slow for its grace period", "out of memory"],
)
def test_a_pod_that_is_replaced_stays_an_attempt(tmp_path, signals, farewell, code, status):
    pod = Pod(tmp_path, "sweep-3-aaaaa", FAREWELL=farewell).begun()
    assert pod.ended(*signals, grace=1 if farewell != "0" else 30) == code
    step, attempts = told(tmp_path)
    assert (step.status == "FAIL") == (status == "FAIL")
    assert Pod(tmp_path, "sweep-3-bbbbb").begun().ended() == 0
    step, attempts = told(tmp_path)
    assert attempts == [("Kubernetes sweep-3-aaaaa index 3", status), ("Kubernetes sweep-3-bbbbb index 3", "SUCCESS")]
    assert (step.status, step.user_defined_metrics) == ("SUCCESS", {"pod": "sweep-3-bbbbb"})
