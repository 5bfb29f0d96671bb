"""A run whose processes were all killed is resumed by another process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import chunkstore
from recording import pipeline, work

TESTS = Path(__file__).parents[1]


class Pipeline:
    """Starts `pipeline.py` as a user would, in a session of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.log_folder = str(folder / "log")
        self.calls = str(folder / "calls")
        self.go = folder / "go"
        os.mkdir(self.calls)
        self.store = chunkstore.open_store("chunked-fs", log_folder=self.log_folder)
        self.started = []

    def start(self, run_id, resume=""):
        process = subprocess.Popen(
            [sys.executable, pipeline.__file__, self.log_folder, self.calls, run_id, resume],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.started.append(process)
        return process

    def finish(self, run_id, resume=""):
        """Run it to its end, and return its log."""
        process = self.start(run_id, resume)
        output, _ = process.communicate(timeout=40)
        assert process.returncode == 0, output.decode()
        return self.store.get_run_log(run_id, strict=True)

    def recorded(self, run_id):
        """Return how many branches a run has finished; none while it does not exist."""
        try:
            log = self.store.get_run_log(run_id)
        except chunkstore.RunLogNotFoundError:
            return 0
        branches = log.steps["score"].branches.values() if "score" in log.steps else ()
        return sum(branch.status == "SUCCESS" for branch in branches)

    def kill(self, process):
        """End the whole process group at once, as a batch system does."""
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def program(tmp_path):
    made = Pipeline(tmp_path)
    yield made
    for process in made.started:
        if process.poll() is None:
            made.kill(process)
        process.stdout.close()


@pytest.fixture
def killed(program):
    """A run that was killed when its quick branches had ended and two slow ones had begun."""
    process = program.start("first")
    work.wait_for(lambda: program.recorded("first") == pipeline.QUICK or process.poll() is not None)
    slow = [os.path.join(program.calls, str(number)) for number in (pipeline.QUICK, pipeline.QUICK + 1)]
    work.wait_for(lambda: os.path.exists(slow[0]) or os.path.exists(slow[1]))
    assert process.poll() is None
    program.kill(process)
    return program


def test_a_killed_run_still_says_what_was_going_on(killed):
    log = killed.store.get_run_log("first", strict=True)
    assert log.status == "PROCESSING"
    assert log.steps["load"].status == "SUCCESS"
    assert log.steps["score"].status == "PROCESSING"
    statuses = [branch.status for branch in log.steps["score"].branches.values()]
    assert statuses.count("SUCCESS") == pipeline.QUICK
    assert set(statuses) == {"SUCCESS", "PROCESSING"}


def test_branches_that_a_killed_run_finished_are_not_run_again(killed):
    begun = work.noted(killed.calls)
    killed.go.touch()
    log = killed.finish("second", resume="first")
    for number in range(len(pipeline.ITEMS)):
        expected = 1 if number < pipeline.QUICK else 1 + begun.get(str(number), 0)
        assert work.noted(killed.calls)[str(number)] == expected
    assert work.noted(killed.calls)["load"] == 1
    assert work.noted(killed.calls)["total"] == 1
    assert (log.status, log.use_cached, log.original_run_id) == ("SUCCESS", True, "first")
    assert log.parameters == {"seed": 7}


@pytest.mark.thorough
def test_a_resumed_run_has_the_results_of_one_that_was_never_killed(killed):
    killed.go.touch()
    resumed = killed.finish("second", resume="first")
    whole = killed.finish("whole")
    assert resumed.steps["total"].result == whole.steps["total"].result == pytest.approx(4.5)
    results = []
    for log in (resumed, whole):
        branches = log.steps["score"].branches
        steps = {name: branches[name].steps[f"{name}.score"] for name in sorted(branches)}
        results.append({name: (step.result, step.user_defined_metrics) for name, step in steps.items()})
    assert results[0] == results[1]
    assert len(results[0]) == len(pipeline.ITEMS)


def test_what_is_taken_over_from_a_killed_run_is_recorded_as_cached(killed):
    killed.go.touch()
    log = killed.finish("second", resume="first")
    assert (log.steps["load"].mock, log.steps["load"].cached_from) == (True, "first")
    for name, branch in log.steps["score"].branches.items():
        cached = int(name.removeprefix("score.data/").removesuffix("%2Ecsv")) < pipeline.QUICK
        step = branch.steps[f"{name}.score"]
        assert step.mock == cached
        assert (step.cached_from == "first") == cached
        assert (branch.cached_from == "first") == cached
        assert branch.status == step.status == "SUCCESS"


@pytest.mark.thorough
def test_a_resumed_run_that_is_killed_too_is_resumed_again(killed):
    begun = work.noted(killed.calls)
    process = killed.start("second", resume="first")
    work.wait_for(lambda: killed.recorded("second") >= pipeline.QUICK or process.poll() is not None)
    killed.kill(process)
    killed.go.touch()
    log = killed.finish("third", resume="second")
    assert log.status == "SUCCESS"
    assert log.steps["load"].cached_from == "second"
    for number in range(pipeline.QUICK):
        assert work.noted(killed.calls)[str(number)] == begun[str(number)] == 1
