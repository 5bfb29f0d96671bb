"""Everything that users call comes from `import chunkstore`."""

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest
from privileges import skip_or_fail

import chunkstore
from chunkstore import RunLog, StepAttempt, StepLog


def a_run(run_id="one", loss=0.5):
    attempt = StepAttempt(
        attempt_number=1,
        status="SUCCESS",
        start_time="2026-05-01 12:00:00.000000+00:00",
        end_time="2026-05-01 12:00:02.000000+00:00",
    )
    step = StepLog(name="fit", internal_name="fit", status="SUCCESS", attempts=[attempt])
    step.user_defined_metrics = {"loss": loss}
    return RunLog(run_id=run_id, status="SUCCESS", steps={"fit": step})


@pytest.mark.parametrize("name", chunkstore.__all__)
def test_every_public_name_is_there(name):
    assert getattr(chunkstore, name) is not None
    assert name in dir(chunkstore)


def test_no_other_name_is_made_up():
    with pytest.raises(AttributeError, match="no attribute 'render_forest'"):
        _ = chunkstore.render_forest


def test_type_checkers_see_what_is_loaded_when_it_is_used():
    block = next(node for node in ast.parse(Path(chunkstore.__file__).read_text()).body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module.startswith("chunkstore.")
        for alias in node.names
    }
    assert seen == {name: f"chunkstore.{module}" for name, module in chunkstore._LOADED_WHEN_USED.items()}
    assert set(seen) <= set(chunkstore.__all__)


def test_a_run_log_is_drawn_as_a_tree_and_as_a_timeline():
    assert chunkstore.render_tree(a_run()).splitlines()[1] == "└── ✔ fit  2.0 s  loss=0.5"
    heading, axis, bar, *_ = chunkstore.render_timeline(a_run(), width=60).splitlines()
    assert heading.startswith("one  ✔ SUCCESS  2.0 s")
    assert axis.startswith(" ")
    assert bar.startswith("✔ fit")
    assert bar.count("█") > 10
    assert chunkstore.render_timeline(a_run(), ascii_only=True).isascii()


def test_a_run_log_is_drawn_as_a_page():
    page = "".join(chunkstore.timeline_page(a_run()))
    assert page.startswith("<!DOCTYPE html>")
    assert "one · timeline" in page


def test_two_runs_are_compared():
    diff = chunkstore.compare_runs(a_run(), a_run("two", loss=0.25))
    assert isinstance(diff, chunkstore.RunDiff)
    assert [(change.name, change.old, change.new, change.delta) for change in diff.metrics] == [
        ("loss", 0.5, 0.25, -0.25)
    ]


def test_run_logs_become_tables():
    if find_spec("pyarrow") is None:
        skip_or_fail("pyarrow is not installed")
    assert chunkstore.to_arrow(a_run(), "metrics").column("number").to_pylist() == [0.5]
    assert list(chunkstore.to_pandas([a_run(), a_run("two")], "runs")["run_id"]) == ["one", "two"]


def test_runs_move_in_and_are_verified(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old/ever-0538.json").write_text('{"run_id": "ever-0538", "status": "SUCCESS", "steps": {}}')
    (tmp_path / "old/torn-0539.json").write_text('{"run_id": "torn-0539", "sta')
    store = chunkstore.open_store("file-system", log_folder=str(tmp_path / "new"))
    report = chunkstore.import_runs(tmp_path / "old", store)
    assert isinstance(report, chunkstore.ImportReport)
    assert report.imported == ["ever-0538"]
    assert [problem.file for problem in report.problems] == ["torn-0539.json"]
    assert isinstance(report.problems[0], chunkstore.ImportProblem)
    assert list(chunkstore.verify(store)) == []
    (tmp_path / "new/ever-0538.json").write_text("{")
    (found,) = chunkstore.verify(store, "ever-0538")
    assert isinstance(found, chunkstore.Finding)
    assert (found.kind, found.file) == ("corrupt", "ever-0538.json")
