"""The trace of a run, for Perfetto and chrome://tracing.

Checked against the Trace Event Format: complete events (`X`) with name, cat, ts, dur, pid, tid and args, counters (`C`)
and metadata (`M`); events of one thread are nested or apart.
"""

import json
from collections import defaultdict
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from chunkstore.views.timeline import timeline_of
from chunkstore.views.timeline.trace import trace_lines
from views.timed_runs import BEGINNING, branch, map_of, pool_of, run, step, typical

intervals = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda pair: (pair[0], pair[0] + pair[1])),
    min_size=1,
    max_size=30,
)


def trace_of(log, **options):
    return json.loads("".join(trace_lines(timeline_of(log, **options))))


def check_format(trace):
    assert set(trace) == {"displayTimeUnit", "otherData", "traceEvents"}
    assert trace["displayTimeUnit"] in {"ms", "ns"}
    threads = defaultdict(list)
    for event in trace["traceEvents"]:
        assert event["ph"] in {"X", "M", "C"}
        assert type(event["name"]) is str
        if event["ph"] == "C":
            assert set(event) == {"name", "ph", "ts", "pid", "args"}
            assert type(event["ts"]) is int
            assert all(type(value) in {int, float} for value in event["args"].values())
            continue
        assert type(event["pid"]) is type(event["tid"]) is int
        if event["ph"] == "M":
            wanted = {"process_name": str, "thread_name": str, "process_sort_index": int, "thread_sort_index": int}
            (value,) = event["args"].values()
            assert type(value) is wanted[event["name"]]
        else:
            assert set(event) == {"name", "cat", "ph", "ts", "dur", "pid", "tid", "args"}
            assert type(event["ts"]) is type(event["dur"]) is int
            assert event["dur"] >= 0
            assert type(event["args"]) is dict
            threads[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    for events in threads.values():
        for place, (start, end) in enumerate(events):
            for other_start, other_end in events[place + 1 :]:
                apart = end <= other_start or other_end <= start
                assert apart or (start <= other_start and other_end <= end)


def test_a_trace_has_the_documented_form():
    check_format(trace_of(typical(200)))
    check_format(trace_of(run()))


@given(intervals, intervals)
def test_events_of_a_thread_are_nested_or_apart(outer, inner):
    branches = [branch(f"m.{n}", map_of(f"m.{n}.i", inner), step(f"m.{n}.s", *pair)) for n, pair in enumerate(outer)]
    check_format(trace_of(run(step("m", 0, 80, branches=branches), *(step(f"s{n}", *t) for n, t in enumerate(inner)))))


def test_every_span_is_one_event():
    log = typical(200)
    events = [event for event in trace_of(log)["traceEvents"] if event.get("cat", "").startswith(("step", "branch"))]
    assert sorted(event["args"]["internal_name"] for event in events) == sorted(
        span.internal_name for span in timeline_of(log).spans
    )
    (load,) = [event for event in events if event["name"] == "load"]
    assert load["ts"] == BEGINNING.timestamp() * 1_000_000
    assert (load["dur"], load["cat"]) == (5_000_000, "step,critical")
    assert load["args"]["metrics"] == {"rows": 10_000, "nan": "NaN"}


def test_lanes_are_threads_and_composite_steps_processes():
    names = defaultdict(list)
    for event in trace_of(run(step("load", 0, 1), map_of("score", pool_of(100, 3, 0.1, begin=1))))["traceEvents"]:
        if event["ph"] == "M" and "name" in event["args"]:
            names[event["name"]].append(event["args"]["name"])
    assert names["process_name"] == ["run calm-noether-1200", "score"]
    assert names["thread_name"] == [
        "critical path",
        "steps, lane 1",
        "lane 1",
        "lane 2",
        "lane 3",
    ]


def test_attempts_are_inside_their_step_and_the_critical_path_is_a_thread():
    events = trace_of(typical())["traceEvents"]
    attempts = [event["args"]["status"] for event in events if event.get("cat") == "attempt"]
    assert attempts == ["FAIL", "FAIL", "SUCCESS"]
    path = [event["name"] for event in events if event.get("cat") == "critical"]
    assert (path[:2], path[-3:]) == (["load", "fetch"], ["train.boosted.tune", "train.boosted.final", "report"])


def test_a_counter_tells_how_many_went_on_at_once():
    events = trace_of(run(step("a", 0, 2), map_of("m", [(2, 4), (2, 3)])))["traceEvents"]
    counts = [(event["ts"], event["args"]["steps"]) for event in events if event["ph"] == "C"]
    begun = int(BEGINNING.timestamp()) * 1_000_000
    assert counts == [(begun, 1), (begun + 2_000_000, 2), (begun + 3_000_000, 1), (begun + 4_000_000, 0)]


def test_what_goes_on_lasts_until_now():
    log = run(step("a", 0, None, "PROCESSING"), status="PROCESSING")
    events = trace_of(log, until=BEGINNING + timedelta(seconds=7))["traceEvents"]
    (event,) = [event for event in events if event.get("cat") == "step,critical"]
    assert (event["dur"], event["args"]["running"]) == (7_000_000, True)
