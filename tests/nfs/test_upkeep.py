"""One host seals, collects, deletes and repairs while the other records; data is shared by both."""

import itertools
import os
from pathlib import Path

import pytest
from processes import run_processes

from chunkstore import RunLogExistsError, RunLogNotFoundError
from chunkstore.maintenance.checking import verify
from chunkstore.maintenance.checking.findings import PROBLEM
from chunkstore.maintenance.retention import Rule, collect, plan_retention, remove_left_overs
from nfs.hosts import FIRST, SECOND
from nfs.stores import KINDS, RUN, opened, step

pytestmark = pytest.mark.usefixtures("_ready_to_record")

_stores = pytest.mark.parametrize("kind", KINDS)
#: Runs that each recorder records while somebody cleans up.
RUNS = 6


def record_runs(folder, kind, number):
    """Record runs with data; return what is to be there in the end: those that are tagged to be kept."""
    os.chdir(folder)
    store, kept = opened(folder, kind), []
    for turn in range(RUNS):
        run_id, tag = f"w{number}-{turn}", "keep" if turn % 2 else "go"
        with store.start_run(run_id, tag=tag, capture_output=False) as run, run.step("a") as recorded:
            name = f"{run_id}.txt"
            Path(name).write_text(run_id * 100, encoding="ascii")
            recorded.put_data(name)
            recorded.log_metric("turn", turn)
        if tag == "keep":
            kept.append(run_id)
    return kept


def clean_up(folder, kind, gone):
    """Delete what may go, with its data, again and again; return how much that was."""
    store, deleted = opened(folder, kind), 0
    while deleted < gone:
        plan = plan_retention(store, Rule(tags=frozenset({"go"}), statuses=frozenset({"SUCCESS"})), with_data=True)
        deleted += sum(outcome.deleted for outcome in collect(store, plan, with_data=True))
        remove_left_overs(store, with_data=True)
    return deleted


@pytest.mark.parametrize(("kind", "cleaner"), [("files", FIRST), ("journal", SECOND), ("document", SECOND)])
def test_who_collects_on_one_host_takes_only_what_may_go_while_both_record(hosts, folder, kind, cleaner):
    gone = 2 * RUNS // 2
    jobs = [
        (hosts.on(FIRST, record_runs), folder, kind, 0),
        (hosts.on(SECOND, record_runs), folder, kind, 1),
        (hosts.on(cleaner, clean_up), folder, kind, gone),
    ]
    *kept, deleted = run_processes(lambda job, *arguments: job(*arguments), jobs)
    assert deleted == gone
    expected = set(itertools.chain(*kept))
    for host in (FIRST, SECOND):
        assert hosts.call(host, contents, folder, kind) == {run_id: run_id * 100 for run_id in expected}
    assert hosts.call(SECOND, problems, folder, kind) == []


def contents(folder, kind):
    """Return the data of all runs, as the host finds it through what is recorded."""
    store, found = opened(folder, kind), {}
    for summary in store.list_runs():
        (entry,) = store.get_run_log(summary.run_id, strict=True).steps["a"].data_catalog
        found[summary.run_id] = Path(store.catalog_path, entry.catalog_relative_path).read_text(encoding="ascii")
    return found


def problems(folder, kind):
    return [str(found) for found in verify(opened(folder, kind), with_data=True) if found.severity == PROBLEM]


def pass_on(folder, kind, mine, other, turns):
    """Put data and get what the other host has put."""
    folder = Path(folder)
    os.chdir(folder)
    store = opened(folder, kind)
    with store.join_run(RUN, create=True, capture_output=False) as run:
        for turn in range(turns):
            with run.step(f"{mine}-{turn}") as recorded:
                Path(f"{mine}-{turn}").write_text(f"{mine} {turn}", encoding="ascii")
                recorded.put_data(f"{mine}-{turn}")
                recorded.put_data(f"{mine}-{turn}", "latest")
            assert store.get_step_log(RUN, f"{mine}-{turn}").status == "SUCCESS"
    return store.get_run_log(RUN).incarnation


def get_all(folder, kind, names):
    os.chdir(os.environ["TMPDIR"])
    store, found = opened(folder, kind), {}
    with store.join_run(RUN, capture_output=False) as run, run.step("read") as reading:
        for name in names:
            found[name] = Path(reading.get_data(name)).read_text(encoding="ascii")
    return found


@_stores
def test_data_that_both_hosts_put_at_once_is_got_on_both(hosts, folder, kind):
    turns = 6
    jobs = [(hosts.on(host, pass_on), folder, kind, name, "", turns) for host, name in enumerate("ab")]
    first, second = run_processes(lambda job, *arguments: job(*arguments), jobs)
    assert first == second
    expected = {f"{name}-{turn}": f"{name} {turn}" for name in "ab" for turn in range(turns)}
    for host in (FIRST, SECOND):
        assert hosts.call(host, get_all, folder, kind, list(expected)) == expected


def make_and_delete(folder, kind, turns, writer):
    """Make a run and delete it over and over; nothing else than that it is there, or is gone, may be said."""
    store = opened(folder, kind)
    created = 0
    for turn in range(turns):
        try:
            store.create_run_log(RUN, tag=f"{writer} {turn}")
            created += 1
            store.add_step_log(RUN, step(f"{writer} {turn}"))
        except (RunLogExistsError, RunLogNotFoundError):
            pass
        try:
            log = store.get_run_log(RUN, strict=True)
            # A read is of one incarnation: a step says by whose run it is, unless others have recorded into it.
            assert log.tag
            store.delete_run(RUN)
        except RunLogNotFoundError:
            pass
    return created


@_stores
def test_a_run_that_both_hosts_make_and_delete_at_once_is_there_whole_or_gone(hosts, folder, kind):
    jobs = [(hosts.on(number % 2, make_and_delete), folder, kind, 15, number) for number in range(4)]
    assert all(run_processes(lambda job, *arguments: job(*arguments), jobs))
    for host in (FIRST, SECOND):
        assert hosts.call(host, lambda: [run.run_id for run in opened(folder, kind).list_runs()]) == []
        assert hosts.call(host, problems, folder, kind) == []
    store = opened(folder, kind)
    store.create_run_log(RUN)
    assert store.get_run_log(RUN, strict=True).steps == {}
