"""Adding a step costs a few system calls, however many steps a run has; no lock, no listing, no read."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from processes import Forked
from recorded import step

import chunkstore
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.errors import LockTimeoutError
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.testing.faults import CountingSyscalls

RUN = "run"
MANY = 10_000
#: Open, write, link, close, and a look at the folder; or open, write, close, link, unlink, and that look.
FEW = 8  # what each call is for is said in the README


@pytest.fixture
def folder(memory):
    return str(memory)


def fill(folder, steps):
    """Make a run of many steps in no time: as files, not through a store."""
    chunkstore.open_store("chunked-fs", log_folder=folder).create_run_log(RUN)
    for number in range(steps):
        with open(f"{folder}/{RUN}/StepLog-old-{number}-{number + 1}.json", "w") as file:
            file.write(step(f"old-{number}").to_json())


@pytest.mark.sampled
@pytest.mark.parametrize("unnamed", [True, False], ids=["unnamed files", "temporary files"])
def test_the_cost_of_adding_does_not_depend_on_the_number_of_steps(folder, monkeypatch, unnamed):
    if not unnamed:
        monkeypatch.setattr("chunkstore.backends.disk.folder.has_unnamed_files", lambda: False)
    costs = []
    for steps in (10, MANY):
        logs = f"{folder}/{steps}"
        os.mkdir(logs)
        fill(logs, steps)
        syscalls = CountingSyscalls()
        store = ChunkedStore(DirectoryBackend(logs, syscalls=syscalls))
        store.add_step_log(RUN, step("first"))  # opens the folder, once
        first = syscalls.counts
        assert "list" not in first
        for add in (step("second"), step("second", message="again")):
            syscalls.clear()
            store.add_step_log(RUN, add)
            assert not {"list", "read"} & set(syscalls.counts)
            assert not any(call.target.endswith(".lock") for call in syscalls.calls)
            # Is the folder still where it was, and has the run ended?
            looked_at = {call.target for call in syscalls.calls if call.name == "lstat"}
            assert looked_at <= {f"{logs}/{RUN}", f"{logs}/{RUN}/RunLog.json"}
            assert len(syscalls.calls) <= FEW
            costs.append([call.name for call in syscalls.calls])
        assert not os.path.exists(f"{logs}/{RUN}/.lock")
    assert costs[:2] == costs[2:]
    store = chunkstore.open_store("chunked-fs", log_folder=f"{folder}/{MANY}")
    assert len(store.get_run_log(RUN, strict=True).steps) == MANY + 2


TRACED = """
import os, sys
import chunkstore
store = chunkstore.open_store("chunked-fs", log_folder=sys.argv[1])
def add(name):
    store.add_step_log("run", chunkstore.StepLog(name=name, internal_name=name))
add("warm-1")
for mark, names in (("begin", ["a", "b", "a"]), ("end", [])):
    try:
        os.stat(f"/chunkstore-test-{mark}")
    except OSError:
        pass
    for name in names:
        add(name)
"""


def trace(logs):
    """Return the system calls between two marks, as strace sees them; None where it may not."""
    output = f"{logs}/../trace"
    command = ["strace", "-f", "-qq", "-o", output, sys.executable, "-c", TRACED, logs]
    if shutil.which("strace") is None or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        return None
    with open(output) as lines:
        text = lines.read()
    between = text.split("chunkstore-test-begin")[1].split("chunkstore-test-end")[0].splitlines()[1:-1]
    return [match.group(1) for line in between if (match := re.search(r"\b([a-z_0-9]+)\(", line))]


def test_the_kernel_sees_no_lock_and_no_listing_either(folder):
    seen = []
    for steps in (10, 1_000):
        os.mkdir(f"{folder}/{steps}")
        fill(f"{folder}/{steps}", steps)
        calls = trace(f"{folder}/{steps}")
        if calls is None:  # no strace here: what the library counts itself must do
            continue
        assert not {"flock", "fcntl", "getdents64", "getdents", "read", "pread64", "fsync"} & set(calls)
        assert {"openat", "write", "close"} <= set(calls)
        seen.append(sorted(set(calls) - {"munmap", "mmap", "brk", "futex", "madvise"}))
        assert len(calls) <= 3 * 2 * FEW
    assert seen[:1] == seen[1:]


def test_adding_does_not_wait_for_the_lock(folder):
    fill(folder, 1)
    store = chunkstore.open_store("chunked-fs", log_folder=folder, lock_timeout=0.05)
    store.add_step_log(RUN, step("mine", message="1"))

    def hold(say):
        import time

        holder = chunkstore.open_store("chunked-fs", log_folder=folder)
        with holder.backend.lock(RUN, ".lock"):
            say("held")
            time.sleep(60)

    with Forked(hold) as child:
        assert child.wait_for_line() == "held"
        with pytest.raises(LockTimeoutError):
            store.set_parameters(RUN, {"a": 1})
        store.add_step_log(RUN, step("mine", message="2"))
        store.add_step_log(RUN, step("new"))
        log = store.get_run_log(RUN, strict=True)
        assert (list(log.steps), log.steps["mine"].message) == (["old-0", "mine", "new"], "2")
        assert store.get_step_log(RUN, "mine").message == "2"
        assert store.get_parameters(RUN) == {}
        assert len(list(store.list_runs())) == 1
        store.create_run_log("other")
