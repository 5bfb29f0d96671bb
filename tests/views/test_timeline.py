"""When steps ran: spans, lanes, the critical path, and what went on at once."""

import json
from datetime import timedelta
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkstore.records.models import FAIL, PROCESSING, SUCCESS, JobLog, Orphans, Problem, RunLog, StepAttempt, StepLog
from chunkstore.testing.strategies import step_trees
from chunkstore.views.formats import LOST
from chunkstore.views.tables import TABLES, to_arrow
from chunkstore.views.timeline import timeline_of
from chunkstore.views.timeline.concurrency import concurrency, most_at_once
from chunkstore.views.timeline.gantt import gantt_lines
from chunkstore.views.timeline.lanes import rows_of
from chunkstore.views.timeline.page import page_of
from chunkstore.views.timeline.spans import TOP
from chunkstore.views.timeline.summary import report_of, summarize
from chunkstore.views.timeline.trace import trace_lines
from views.shown_timelines import text_of
from views.timed_runs import BEGINNING, attempt, branch, map_of, pool_of, run, step, typical

intervals = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda pair: (pair[0], pair[0] + pair[1])),
    min_size=1,
    max_size=40,
)


def spans_by_name(log, **options):
    return {span.internal_name: span for span in timeline_of(log, **options).spans}


# --- spans -----------------------------------------------------------------------------------------------------------


def test_a_span_reaches_from_the_first_attempt_to_the_last():
    span = spans_by_name(typical())["fetch"]
    assert (span.start, span.end, span.status) == (5, 15, SUCCESS)
    assert [(one.start, one.end, one.status) for one in span.attempts] == [
        (5, 6, FAIL),
        (8, 9, FAIL),
        (12, 15, SUCCESS),
    ]


def test_the_usual_branch_is_one_span():
    spans = spans_by_name(run(map_of("score", [(0, 1), (2, 5)])))
    assert list(spans) == ["score", "score.0.work", "score.1.work"]
    assert (spans["score.1.work"].kind, spans["score.1.work"].name) == ("branch", "1")
    assert (spans["score.1.work"].waited, spans["score"].waited) == (2, 0)


def test_steps_that_the_function_of_a_branch_runs_are_inside_its_span():
    timeline = timeline_of(typical())
    (place,) = [place for place, span in enumerate(timeline.spans) if span.internal_name == "train.boosted.fit"]
    inner = [timeline.spans[child].name for child in timeline.children[place]]
    assert (timeline.spans[place].name, inner) == ("boosted", ["tune", "final"])


def test_steps_of_a_branch_that_follow_each_other_are_beside_each_other():
    one = branch("both.a", step("both.a.first", 1, 2), step("both.a.second", 3, 7))
    spans = spans_by_name(run(step("both", 0, 8, branches=[one])))
    assert (spans["both.a"].start, spans["both.a"].end, spans["both.a"].depth) == (1, 7, 1)
    assert spans["both.a.first"].depth == spans["both.a.second"].depth == 2


def test_what_has_no_times_of_its_own_reaches_over_what_is_inside():
    composite = StepLog(name="m", internal_name="m", step_type="map", status=SUCCESS)
    composite.branches = map_of("m", [(3, 4), (5, 9)]).branches
    assert (spans_by_name(run(step("a", 0, 1), composite))["m"].start, timeline_of(run(composite)).wall_seconds) == (
        3,
        6,
    )


def test_what_goes_on_reaches_until_now():
    log = run(step("a", 0, 1), step("b", 1, None, PROCESSING), status=PROCESSING)
    now = BEGINNING + timedelta(seconds=30)
    span = spans_by_name(log, until=now)["b"]
    assert (span.end, span.is_running, span.status) == (30, True, PROCESSING)
    assert span.attempts[0].end == 30
    assert spans_by_name(log)["b"].end == 1


def test_a_step_between_two_attempts_goes_on():
    log = run(step("a", 0, None, PROCESSING, attempts=[attempt(0, 2, FAIL)]), status=PROCESSING)
    span = spans_by_name(log, until=BEGINNING + timedelta(seconds=9))["a"]
    assert (span.end, span.attempts[0].end) == (9, 2)


def test_what_went_on_when_its_run_died_is_called_lost():
    log = run(step("a", 0, None, PROCESSING), status=PROCESSING)
    timeline = timeline_of(log, until=BEGINNING + timedelta(seconds=5), unfinished=LOST)
    assert (timeline.status, timeline.spans[0].status, timeline.spans[0].attempts[0].status) == (LOST, LOST, LOST)


def test_a_step_that_never_ended_ends_with_its_run():
    log = run(step("a", 0, None, PROCESSING), status=FAIL)
    log.run_config["chunkstore"] = {"finished": BEGINNING.isoformat().replace("12:00:00", "12:00:42")}
    assert spans_by_name(log, until=BEGINNING + timedelta(days=900))["a"].end == 42


def test_what_has_no_times_is_listed():
    log = run(step("a", 0, 1), StepLog(name="b", internal_name="b", status=PROCESSING))
    log.steps["c"] = step("c", 2, 3, branches=[branch("c.0", status=PROCESSING)])
    timeline = timeline_of(log)
    assert [span.internal_name for span in timeline.spans] == ["a", "c"]
    assert [undated.internal_name for undated in timeline.undated] == ["b", "c.0"]


@pytest.mark.parametrize("start", ["", "yesterday", "0001-01-01 00:00:00+14:00", "9999-12-31 23:59:59-14:00", "\x00"])
def test_a_time_that_is_none_is_no_time(start):
    odd = StepLog(
        name="odd", internal_name="odd", status=SUCCESS, attempts=[StepAttempt(start_time=start, end_time="x")]
    )
    timeline = timeline_of(run(odd, step("a", 0, 1)))
    assert [span.name for span in timeline.spans] == ["a"]


def test_naive_times_are_utc_and_what_ends_before_it_starts_takes_no_time():
    naive = StepAttempt(start_time="2026-05-01 12:00:03", end_time="2026-05-01 12:00:01", status=SUCCESS)
    odd = StepLog(name="odd", internal_name="odd", status=SUCCESS, attempts=[naive])
    spans = spans_by_name(run(step("a", 0, 9), odd))
    assert (spans["odd"].start, spans["odd"].end) == (3, 3)


def test_orphans_and_jobs_are_drawn_too():
    log = run(step("a", 0, 1), job=JobLog(status=SUCCESS, attempts=[attempt(0, 5)]))
    log.found_orphans = Orphans(
        steps={"gone.0.x": step("gone.0.x", 2, 3)},
        branches={"lost.1": branch("lost.1", step("lost.1.y", 3, 4))},
    )
    log.found_problems = [Problem("orphan", "gone.0.x", "…")]
    assert set(spans_by_name(log)) == {"job", "a", "gone.0.x", "lost.1.y"}
    assert timeline_of(log).problems == 1


def test_runs_without_steps_have_a_timeline():
    timeline = timeline_of(run())
    assert (timeline.spans, timeline.beginning, summarize(timeline).parallelism) == ([], None, 0)
    assert text_of(run())[1:] == ["No step of this run has begun."]


def test_steps_that_took_no_time_have_a_timeline():
    timeline = timeline_of(run(step("a", 0, 0), step("b", 0, 0)))
    assert summarize(timeline).parallelism == 0
    assert all(span.is_critical for span in timeline.spans)
    assert any("a" in line for line in text_of(run(step("a", 0, 0))))


@pytest.mark.thorough
def test_nesting_of_any_depth_is_drawn():
    inner = None
    for level in range(1_500, 0, -1):
        name = "s" + ".b.s" * level
        inner = step(
            name, 0, 1, branches=[] if inner is None else [branch(f"{name}.b", inner, step(f"{name}.b.t", 0, 0))]
        )
    assert len(rows_of(timeline_of(run(inner)))) == len(timeline_of(run(inner)).spans)
    assert text_of(run(inner))


@pytest.mark.thorough
@given(st.lists(step_trees(), max_size=3))
def test_any_run_can_be_drawn(steps):
    log = RunLog.from_json(run(*steps, status=PROCESSING).to_json())
    timeline = timeline_of(log, until=BEGINNING, unfinished=LOST)
    assert len(timeline.spans) == len(timeline.records)
    assert gantt_lines(timeline, width=80)
    assert json.loads("".join(trace_lines(timeline)))["traceEvents"]
    assert "".join(page_of(timeline)).count("</script>") == 3
    assert all(to_arrow(log, table).num_rows >= 0 for table in TABLES)


# --- the critical path -----------------------------------------------------------------------------------------------


def critical(log):
    return [span.internal_name for span in timeline_of(log).spans if span.is_critical]


def test_the_critical_path_goes_back_from_the_last_end():
    log = run(step("a", 0, 4), step("b", 0, 9), step("c", 4, 8), step("d", 9, 12), step("e", 8, 11))
    assert critical(log) == ["b", "d"]


def test_the_critical_path_goes_into_the_branch_that_ended_last_and_what_it_waited_for():
    log = run(map_of("m", [(0, 5), (0, 3), (3, 4), (4, 9)]))
    assert critical(log) == ["m", "m.1.work", "m.2.work", "m.3.work"]


def test_the_critical_path_goes_into_what_the_function_of_a_branch_ran():
    assert [name for name in critical(typical()) if name.startswith("train")] == [
        "train",
        "train.boosted.fit",
        "train.boosted.tune",
        "train.boosted.final",
    ]


@given(intervals)
def test_the_critical_path_is_the_chain_of_latest_ends(times):
    log = run(*(step(f"s{number}", start, end) for number, (start, end) in enumerate(times)))
    spans = timeline_of(log).spans
    path = sorted((span for span in spans if span.is_critical), key=lambda span: (span.end, span.start))
    assert path[-1].end == max(span.end for span in spans)
    for earlier, later in pairwise(path):
        assert earlier.end <= later.start
        between = [span for span in spans if earlier.end < span.end <= later.start and not span.is_critical]
        assert not between
    ended_before_all = [span for span in spans if span.end < path[0].start]
    assert not ended_before_all


# --- lanes -----------------------------------------------------------------------------------------------------------


def most_overlapping(times):
    """Return how many overlap, where those that take no time overlap with what goes on around them."""
    moments = sorted({moment for pair in times for moment in pair})
    middles = [(one + other) / 2 for one, other in pairwise(moments)]
    return max([sum(start < middle < end for start, end in times) for middle in middles], default=0)


@given(intervals)
def test_branches_share_as_few_lanes_as_overlap(times):
    timeline = timeline_of(run(map_of("m", times)))
    rows = rows_of(timeline, most_branches=0)
    drawn = [place for row in rows for place in row.spans]
    assert sorted(drawn) == list(range(len(timeline.spans)))
    for row in rows:
        spans = [timeline.spans[place] for place in row.spans]
        for earlier, later in pairwise(spans):
            assert earlier.end <= later.start
    lasting = [pair for pair in times if pair[0] < pair[1]]
    if lasting == times:
        assert len(rows) - 1 == most_overlapping(times)


def test_few_branches_have_rows_of_their_own():
    rows = rows_of(timeline_of(run(map_of("m", pool_of(12, 3)))))
    assert [(row.lane, len(row.spans)) for row in rows] == [(0, 1)] * 13


def test_a_wide_map_has_as_many_lanes_as_workers():
    rows = rows_of(timeline_of(run(map_of("m", pool_of(2_000, 8)))))
    assert [row.lane for row in rows] == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert sum(len(row.spans) for row in rows) == 2_001


def test_what_is_inside_the_branches_of_a_lane_is_below_it():
    branches = [
        branch(
            f"m.{n}", step(f"m.{n}.f", n, n + 1), step(f"m.{n}.g", n + 0.1, n + 0.5), step(f"m.{n}.h", n + 0.2, n + 0.9)
        )
        for n in range(20)
    ]
    timeline = timeline_of(run(step("m", 0, 20, branches=branches)))
    rows = rows_of(timeline)
    assert [(row.lane, row.is_inner, len(row.spans)) for row in rows] == [
        (0, False, 1),
        (1, False, 20),
        (1, True, 20),
        (1, True, 20),
    ]


def test_many_steps_one_after_the_other_share_a_lane():
    rows = rows_of(timeline_of(run(*(step(f"s{number}", number, number + 1) for number in range(500)))))
    assert [(row.owner, row.lane, len(row.spans)) for row in rows] == [(TOP, 1, 500)]


# --- how many at once ------------------------------------------------------------------------------------------------


@given(intervals, st.integers(1, 50))
def test_what_went_on_at_once_adds_up_to_the_work(times, parts):
    timeline = timeline_of(run(map_of("m", times)))
    counts = concurrency(timeline, parts)
    assert len(counts) == parts
    assert all(0 <= count <= most_at_once(timeline) + 1e-9 for count in counts)
    work = sum(counts) * timeline.wall_seconds / parts
    assert work == pytest.approx(summarize(timeline).work_seconds, abs=1e-6)


@given(intervals)
def test_the_most_at_once_are_as_many_as_overlap(times):
    assert most_at_once(timeline_of(run(map_of("m", times)))) == most_overlapping(times)


def test_a_retried_step_is_at_work_only_while_it_is_tried():
    log = run(step("a", 0, 10, attempts=[attempt(0, 2, FAIL), attempt(8, 10)]), step("b", 0, 10))
    assert concurrency(timeline_of(log), 5) == [2, 1, 1, 1, 2]


# --- sums ------------------------------------------------------------------------------------------------------------


def test_the_summary_counts_work_once():
    log = run(
        step("a", 0, 2), map_of("m", [(2, 6), (2, 5)]), step("slow", 6, 8, attempts=[attempt(6, 6.5), attempt(7.5, 8)])
    )
    timeline = timeline_of(log)
    summary = summarize(timeline)
    assert (summary.wall_seconds, summary.work_seconds, summary.parallelism) == (8, 10, 1.25)
    assert [timeline.spans[place].name for place in summary.critical_path] == ["a", "m", "slow"]
    assert summary.critical_seconds == 8
    assert [timeline.spans[place].internal_name for place in summary.longest] == ["m.0.work", "m.1.work", "a"]


def test_the_report_becomes_json_and_fits_its_schema():
    report = report_of(timeline_of(typical()))
    assert msgspec.json.decode(msgspec.json.encode(report), type=type(report)) == report
    (schema,), components = msgspec.json.schema_components([type(report)])
    assert {"TimelineReport", "Span"} <= set(components)
    assert schema["$ref"]
