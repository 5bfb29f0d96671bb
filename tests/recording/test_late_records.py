"""What an engine goes on with after the end of a run is kept, told as late, and changes no status."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from msgspec import UNSET
from msgspec.structs import asdict

import chunkstore
from chunkstore.maintenance.checking.verification import verify
from chunkstore.records.models import PROCESSING
from chunkstore.views.compare.reuse import explain
from chunkstore.views.tables import rows_of
from chunkstore.views.timeline import timeline_of
from chunkstore.views.walking import all_records
from recording import gates, work
from recording.gates import Gate, Unstoppable, interrupted


@pytest.fixture
def gate():
    Gate.current = Gate()
    return Gate.current


@pytest.fixture
def engine(gate):
    made = Unstoppable()
    yield made
    gate.open.set()
    made._pool.shutdown()


def end(gate, engine):
    gate.open.set()
    engine._pool.shutdown()


def statuses(log):
    return {record.internal_name: record.status for record in all_records(log.steps.values())}


def lateness(store):
    branches = store.get_run_log("run").steps["score"].branches
    return {name.rpartition(".")[2]: (branch.status, branch.late) for name, branch in branches.items()}


def test_no_branch_of_a_finished_run_says_for_ever_that_it_goes_on(any_store, gate, engine):
    interrupted(any_store, gate, engine)
    log = any_store.get_run_log("run")
    assert set(statuses(log)) == {
        "score",
        *(f"score.{item}{step}" for item in ("a", "bad") for step in ("", ".go_through", ".before")),
    }
    assert PROCESSING not in log.to_json()
    for branch in log.steps["score"].branches.values():
        assert branch.message == "still ran when the run ended: interrupted: KeyboardInterrupt; it may have ended later"
    assert lateness(any_store) == {"a": ("FAIL", "UNKNOWN"), "bad": ("FAIL", "UNKNOWN")}


def test_what_ends_after_the_run_is_kept_as_late_and_changes_no_status(any_store, gate, engine):
    interrupted(any_store, gate, engine)
    before, counted = any_store.get_run_log("run"), any_store.count_steps("run")
    assert counted == before.notes["steps"]
    end(gate, engine)
    log = any_store.get_run_log("run")
    assert log.status == before.status == "FAIL"
    assert any_store.count_steps("run") == counted
    assert statuses(log).items() >= statuses(before).items()
    assert lateness(any_store) == {"a": ("FAIL", "SUCCESS"), "bad": ("FAIL", "FAIL")}
    steps = log.steps["score"].branches["score.a"].steps
    assert {name.rpartition(".")[2]: (step.late, step.began_late) for name, step in steps.items() if step.late} == {
        "go_through": ("SUCCESS", UNSET),
        "after": ("SUCCESS", True),
        "inside": ("SUCCESS", True),
    }
    assert steps["score.a.after"].user_defined_metrics == {"item": "a"}
    assert any_store.get_branch_log("run", "score.a") == log.steps["score"].branches["score.a"]
    assert [record.status for record in any_store.iter_records("run")].count(PROCESSING) == 0


def test_what_an_engine_had_not_begun_with_is_not_run_any_more(any_store, gate, engine):
    interrupted(any_store, gate, engine, items=("a", "b", "c"))
    assert len(engine.futures) == 3  # of which it would say that they were cancelled
    end(gate, engine)
    assert sorted(gate.items) == ["a", "b"]
    assert sorted(lateness(any_store)) == ["a", "b"]


@pytest.mark.parametrize("sealed", [None, "before", "after"])
@pytest.mark.parametrize("container", ["files", "journal"])
def test_nothing_of_it_passes_for_damage(tmp_path, gate, engine, container, sealed):
    store = chunkstore.open_store("chunked-fs", log_folder=tmp_path / "log", container=container)
    interrupted(store, gate, engine)
    if sealed == "before":
        store.seal("run")
    end(gate, engine)
    if sealed == "after":
        store.seal("run")
    assert store.find_problems("run") == []
    assert list(verify(store)) == []
    assert lateness(store) == {"a": ("FAIL", "SUCCESS"), "bad": ("FAIL", "FAIL")}


def test_a_resumed_run_takes_over_what_came_to_its_end_late(any_store, gate, engine):
    interrupted(any_store, gate, engine)
    end(gate, engine)
    with any_store.start_run("second", resume="run") as run, ThreadPoolExecutor(2) as pool:
        assert run.map("score", ["a", "bad"], gates.go_through, executor=pool, on_error="continue") == ["a", None]
    assert gate.items.count("a") == 1
    branch = any_store.get_run_log("second").steps["score"].branches["score.a"]
    assert (branch.status, branch.cached_from) == ("SUCCESS", "run")
    assert "late" not in branch.to_json()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_session_that_goes_on_after_an_interrupt_resumes_while_the_branches_still_run(store, gate, engine, error):
    def items():
        yield from "ab"
        for _ in range(2):
            assert gate.begun.acquire(timeout=20)
        raise error("no more")

    with pytest.raises(error), store.start_run("run") as run:
        run.map("score", items(), gates.go_through, executor=engine)
    log = store.get_run_log("run")
    assert (log.status, log.notes["message"]) == ("FAIL", f"{error.__name__}: no more")
    assert set(statuses(log).values()) == {"FAIL", "SUCCESS"}
    gate.through = str.upper  # those of the first run are in the middle of theirs
    with store.start_run("second", resume="run") as run, ThreadPoolExecutor(2) as pool:
        assert run.map("score", "ab", gates.go_through, executor=pool) == ["A", "B"]
    second = store.get_run_log("second")
    end(gate, engine)
    assert lateness(store) == {"a": ("FAIL", "SUCCESS"), "b": ("FAIL", "SUCCESS")}
    assert store.get_run_log("second") == second


def test_what_a_map_inside_a_branch_goes_on_with_is_late(store, gate, engine):
    def through(item):
        gate.through = lambda inner: Gate.through(gate, inner)
        with ThreadPoolExecutor(2) as pool:
            return chunkstore.current_run().map("inner", [f"{item}1", f"{item}2"], gates.go_through, executor=pool)

    gate.through = through
    interrupted(store, gate, engine, items=("a",))
    before = store.get_run_log("run")
    assert set(statuses(before).values()) == {"FAIL", "SUCCESS"}
    assert store.count_steps("run") == before.notes["steps"]
    end(gate, engine)
    log = store.get_run_log("run")
    assert statuses(log).items() >= statuses(before).items()
    assert lateness(store) == {"a": ("FAIL", "SUCCESS")}
    inner = log.steps["score"].branches["score.a"].steps["score.a.inner"]
    assert (inner.late, {branch.late for branch in inner.branches.values()}) == ("SUCCESS", {"SUCCESS"})
    assert store.count_steps("run") == before.notes["steps"]
    assert list(store.find_problems("run")) == []


def test_resuming_warns_of_what_may_still_run(any_store, gate, engine, caplog):
    interrupted(any_store, gate, engine)
    with caplog.at_level(logging.WARNING, "chunkstore"), any_store.start_run("second", resume="run"):
        pass
    assert "2 of its branches still ran when it ended: score." in caplog.text
    caplog.clear()
    end(gate, engine)
    with caplog.at_level(logging.WARNING, "chunkstore"), any_store.start_run("third", resume="run"):
        pass
    assert not caplog.records


def test_an_error_waits_for_what_runs_whatever_the_engine_says_it_has_cancelled(any_store, gate, engine):
    def items():
        yield from "ab"
        for _ in range(2):
            assert gate.begun.acquire(timeout=20)
        threading.Timer(0.05, gate.open.set).start()
        raise ValueError("no more items")

    with pytest.raises(ValueError, match="no more items"), any_store.start_run("run") as run:
        run.map("score", items(), gates.go_through, executor=engine)
    log = any_store.get_run_log("run")
    assert {branch.status for branch in log.steps["score"].branches.values()} == {"SUCCESS"}
    assert "left_running" not in log.notes


def test_a_map_in_another_thread_that_goes_on_when_the_run_has_ended_is_late(any_store, gate):
    def mapping():
        with ThreadPoolExecutor(2) as pool, suppress(chunkstore.BranchFailedError):
            run.map("score", ["a", "b", "c"], gates.go_through, executor=pool)

    def failing():
        thread.start()
        assert gate.begun.acquire(timeout=20)
        assert gate.begun.acquire(timeout=20)
        raise ValueError("in the driver")

    thread = threading.Thread(target=mapping)
    with pytest.raises(ValueError, match="in the driver"), any_store.start_run("run") as run:
        failing()
    before = any_store.get_run_log("run")
    assert set(statuses(before).values()) == {"FAIL", "SUCCESS"}
    gate.open.set()
    thread.join()
    log = any_store.get_run_log("run")
    assert log.steps["score"].late == "FAIL"  # one branch was not begun with any more
    assert lateness(any_store) == {"a": ("FAIL", "SUCCESS"), "b": ("FAIL", "SUCCESS")}
    assert any_store.count_steps("run") == before.notes["steps"]


def test_what_is_changed_on_purpose_after_the_end_counts(any_store, gate, engine):
    interrupted(any_store, gate, engine)
    end(gate, engine)
    any_store.update_branch_log("run", "score.a", lambda branch: setattr(branch, "status", "SUCCESS"))
    with any_store.join_run("run") as run:
        run.step("postscript", work.same, 1)
    log = any_store.get_run_log("run")
    assert log.steps["score"].branches["score.a"].status == "SUCCESS"
    assert (log.steps["postscript"].status, "late" in log.steps["postscript"].to_dict()) == ("SUCCESS", False)


def test_in_a_run_that_goes_on_again_nothing_is_late(any_store, gate, engine):
    interrupted(any_store, gate, engine)

    def go_on(log):
        log.status = PROCESSING
        del log.run_config["chunkstore"]["finished"]

    any_store.update_run_log("run", go_on)
    assert lateness(any_store)["a"][0] == PROCESSING
    end(gate, engine)
    assert lateness(any_store)["a"][0] == "SUCCESS"


def test_a_copy_of_the_run_says_the_same(any_store, tmp_path, gate, engine):
    interrupted(any_store, gate, engine)
    end(gate, engine)
    other = chunkstore.open_store("chunked-fs", log_folder=tmp_path / "other")
    log = any_store.get_run_log("run")
    other.add_run_log(log)
    assert other.get_run_log("run").steps == log.steps
    assert other.count_steps("run") == log.notes["steps"]


def test_who_follows_the_run_sees_it_end_with_nothing_that_goes_on(store, gate, engine):
    logs = []
    interrupted(store, gate, engine)
    logs.extend(store.follow("run"))
    assert set(statuses(logs[-1]).values()) == {"FAIL", "SUCCESS"}


def test_a_branch_whose_run_was_deleted_goes_on_undisturbed_and_makes_no_run(any_store, gate, engine, capsys):
    def through(item):
        run, step = chunkstore.current_run(), chunkstore.current_step()
        gate.begun.release()
        assert gate.open.wait(20)
        step.log_metric("loss", item)
        step.log_metric("loss", 1, step=1)
        run.set_parameters({"item": item})
        with run.step("after") as after:
            after.log_metric("item", item)
        return run.map("inner", [item], work.double, executor=work.threads())

    gate.through = through
    interrupted(any_store, gate, engine)
    any_store.delete_run("run")
    end(gate, engine)
    assert sorted(future.result().value for future in engine.futures[:2]) == [["aa"], ["badbad"]]
    assert not any_store.has_run("run")
    assert list(any_store.list_runs()) == []
    assert "Traceback" not in capsys.readouterr().err


def test_what_came_late_is_shown_as_that(store, gate, engine):
    interrupted(store, gate, engine)
    end(gate, engine)
    log = store.get_run_log("run")
    tree = chunkstore.render_tree(log)
    (line,) = (line for line in tree.splitlines() if " a " in line)
    assert "✘ a  late  still ran when the run ended: interrupted: KeyboardInterrupt; it ended later: SUCCESS" in line
    assert sum("  late  " in line for line in tree.splitlines()) == 8
    late = {row["internal_name"]: row["late"] for row in map(asdict, rows_of(log, "steps"))}
    assert late["score.a.go_through"] == late["score.a.after"] == "SUCCESS"
    assert (late["score.bad.go_through"], late["score.a.before"], late["score"]) == ("FAIL", "", "")
    spans = {span.internal_name: span.late for span in timeline_of(log).spans}
    assert (spans["score.a.go_through"], spans["score"]) == ("SUCCESS", "")


def test_why_a_step_ran_again_tells_that_it_still_ran_when_its_run_ended(store, gate, engine):
    interrupted(store, gate, engine)
    gate.through = str  # those of the first run are in the middle of theirs
    with store.start_run("second", resume="run") as run:
        run.map("score", ["a"], gates.go_through, executor=work.threads())
    log = store.get_run_log("second")
    (verdict,) = explain(log, log.steps["score"], [store.get_run_log("run")]).branches
    assert verdict.reasons[0].text == "It still ran when run run ended, and no end of it has been recorded since."
