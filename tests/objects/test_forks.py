"""Children of processes that have used a bucket: they work, or raise at once, and never hang."""

import json
import signal
import subprocess
import sys
import textwrap

import pytest
from clusters import engine
from processes import fork_and_wait
from programs import environment

import chunkstore

LIMIT = 60  # seconds after which a child that hangs is killed

PROGRAM = textwrap.dedent(
    """
    import concurrent.futures, json, multiprocessing, os, signal, sys, threading, time, traceback
    import chunkstore

    url, options, how = json.loads(sys.argv[1])


    def double(item):
        return 2 * item


    def child_record(name="child"):
        signal.alarm(60)
        store = chunkstore.open_store(url, **options)
        try:
            store.add_step_log("r", chunkstore.StepLog(name=name, internal_name=name))
        except chunkstore.StoreUsageError as error:
            return f"StoreUsageError: {error}"
        return "recorded"


    def in_child(work):
        "Return what a forked child says, and how it ends: by itself, with finalisers and what is done at exit."
        reader, writer = os.pipe()
        if not (pid := os.fork()):
            signal.alarm(60)
            try:
                said = str(work())
            except BaseException as error:
                said = f"{type(error).__name__}: {error}"
            os.write(writer, said.encode())
            sys.exit(0)
        os.close(writer)
        with open(reader) as pipe:
            said = pipe.read()
        return f"{said} ({os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])})"


    def mapped(run, executor=None):
        try:
            return run.map("m", [1, 2, 3], double, executor=executor)
        except chunkstore.StoreUsageError as error:
            return f"StoreUsageError: {error}"


    def main():
        if how == "imported":  # and a store made, but nothing asked of it yet
            import obstore
            store = chunkstore.open_store(url, **options)
            print(in_child(lambda: store.create_run_log("r").run_id))
            print(store.get_run_log("r").run_id)
            return
        store = chunkstore.open_store(url, **options)
        with store.start_run("r") as run:
            context = multiprocessing.get_context(how.partition(" ")[2] or "fork")
            with run.step("s"):
                if how.startswith("os.fork"):
                    for number in range(3):
                        print(in_child(lambda: run.step("t").__enter__()))
                        print(in_child(lambda: child_record()))
                elif how == "busy":
                    is_over = threading.Event()
                    def write(name, status="SUCCESS"):
                        count = 0
                        while not is_over.is_set():
                            step = chunkstore.StepLog(name=name, internal_name=f"{name}{count}", status=status)
                            run.store.add_step_log("r", step)
                            count += 1
                    threads = [threading.Thread(target=write, args=(f"t{one}",)) for one in range(4)]
                    [thread.start() for thread in threads]
                    time.sleep(0.2)
                    for _ in range(10):
                        print(in_child(child_record))
                    is_over.set()
                    [thread.join() for thread in threads]
                elif how.startswith("pool"):
                    with context.Pool(1) as pool:
                        print(pool.apply(child_record))
                elif how.startswith("executor"):
                    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
                        print(pool.submit(child_record).result())
                elif how.startswith("map"):
                    with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
                        print(mapped(run, pool))
                        print(sorted(step for step in store.get_run_log("r").steps))
                elif how == "joblib":
                    with chunkstore.engines.joblib("multiprocessing", n_jobs=2) as pool:
                        print(mapped(run, pool))
                else:
                    print(mapped(run))
        print(store.get_run_log("r").status)


    if __name__ == "__main__":
        main()
    """
)


@pytest.fixture
def forked(s3_place, tmp_path):
    """Run the program; return the lines that it printed."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")

    def run(how):
        told = json.dumps([s3_place.url, s3_place.options, how])
        ended = subprocess.run(
            [sys.executable, program, told],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=2 * LIMIT,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout.splitlines()

    return run


def refused(text):
    return text.startswith("StoreUsageError: Cannot") and 'multiprocessing.get_context("forkserver")' in text


def test_a_forked_child_raises_at_once_and_its_parent_goes_on(s3_place):
    store = chunkstore.open_store(s3_place.url, **s3_place.options)
    store.create_run_log("r")

    def use():
        signal.alarm(LIMIT)
        with pytest.raises(chunkstore.StoreUsageError, match="forkserver"):
            chunkstore.open_store(s3_place.url, **s3_place.options).get_run_log("r")
        with pytest.raises(chunkstore.StoreUsageError, match="forkserver"):
            store.get_run_log("r")

    assert fork_and_wait(use)
    assert store.get_run_log("r").run_id == "r"


def test_a_bucket_in_memory_is_of_one_process(memory_place):
    store = chunkstore.open_store(memory_place.url)

    def use():
        signal.alarm(LIMIT)
        with pytest.raises(chunkstore.StoreUsageError):
            store.create_run_log("r")

    assert fork_and_wait(use)
    store.create_run_log("r")
    assert fork_and_wait(use)
    with pytest.raises(chunkstore.StoreUsageError, match="memory of this one"), store.start_run("s") as run:
        run.map("m", [1], abs)


@pytest.mark.thorough
def test_a_child_of_a_process_that_has_only_made_a_store_works(forked):
    assert forked("imported") == ["r (0)", "r"]


@pytest.mark.thorough
def test_children_forked_in_a_step_raise_end_by_themselves_and_harm_nobody(forked):
    *said, status = forked("os.fork")
    assert status == "SUCCESS"
    assert len(said) == 6
    for line in said:
        assert refused(line), line
        assert line.endswith("(0)")


@pytest.mark.thorough
def test_children_forked_in_the_middle_of_requests_raise_too(forked):
    *said, status = forked("busy")
    assert status == "SUCCESS"
    assert len(said) == 10
    assert all(map(refused, said)), said


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["pool", "executor"])
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_pools_of_users_work_or_say_what_to_do(forked, kind, method):
    said, status = forked(f"{kind} {method}")
    assert refused(said) if method == "fork" else said == "recorded"
    assert status == "SUCCESS"


@pytest.mark.thorough
def test_map_refuses_a_pool_that_forks_before_anything_is_recorded(forked):
    said, steps, status = forked("map fork")
    assert refused(said)
    assert steps == "['s']"
    assert status == "SUCCESS"


@pytest.mark.thorough
@pytest.mark.parametrize("how", ["map forkserver", "map spawn", "own"])
def test_map_runs_branches_in_processes_that_were_not_forked_from_this_one(forked, how):
    said = forked(how)
    assert said[0] == "[2, 4, 6]"
    assert said[-1] == "SUCCESS"


@pytest.mark.thorough
def test_a_pool_of_joblib_that_forks_is_refused(forked):
    assert refused(forked("joblib")[0])


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["joblib-loky", "dask", "ray"])
def test_engines_record_into_a_bucket(s3_place, name):
    store = chunkstore.open_store(s3_place.url, **s3_place.options)
    with engine(name) as executor, store.start_run("r") as run:
        assert run.map("m", [-1, -2, -3], abs, executor=executor) == [1, 2, 3]
    assert len(store.get_run_log("r").steps["m"].branches) == 3
