"""What an engine goes on with after the end of a run is read by whoever has read the format, too."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from test_format import STORES, check, opened

import chunkstore


@pytest.mark.parametrize("store_name", STORES)
def test_what_still_ran_when_a_run_ended_is_read(store_name, tmp_path):
    store = opened(store_name, tmp_path)
    going_on, begun = threading.Event(), threading.Semaphore(0)

    def items():
        yield from "ab"
        assert begun.acquire(timeout=60)
        assert begun.acquire(timeout=60)
        raise KeyboardInterrupt

    def work(item):
        run = chunkstore.current_run()
        run.step("before", len, item)
        begun.release()
        going_on.wait(60)
        with run.step("after"):
            run.step("inside", len, item)
        return item

    with ThreadPoolExecutor(2) as pool:
        with pytest.raises(KeyboardInterrupt), store.start_run("run") as run:
            run.map("score", items(), work, executor=pool)
        assert check(store, "run").steps["score"].branches["score.a"].late == "UNKNOWN"
        store.update_step_log("run", "score.a.work", lambda step: setattr(step, "message", "seen"))
        going_on.set()
    branches = check(store, "run").steps["score"].branches
    assert branches["score.a"].late == "SUCCESS"
    assert branches["score.a"].steps["score.a.work"].message == "seen"
    assert branches["score.a"].steps["score.a.inside"].began_late
    store.update_branch_log("run", "score.b", lambda branch: setattr(branch, "status", "SUCCESS"))
    assert check(store, "run").steps["score"].branches["score.b"].status == "SUCCESS"
