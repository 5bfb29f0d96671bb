"""Processes of an older version and of this one record one run: nothing is lost, and each reads what the other wrote.

`golden/chunkstore-2026-10.zip` holds the library as it was before its files had checksums, without its plugins and
tests; Python imports it as it is. It runs in a process of its own.
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from every import every_store
from run_of_two import RUN

import chunkstore
from chunkstore.records.fields import ExtraFields
from chunkstore.records.integrity import has_checksum

#: What both versions know.
NAMES = """
import json

import chunkstore
from chunkstore import BranchLog, MetricPoint, RunLog, StepLog

RUN = "run"


def step(name, **fields):
    return StepLog(name=name, internal_name=name, **fields)


def branch(name, **fields):
    return BranchLog(internal_name=name, **fields)


def setting(**fields):
    def change(record):
        for name, value in fields.items():
            setattr(record, name, value)

    return change


def count(step):
    step.user_defined_metrics["count"] = step.user_defined_metrics.get("count", 0) + 1


def count_in_run(log):
    log.run_config["count"] = log.run_config.get("count", 0) + 1


def creates(run_id, **options):
    try:
        store.create_run_log(run_id, **options)
    except chunkstore.RunLogExistsError:
        return False
    return True


def everything():
    return [json.loads(store.get_run_log(RUN, strict=True).to_json()), json.loads(store.get_run_json(RUN))]


def do_everything(writer, turns):
    for turn in range(turns):
        name = f"{writer}-{turn}"
        store.add_step_log(RUN, step(name, status="PROCESSING"))
        store.update_step_log(RUN, "shared", count)
        store.append_metrics(RUN, name, {"m": [MetricPoint(turn, turn)]})
        store.set_parameters(RUN, {name: turn, "last": name})
        store.update_run_log(RUN, count_in_run)
        store.add_branch_log(RUN, branch(f"shared.{name}", parameters={"turn": turn}))
        store.add_step_log(RUN, step(name, status="SUCCESS", message=str(turn)))
        log = store.get_run_log(RUN, strict=True)
        assert log.steps[name].status == "SUCCESS"
        assert name in log.parameters
"""
CHILD = (
    "import sys\n"
    "sys.path[0] = sys.argv[1]\n"
    f"{NAMES}\n"
    "assert chunkstore.__file__.startswith(sys.argv[1]), chunkstore.__file__\n"
    "store = chunkstore.open_store(sys.argv[2], log_folder=sys.argv[3], lock_timeout=20)\n"
    "for line in sys.stdin:\n"
    "    print(json.dumps(eval(json.loads(line))), flush=True)\n"
)


class Old:
    """A process of the older version with a store of its own; it does what it is told."""

    def __init__(self, archive, store_type, logs):
        command = [sys.executable, "-W", "error", "-c", CHILD, str(archive), store_type, str(logs)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=logs.parent
        )

    def begin(self, code):
        self._process.stdin.write(json.dumps(code) + "\n")
        self._process.stdin.flush()

    def end(self):
        line = self._process.stdout.readline()
        assert line, "the process of the older version died"
        return json.loads(line)

    def __call__(self, code):
        self.begin(code)
        return self.end()

    def close(self):
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait(60) == 0


class New:
    """This process, told what to do in the same way."""

    def __init__(self, store_type, logs):
        self._names = {}
        exec(NAMES, self._names)
        self._names["store"] = self.store = chunkstore.open_store(store_type, log_folder=logs, lock_timeout=20)

    def __call__(self, code):
        return json.loads(json.dumps(eval(code, self._names)))


@pytest.fixture
def new(logs, store_type):
    return New(store_type, logs)


@pytest.fixture
def old(logs, store_type, golden):
    process = Old(golden / "chunkstore-2026-10.zip", store_type, logs)
    yield process
    process.close()


def read_by_both(old, new):
    """Return the run, which both versions read alike."""
    log, joined = new("everything()")
    assert old("everything()") == [log, joined]
    assert log == joined
    return log


@every_store
def test_the_older_version_is_older(old, new, golden):
    assert old("chunkstore.__file__").startswith(str(golden))
    assert new("chunkstore.__file__") == chunkstore.__file__
    assert old("len([name for name in sys.modules if name.endswith('.integrity')])") == 0
    assert os.path.getsize(golden / "chunkstore-2026-10.zip") < 120_000


@pytest.mark.sampled
@every_store
@pytest.mark.parametrize("creator", ["old", "new"])
def test_by_turns_each_changes_what_the_other_wrote(old, new, creator):
    """Whoever begins, both do all there is to do to the records of both."""
    first, second = (old, new) if creator == "old" else (new, old)
    first("store.create_run_log(RUN, tag='nightly', parameters={'rate': 0.125}).run_id")
    for number, (one, other) in enumerate([(first, second), (second, first)]):
        name = f"s{number}"
        one(f"store.add_step_log(RUN, step({name!r}, status='PROCESSING', message='one'))")
        one(f"store.append_metrics(RUN, {name!r}, {{'m': [MetricPoint(1, 1)]}})")
        one(f"store.add_branch_log(RUN, branch('{name}.b', parameters={{'p': 1}}))")
        assert read_by_both(old, new)["steps"][name]["message"] == "one"
        other(f"store.update_step_log(RUN, {name!r}, setting(message='other')).name")
        other(f"store.update_step_log(RUN, {name!r}, count).name")
        other(f"store.update_branch_log(RUN, '{name}.b', setting(status='SUCCESS')).status")
        other(f"store.append_metrics(RUN, {name!r}, {{'m': [MetricPoint(2, 2)]}})")
        found = read_by_both(old, new)["steps"][name]
        assert (found["message"], found["user_defined_metrics"]) == ("other", {"count": 1})
        one(f"store.add_step_log(RUN, step({name!r}, status='SUCCESS', message='one again'))")  # its own
        one(f"store.append_metrics(RUN, {name!r}, {{'m': [MetricPoint(3, 3)]}})")
        found = read_by_both(old, new)["steps"][name]
        assert (found["status"], found["message"], found["user_defined_metrics"]) == ("SUCCESS", "other", {"count": 1})
        one(f"store.update_step_log(RUN, {name!r}, count).name")  # over the other's change
        other(f"store.update_step_log(RUN, {name!r}, count).name")  # over the one's change
        one(f"store.set_parameters(RUN, {{'{name}-one': 1, 'last': 'one'}})")
        other(f"store.set_parameters(RUN, {{'{name}-other': 2, 'last': 'other'}})")
        other(f"store.set_parameters(RUN, {{'q': 2}}, '{name}.b')")
        one("store.update_run_log(RUN, count_in_run).run_id")
        other("store.update_run_log(RUN, count_in_run).run_id")
        found = read_by_both(old, new)["steps"][name]
        assert found["user_defined_metrics"] == {"count": 3}
        assert sorted(point[1] for point in found["metric_series"]["m"]) == [1, 2, 3]
        assert found["branches"][f"{name}.b"]["status"] == "SUCCESS"
        assert found["branches"][f"{name}.b"]["parameters"] == {"p": 1, "q": 2}
        other(f"store.add_step_log(RUN, step({name!r}, status='FAIL', message='taken over'))")
        assert read_by_both(old, new)["steps"][name]["message"] == "taken over"
        one(f"store.put_step_log(RUN, step({name!r}, status='SUCCESS', message='put'))")
        assert read_by_both(old, new)["steps"][name]["message"] == "put"
    first("store.update_run_log(RUN, setting(status='SUCCESS')).status")
    log = read_by_both(old, new)
    assert (log["status"], log["tag"], list(log["steps"])) == ("SUCCESS", "nightly", ["s0", "s1"])
    assert log["run_config"]["count"] == 4
    assert log["parameters"] == {
        "rate": 0.125,
        **{f"s{number}-{who}": value for number in (0, 1) for who, value in (("one", 1), ("other", 2))},
        "last": "other",
    }
    summaries = "[[run.run_id, run.status, run.problem] for run in store.list_runs()]"
    assert old(summaries) == new(summaries) == [[RUN, "SUCCESS", ""]]
    second("store.delete_run(RUN)")
    assert old(summaries) == new(summaries) == []


@pytest.mark.sampled
@every_store
def test_at_once_neither_loses_what_the_other_writes(old, new):
    turns = 25
    old("store.create_run_log(RUN).run_id")
    new("store.add_step_log(RUN, step('shared'))")
    old.begin(f"do_everything('old', {turns})")
    new(f"do_everything('new', {turns})")
    old.end()
    log = read_by_both(old, new)
    names = {f"{writer}-{turn}": turn for writer in ("old", "new") for turn in range(turns)}
    assert log["steps"].pop("shared")["user_defined_metrics"] == {"count": 2 * turns}
    assert log["run_config"]["count"] == 2 * turns
    assert log["parameters"].pop("last") in names
    assert log["parameters"] == names
    assert set(log["steps"]) == set(names)
    for name, found in log["steps"].items():
        assert (found["status"], found["message"]) == ("SUCCESS", str(names[name]))
        assert [point[1] for point in found["metric_series"]["m"]] == [names[name]]


@every_store
def test_at_once_both_create_a_run_and_one_succeeds(old, new):
    create = "[creates(f'run-{{number}}', tag={!r}) for number in range(40)]"
    old.begin(create.format("old"))
    by_new = new(create.format("new"))
    by_old = old.end()
    tags = "{run.run_id: run.tag for run in store.list_runs()}"
    found = new(tags)
    assert old(tags) == found
    assert [one != other for one, other in zip(by_new, by_old, strict=True)] == [True] * 40
    assert [found[f"run-{number}"] for number in range(40)] == ["new" if one else "old" for one in by_new]


@every_store
def test_what_the_older_version_left_is_read_changed_and_still_read_by_it(old, new, logs):
    old("store.create_run_log(RUN, parameters={'a': 1}).run_id")
    old("store.add_step_log(RUN, step('shared'))")
    old("store.append_metrics(RUN, 'shared', {'m': [MetricPoint(1, float('nan'))]})")
    old("store.add_branch_log(RUN, branch('shared.b', parameters={'p': 1}))")
    old("store.update_step_log(RUN, 'shared', count).name")
    data = [path.read_bytes() for path in Path(logs).rglob("*.json*")]
    assert data
    assert not any(map(has_checksum, data))
    log = read_by_both(old, new)
    assert log["steps"]["shared"]["metric_series"] == {"m": [[1, {"$float": "NaN"}, ""]]}
    new("store.update_step_log(RUN, 'shared', count).name")
    new("store.update_branch_log(RUN, 'shared.b', setting(status='SUCCESS')).status")
    new("store.set_parameters(RUN, {'b': 2})")
    new("store.update_run_log(RUN, setting(status='SUCCESS')).status")
    assert any(has_checksum(path.read_bytes()) for path in Path(logs).rglob("*.json*"))
    log = read_by_both(old, new)
    assert (log["status"], log["parameters"]) == ("SUCCESS", {"a": 1, "b": 2})
    assert log["steps"]["shared"]["user_defined_metrics"] == {"count": 2}
    assert log["steps"]["shared"]["branches"]["shared.b"]["status"] == "SUCCESS"


LATER = ExtraFields({"later": {"deep": [1, None, {"$float": "text"}]}, "more": 10**20})


@every_store
def test_fields_that_the_older_version_does_not_know_survive_its_changes(old, new):
    new("store.create_run_log(RUN).run_id")

    def add_later(record):
        record.extra = LATER

    store = new.store
    store.update_run_log(RUN, add_later)
    attempt = chunkstore.StepAttempt(extra=LATER)
    store.add_step_log(RUN, chunkstore.StepLog(name="s", internal_name="s", attempts=[attempt], extra=LATER))
    store.add_branch_log(RUN, chunkstore.BranchLog(internal_name="s.b", extra=LATER))
    for change in (
        "store.update_step_log(RUN, 's', count).name",
        "store.update_step_log(RUN, 's', lambda step: step.attempts[0].parameters.update(a=1)).name",
        "store.update_branch_log(RUN, 's.b', setting(status='SUCCESS')).status",
        "store.update_run_log(RUN, setting(status='SUCCESS')).status",
        "store.set_parameters(RUN, {'a': 1})",
        "store.append_metrics(RUN, 's', {'m': [MetricPoint(1, 1)]})",
        "store.add_step_log(RUN, step('t'))",
    ):
        old(change)
        log = store.get_run_log(RUN, strict=True)
        for record in (log, log.steps["s"], log.steps["s"].attempts[0], log.steps["s"].branches["s.b"]):
            assert record.extra == LATER, (change, type(record))
    assert log.status == log.steps["s"].branches["s.b"].status == "SUCCESS"
    assert log.steps["s"].user_defined_metrics == {"count": 1}
    assert log.steps["s"].attempts[0].parameters == {"a": 1}
    read_by_both(old, new)


@every_store
def test_the_recording_api_of_both_records_one_run(old, new):
    old("store.create_run_log(RUN).run_id")
    record = "[store.join_run(RUN, capture_output=False).step('by {0}', int, '7') for _ in (1,)]"
    assert old(record.format("old")) == new(record.format("new")) == [7]
    assert old("store.join_run(RUN).finish().status") == "SUCCESS"
    log = read_by_both(old, new)
    assert {name: (found["status"], found["result"]) for name, found in log["steps"].items()} == {
        "by old": ("SUCCESS", 7),
        "by new": ("SUCCESS", 7),
    }


def test_threads_of_this_version_and_a_process_of_the_older_one_count_exactly(logs, golden):
    new, old = New("chunked-fs", logs), Old(golden / "chunkstore-2026-10.zip", "chunked-fs", logs)
    try:
        new("store.create_run_log(RUN).run_id")
        new("store.add_step_log(RUN, step('shared'))")
        counting = "[store.update_step_log(RUN, 'shared', count).name for _ in range(50)]"
        old.begin(counting)
        threads = [threading.Thread(target=new, args=(counting,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        old.end()
        assert read_by_both(old, new)["steps"]["shared"]["user_defined_metrics"] == {"count": 150}
    finally:
        old.close()
