"""Steps inside steps, and what was taken over, in a timeline."""

import pytest
from msgspec import UNSET

import chunkstore
from chunkstore.views.timeline import timeline_of
from chunkstore.views.timeline.concurrency import concurrency, most_at_once
from chunkstore.views.timeline.spans import TOP
from chunkstore.views.timeline.summary import summarize
from chunkstore.views.timeline.trace import trace_lines
from views.shown_timelines import text_of
from views.timed_runs import at, attempt, branch, map_of, run, step

NESTED = run(
    step("outer", 0, 10),
    step("inner", 2, 8, inside="outer"),
    step("innermost", 3, 4, inside="inner"),
    step("after", 10, 12),
)


def test_a_step_inside_another_is_inside_its_span():
    spans = timeline_of(NESTED).spans
    assert [(span.name, span.parent, span.depth) for span in spans] == [
        ("outer", TOP, 0),
        ("inner", 0, 1),
        ("innermost", 1, 2),
        ("after", TOP, 0),
    ]


def test_steps_inside_one_another_are_not_at_work_at_once():
    timeline = timeline_of(NESTED)
    assert most_at_once(timeline) == 1
    assert concurrency(timeline, 12) == [1] * 12
    summary = summarize(timeline)
    assert (summary.work_seconds, summary.parallelism) == (12, 1)
    assert "at once" not in "\n".join(text_of(NESTED)).split("critical path")[0]


def test_branches_of_a_map_inside_a_step_are_at_work_at_once_and_the_step_is_not():
    inner = map_of("m", [(1, 5), (1, 5), (3, 7)], inside="outer")
    timeline = timeline_of(run(step("outer", 0, 8), inner))
    assert most_at_once(timeline) == 3
    assert concurrency(timeline, 8) == [1, 2, 2, 3, 3, 1, 1, 1]


def test_steps_that_really_run_at_once_inside_one_count_all():
    timeline = timeline_of(run(step("outer", 0, 4), *(step(f"s{n}", 1, 3, inside="outer") for n in range(2))))
    assert concurrency(timeline, 4) == [1, 2, 2, 1]


@pytest.mark.parametrize("insides", [("b", "a"), ("a", "b"), ("nowhere", UNSET), ("b", "b")])
def test_steps_that_claim_to_be_inside_one_another_are_all_shown(insides):
    log = run(step("a", 0, 2, inside=insides[0]), step("b", 0, 2, inside=insides[1]), step("c", 1, 2, inside="a"))
    assert {span.name for span in timeline_of(log).spans} == {"a", "b", "c"}


@pytest.mark.parametrize("noted", [True, False])
def test_what_was_taken_over_took_no_time_and_stands_where_that_was_done(noted):
    day = 86_400
    moment = {"reused_at": at(day + 1)} if noted else {}
    old = {"cached_from": "yesterday", "mock": True, **moment}
    inner = step("m.0.work", 3, 9, **old)
    log = run(
        step("load", 0, 50, attempts=[attempt(0, 20, "FAIL"), attempt(30, 50, number=2)], **old),
        step(
            "m",
            day + 1,
            day + 2,
            branches=[branch("m.0", inner, cached_from="yesterday"), branch("m.1", step("m.1.work", day + 1, day + 2))],
        ),
        step("train", day + 2, day + 5),
        run_config={"chunkstore": {"created": at(day + 0.5), "finished": at(day + 5)}},
    )
    timeline = timeline_of(log)
    begin = 1 if noted else 0.5
    assert timeline.wall_seconds == 5 - begin
    spans = {span.internal_name: span for span in timeline.spans}
    for name in ("load", "m.0.work"):
        assert (spans[name].start, spans[name].seconds, spans[name].taken_over_from) == (0, 0, "yesterday")
    assert spans["m.1.work"].taken_over_from == ""
    assert most_at_once(timeline) == 1
    assert any("load  taken over" in line for line in text_of(log))
    assert '"taken_over_from":"yesterday"' in "".join(trace_lines(timeline)).replace(": ", ":")


def test_a_run_that_took_over_all_it_has_takes_no_time():
    log = run(step("load", 0, 50, cached_from="yesterday", reused_at=at(100)))
    timeline = timeline_of(log)
    assert (timeline.wall_seconds, summarize(timeline).work_seconds) == (0, 0)
    assert text_of(log)


def test_no_span_has_a_negative_duration_whatever_the_clocks_say():
    odd = [step("a", 5, 1), step("b", 9, 10, inside="a"), step("c", 3, None, "PROCESSING", inside="b")]
    odd.append(step("d", 1, 2, cached_from="x", reused_at=at(-5)))
    for log in (run(*odd), run(*odd, run_config={"chunkstore": {"created": at(20), "finished": at(2)}})):
        timeline = timeline_of(log)
        assert all(span.seconds >= 0 and span.start >= 0 for span in timeline.spans)
        assert all(one.end >= one.start for span in timeline.spans for one in span.attempts)
        assert min(concurrency(timeline, 7)) >= 0


def test_a_recorded_run_is_drawn_like_that(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = chunkstore.open_store("buffered")
    for run_id, resume in (("first", None), ("second", "first")):
        with store.start_run(run_id, resume=resume) as recorded:
            with recorded.step("outer"), recorded.step("inner"):
                pass
            recorded.step("load", int)
    timeline = timeline_of(store.get_run_log("second"))
    assert most_at_once(timeline) == 1
    spans = {span.name: span for span in timeline.spans}
    assert (spans["inner"].depth, spans["load"].taken_over_from) == (1, "first")
    assert spans["load"].start >= spans["outer"].end
