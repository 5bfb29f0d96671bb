"""A tree shows what matters of a run, however large it is."""

from datetime import datetime, timezone

import pytest

from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import BranchLog, DataCatalog, Problem, RunLog, StepAttempt, StepLog
from chunkstore.views.pages.tree import Folding, branch_lines, counts_text, render_tree, tree_lines


def step(name, status="SUCCESS", **fields):
    return StepLog(name=name.rpartition(".")[2], internal_name=name, status=status, **fields)


def run(*steps, **fields):
    return RunLog(run_id="run", status="SUCCESS", steps={each.internal_name: each for each in steps}, **fields)


def wide_map(count, failed=(), **fields):
    branches = {
        f"map.{number}": BranchLog(
            internal_name=f"map.{number}",
            status="FAIL" if number in failed else "SUCCESS",
            steps={f"map.{number}.f": step(f"map.{number}.f", "FAIL" if number in failed else "SUCCESS")},
        )
        for number in range(count)
    }
    return step("map", "FAIL" if failed else "SUCCESS", step_type="map", branches=branches, **fields)


def lines_of(log, **folding):
    return ["".join(part.text for part in line) for line in tree_lines(log, Folding(**folding))]


def test_a_line_tells_duration_attempts_why_it_failed_metrics_and_data():
    attempts = [
        StepAttempt(start_time="2026-01-01 00:00:00+00:00", end_time="2026-01-01 00:00:01+00:00", status="FAIL"),
        StepAttempt(start_time="2026-01-01 00:00:02+00:00", end_time="2026-01-01 00:01:05+00:00", status="FAIL"),
    ]
    failed = step(
        "a",
        "FAIL",
        attempts=attempts,
        message="ValueError: no\nsecond line",
        user_defined_metrics={"loss": 0.123456789, "name": "x"},
        metric_series={"acc": [MetricPoint(0, 0.5), MetricPoint(1, 0.75)]},
        data_catalog=[
            DataCatalog(name="in.csv", data_hash="ab" * 32, stage="get"),
            DataCatalog(name="out.csv", data_hash="cd" * 32, stage="put"),
            DataCatalog(name="a.execution.log", data_hash="ef" * 32, stage="put"),
        ],
    )
    assert lines_of(run(failed)) == [
        (
            '└── ✘ a  1 min 5 s  2 attempts  ValueError: no  loss=0.123457, name="x", acc=0.75 (2 points)'
            "  ← in.csv abababab, → out.csv cdcdcdcd"
        )
    ]


def test_many_metrics_are_counted():
    (line,) = lines_of(run(step("a", user_defined_metrics={f"m{number}": number for number in range(9)})))
    assert line == "└── ✔ a  m0=0, m1=1, m2=2, m3=3, 5 more"


def test_a_wide_map_shows_what_failed_and_counts_the_rest():
    assert lines_of(run(wide_map(2_000, failed=(5, 77, 1_999)))) == [
        "└── ✘ map (map, 2,000 branches: 1,997 succeeded, 3 failed)",
        "    ├── ✘ 5",
        "    ├── ✘ 77",
        "    ├── ✘ 1999",
        "    └── 1,997 more branches succeeded",
    ]


def test_of_very_many_failures_the_first_are_shown():
    lines = lines_of(run(wide_map(500, failed=range(200))))
    assert len(lines) == 1 + 50 + 2
    assert lines[-2:] == ["    ├── 150 more branches failed", "    └── 300 more branches succeeded"]


def test_one_that_is_not_shown_is_one_branch():
    assert lines_of(run(wide_map(3, failed=(0, 1))), most_branches=2)[-1] == "    └── 1 more branch succeeded"
    assert lines_of(run(wide_map(3)), most_branches=2)[-1] == "    └── 3 branches succeeded"


def test_the_message_of_a_map_is_not_said_twice():
    (line, *_) = lines_of(run(wide_map(3, failed=(1,), message="1 of 3 branches of map failed: 1")))
    assert line == "└── ✘ map (map, 3 branches: 2 succeeded, 1 failed)"
    (line, *_) = lines_of(run(wide_map(3, failed=(1,), message="KeyError: 'x'")))
    assert line.endswith("KeyError: 'x'")


def test_what_has_not_ended_tells_for_how_long_it_has_gone_on():
    going = step("a", "PROCESSING", attempts=[StepAttempt(start_time="2026-01-01 00:00:00+00:00", status="PROCESSING")])
    now = datetime(2026, 1, 1, 0, 2, 3, tzinfo=timezone.utc)
    assert lines_of(run(going), now=now) == ["└── … a  2 min 3 s"]
    assert lines_of(run(going)) == ["└── … a"]
    assert lines_of(run(going), now=now, unended="LOST") == ["└── ☠ a"]


def test_a_map_under_way_shows_how_far_it_has_come():
    going = wide_map(10, failed=(3,))
    going.status, going.planned_branches = "PROCESSING", 64
    going.branches["map.9"].status = "PROCESSING"
    (line, *_) = lines_of(run(going))
    assert line == "└── … map (map, ██▎░░░░░░░░░░░░░ 9 of 64, 1 under way, 1 failed)"
    (line,) = lines_of(run(step("map", "PROCESSING", step_type="map", planned_branches=5)))
    assert line == "└── … map (map, ░░░░░░░░░░░░░░░░ 0 of 5)"


def test_branches_with_several_steps_and_deeper_maps_are_nested():
    inner = BranchLog(
        internal_name="p.left",
        status="FAIL",
        message="why",
        steps={name: step(name) for name in ("p.left.a", "p.left.b%2Ecsv")},
    )
    outer = step("p", "FAIL", step_type="parallel", branches={"p.left": inner})
    assert lines_of(run(outer)) == [
        "└── ✘ p (parallel, 1 branch)",
        "    └── ✘ left  why",
        "        ├── ✔ a",
        "        └── ✔ b.csv",
    ]
    shown = ["".join(part.text for part in line) for line in branch_lines(inner, Folding())]
    assert shown == ["✘ p.left  why", "├── ✔ a", "└── ✔ b.csv"]


def test_what_is_nested_deeper_than_anybody_can_see_is_left_out():
    name, names = "s", ["s"]
    while len(names) < 3_000:
        name += ".b.s"
        names.append(name)
    inner = None
    for name in reversed(names):
        branches = {}
        if inner is not None:
            branch = BranchLog(internal_name=f"{name}.b", status="SUCCESS", steps={inner.internal_name: inner})
            branches[branch.internal_name] = branch
        inner = step(name, branches=branches)
    lines = lines_of(run(inner))
    assert len(lines) == 102
    assert lines[-1].endswith("└── … deeper than can be shown")


def test_what_could_not_be_read_stands_at_the_end():
    log = run(
        step("a"),
        found_problems=[Problem("corrupt", "StepLog-b-1.json", "cut off"), Problem("orphan", "c", "no step c")],
    )
    assert lines_of(log) == ["├── ✔ a", "├── ! StepLog-b-1.json: cut off", "└── ! no step c"]


@pytest.mark.parametrize("width", [1, 10, 40])
def test_lines_are_cut_to_the_width(width):
    text = render_tree(run(wide_map(20, failed=(3,)), tag="long" * 20), width=width)
    assert max(map(len, text.splitlines())) == width
    assert all(line.endswith("…") for line in text.splitlines() if len(line) == width)


def test_an_unknown_status_is_shown_as_it_is():
    assert lines_of(run(step("a", "SKIPPED"))) == ["└── ? SKIPPED a"]


def test_counts_are_told_in_one_order():
    assert counts_text({"FAIL": 3, "ODD": 1, "PROCESSING": 2, "SUCCESS": 1997}) == (
        "1,997 succeeded, 3 failed, 2 not ended, 1 ODD"
    )


def test_no_terminal_obeys_anything_in_a_tree():
    shown = render_tree(run(step("a\r\x1b[2Kb", "FAIL", message="\x1b]0;title\x07"), tag="\x1b[31mred"))
    assert shown.replace("\n", "").isprintable()
    assert "\\x1b[31mred" in shown
