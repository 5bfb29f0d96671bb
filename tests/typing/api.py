"""The public API as a user's type checker sees it. Checked by mypy, and never run; `test_typing.py` and CI do that."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import chunkstore
from chunkstore import (
    BranchLog,
    ChunkstoreError,
    CopyReport,
    Finding,
    ImportProblem,
    ImportReport,
    Liveness,
    MetricPoint,
    Orphans,
    Problem,
    Run,
    RunCopy,
    RunDiff,
    RunList,
    RunLog,
    RunSummary,
    Step,
    StepAttempt,
    StepLog,
    Store,
    StoreOptions,
)

if sys.version_info >= (3, 11):
    from typing import assert_type
else:
    from typing_extensions import assert_type


def opening() -> None:
    assert_type(chunkstore.open_store(), Store)
    assert_type(chunkstore.open_store("chunked-fs", log_folder="logs", durability="step"), Store)
    assert_type(chunkstore.open_store(config=Path("chunkstore.yaml")), Store)
    assert_type(chunkstore.__version__, str)
    StoreOptions(log_folder="logs")


def squared(number: int) -> float:
    return number**2 / 2


def named() -> str:
    return "a"


async def halved(number: int) -> float:
    return number / 2


async def counted(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def awaiting(store: Store) -> None:
    async with store.start_run("run-1") as run:
        assert_type(run, Run)
        async with run.step("load") as step:
            assert_type(step, Step)

        @run.step("train", max_attempts=3)
        async def train(depth: int) -> str:
            return str(depth)

        assert_type(await train(3), str)
        await train("deep")  # type: ignore[arg-type]

        assert_type(await run.astep("half", halved, 3, max_attempts=2, backoff=0.1), float)
        assert_type(await run.aset_parameters({"a": 1}), None)
        async with run.step("data") as step:
            assert_type(await step.aput_data("out.csv", "out"), None)
            assert_type(await step.aget_data("out", step="data"), Path)
        await run.astep("square", squared, 3)  # type: ignore[arg-type]
        assert_type(await run.amap("map", [1, 2], halved), list[float | None])
        assert_type(await run.amap("map", counted(9), halved, max_in_flight=3, name_of=str), list[float | None])
        assert_type(await run.amap("map", range(9), lambda number: halved(number + 1)), list[float | None])
        await run.amap("map", ["a"], halved)  # type: ignore[arg-type]
        assert_type(await run.aparallel("both", {"a": lambda: halved(1)}), dict[str, float | None])


def recording(store: Store) -> None:
    with store.start_run("run-1", tag="nightly", parameters={"seed": 7}, resume=None) as run:
        assert_type(run, Run)
        assert_type(run.run_id, str)
        with run.step("load") as step:
            assert_type(step, Step)
            step.log_metric("rows", 3)
            step.log_metric("loss", 0.5, step=1)
            step.log_metrics({"a": 1.0, "b": 2})
            step.log_params({"path": "in.csv"})
            step.put_data(Path("out.csv"))
            step.put_data("out.csv", name="out")
            assert_type(step.get_data("out.csv", to="copy.csv"), Path)
            step.set_result({"rows": 3})
            assert_type(step.cached, bool)

        @run.step("train", max_attempts=3, backoff=0.1)
        def train(depth: int) -> str:
            return str(depth)

        assert_type(train(3), str)
        train("deep")  # type: ignore[arg-type]

        assert_type(run.step("square", squared, 3), float)
        assert_type(run.step("name", named, max_attempts=2, on_error="continue"), str)

        assert_type(run.map("map", [1, 2], squared), list[float | None])
        assert_type(
            run.map("threads", range(9), squared, executor=ThreadPoolExecutor(), name_of=str, on_error="continue"),
            list[float | None],
        )
        assert_type(run.parallel("both", {"a": named, "b": named}), dict[str, str | None])
        run.set_parameters({"rows": 3})
        assert_type(run.get_parameters(), dict[str, Any])
        assert_type(chunkstore.current_run(), Run)
        assert_type(chunkstore.current_step(), Step)
    with store.join_run("array-1", create=True) as joined:
        assert_type(joined, Run)
    assert_type(store.join_run("array-1").finish(status="SUCCESS"), RunLog)


def reading(store: Store) -> None:
    log = store.get_run_log("run-1", strict=True)
    assert_type(log, RunLog)
    assert_type(log.status, str)
    assert_type(log.steps, dict[str, StepLog])
    assert_type(log.parameters, dict[str, Any])
    assert_type(log.problems, list[Problem])
    assert_type(log.orphans, Orphans)
    step = log.steps["load"]
    assert_type(step.attempts, list[StepAttempt])
    assert_type(step.branches, dict[str, BranchLog])
    assert_type(step.branches["load.a"].steps, dict[str, StepLog])
    assert_type(step.user_defined_metrics, dict[str, Any])
    assert_type(store.get_step_log("run-1", "load"), StepLog)
    assert_type(store.get_branch_log("run-1", "train.a", full=False), BranchLog)
    assert_type(store.iter_records("run-1"), Iterator[StepLog | BranchLog])
    assert_type(store.get_run_json("run-1"), bytes)

    runs = store.list_runs()
    assert_type(runs, RunList)
    newest = next(runs)
    assert_type(newest, RunSummary)
    assert_type(newest.run_id, str)
    assert_type([run.status for run in store.list_runs()], list[str])
    for changed in store.follow("run-1"):
        assert_type(changed, RunLog)
    liveness = store.liveness("run-1")
    assert_type(liveness, Liveness)
    assert_type(liveness.state, str)
    assert_type(store.has_run("run-1"), bool)


def engines(store: Store) -> None:
    def retry(step: StepLog) -> None:
        step.message = "retried"

    def renew(step: StepLog) -> StepLog:
        return StepLog(name=step.name, internal_name=step.internal_name)

    assert_type(store.create_run_log("run-1", parameters={"seed": 7}), RunLog)
    step = StepLog(
        name="load",
        internal_name="load",
        status="SUCCESS",
        attempts=[StepAttempt(attempt_number=1, start_time="", end_time="", status="SUCCESS")],
        user_defined_metrics={"rows": 3},
    )
    store.add_step_log("run-1", step)
    store.put_step_log("run-1", step)
    store.add_branch_log("run-1", BranchLog(internal_name="train.a", status="PROCESSING", steps={"train.a.load": step}))
    store.append_metrics("run-1", "load", {"loss": [MetricPoint(1, 0.5)]})
    assert_type(store.update_step_log("run-1", "load", retry), StepLog)
    assert_type(store.update_step_log("run-1", "load", renew), StepLog)
    assert_type(store.update_run_log("run-1", lambda log: setattr(log, "status", "SUCCESS")), RunLog)
    store.set_parameters("run-1", {"rows": 3}, overwrite=False)
    assert_type(store.get_parameters("run-1"), dict[str, Any])
    assert_type(store.seal("run-1"), int)
    store.unseal("run-1")
    store.delete_run("run-1")


def errors(store: Store) -> None:
    try:
        store.get_run_log("gone")
    except chunkstore.RunLogNotFoundError as error:
        assert_type(str(error), str)
    except chunkstore.CorruptChunkError as error:
        assert_type(error.file, str)
        assert_type(error.offset, int)
    except chunkstore.BranchFailedError as error:
        assert_type(error.failures, dict[str, BaseException])
    except ChunkstoreError as error:
        raise SystemExit(str(error)) from None
    missing: type[FileNotFoundError | KeyError | ChunkstoreError] = chunkstore.StepLogNotFoundError
    assert_type(missing.__name__, str)


def front_door(store: Store, log: RunLog) -> None:
    assert_type(chunkstore.render_tree(log, width=80), str)
    assert_type(chunkstore.render_timeline(log, width=80, show_all=True), str)
    assert_type(chunkstore.timeline_page(log), Iterator[str])
    diff = chunkstore.compare_runs(log, log, all_durations=True)
    assert_type(diff, RunDiff)
    assert_type(diff.different, bool)
    assert_type([(change.name, change.delta) for change in diff.metrics], list[tuple[str, float | None]])

    def progress(run_id: str, done: int, total: int) -> None:
        print(f"{run_id}: {done} of {total}")

    def copied(run: RunCopy, done: int, total: int) -> None:
        print(f"{run.run_id} {run.outcome}: {done} of {total}")

    copies = chunkstore.copy_runs(store, chunkstore.open_store("buffered"), ["run-1"], seal=True, progress=copied)
    assert_type(copies, CopyReport)
    assert_type([run.problems for run in copies.runs], list[list[str]])
    report = chunkstore.import_runs(Path("old"), store, progress=progress)
    assert_type(report, ImportReport)
    assert_type(report.imported, list[str])
    assert_type(report.problems, list[ImportProblem])
    assert_type(chunkstore.verify(store, "run-1", with_data=True), Iterator[Finding])
    assert_type([found.message for found in chunkstore.verify(store)], list[str])
    # Without type information of their own, Arrow and pandas give values of any type.
    to_table: Callable[[RunLog, str], Any] = chunkstore.to_arrow
    to_frame: Callable[[RunLog, str], Any] = chunkstore.to_pandas
    print(to_table(log, "metrics"), to_frame(log, "steps"), chunkstore.to_pandas(map(store.get_run_log, ["run-1"])))


def what_is_wrong_is_noticed(store: Store, run: Run, log: RunLog) -> None:
    """Each of these is an error; an ignore that ignores nothing is one as well."""
    store.add_step_log("run-1", log)  # type: ignore[arg-type]
    StepLog(nmae="load")  # type: ignore[call-arg]
    run.map("map", ["a"], squared)  # type: ignore[arg-type]
    chunkstore.render_tree("run-1")  # type: ignore[arg-type]
    chunkstore.verify("run-1")  # type: ignore[arg-type]
    chunkstore.render_forest(log)  # type: ignore[attr-defined]
