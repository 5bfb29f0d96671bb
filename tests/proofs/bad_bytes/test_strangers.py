"""A hundred thousand files of others change nothing."""

import os

import pytest
from recorded import step
from restricted import within_limits

from chunkstore.errors import RunLogNotFoundError, StepLogNotFoundError
from proofs.bad_bytes.whole_runs import OPEN, RUN, make_run, open_chunked, read

STRANGERS = 100_000
FOREIGN_NAMES = [b"x-%d.txt", b".hidden%d", b"\xff\xfe-%d", b"Metric-%d-.jsonl", b"good-%d", b".tmp-1-00-%d"]
FOREIGN_IN_A_RUN = [*FOREIGN_NAMES, b"StepLog-a-notanumber%d.json", b"BranchLog-%d.json", b"StepLog-good-%d.jsonx"]


def add_strangers(folder, names, count=STRANGERS):
    """Put many files into a folder that are none of a store's."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        with open(os.fsencode(folder) + b"/StepLog-", "wb") as file:
            file.write(b"{}")
        for number in range(count):
            name = names[number % len(names)] % number
            os.link(b"StepLog-", name, src_dir_fd=fd, dst_dir_fd=fd)
    except OSError:  # no links on this file system
        for number in range(count):
            os.close(os.open(b"y-%d.txt" % number, os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    finally:
        os.close(fd)


@pytest.mark.thorough
def test_a_hundred_thousand_foreign_files_in_a_run_change_nothing(memory):
    folder = make_run(memory)
    whole = read(folder)
    add_strangers(folder, FOREIGN_IN_A_RUN)

    def work():
        store = open_chunked(memory)
        assert store.get_run_log(RUN) == whole
        assert store.get_step_log(RUN, "map").message == "13 of 13"
        assert store.get_run_log(RUN, full=False).tag == "nightly"
        store.add_step_log(RUN, step("new"))
        store.update_step_log(RUN, "map", lambda found: setattr(found, "message", "new"))
        store.set_parameters(RUN, {"new": 1})
        assert store.get_parameters(RUN) == {"rate": 0.125, "new": 1}
        assert store.has_step_log(RUN, "new")
        with pytest.raises(StepLogNotFoundError):
            store.get_step_log(RUN, "a")
        log = store.get_run_log(RUN)
        assert list(log.steps) == ["map", "good", "new"]
        assert (log.steps["map"].message, log.problems) == ("new", [])
        assert [summary.run_id for summary in store.list_runs()] == [RUN]

    assert within_limits(work)


@pytest.mark.parametrize("store_type", OPEN)
def test_a_hundred_thousand_foreign_files_beside_the_runs_change_nothing(memory, store_type):
    make_run(memory, store_type)
    add_strangers(memory, FOREIGN_NAMES)
    for number in range(100):
        (memory / f"folder-{number}").mkdir()

    def work():
        store = OPEN[store_type](memory)
        assert [(summary.run_id, summary.problem) for summary in store.list_runs()] == [(RUN, "")]
        store.create_run_log("new")
        assert [summary.run_id for summary in store.list_runs()] == ["new", RUN]
        store.delete_run("new")
        with pytest.raises(RunLogNotFoundError):
            store.get_run_log("new")
        assert store.get_run_log(RUN).problems == []

    assert within_limits(work)
