"""Whatever a file holds, or is: a value, a reported problem or the right error; and it never hides the rest of the run.

Reads of what could hang or fill memory happen in a forked child with limits, so that they fail instead.
"""

import json
import os
import resource
import shutil
import signal
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from privileges import skip_or_fail
from processes import fork_and_wait

import chunkstore
from chunkstore import BranchLog, ChunkstoreError, ConfigurationError, CorruptChunkError, MetricPoint, StepLog
from chunkstore.errors import RunLogExistsError, RunLogNotFoundError, StepLogNotFoundError, StoreAccessError
from chunkstore.records.assemble import flatten
from chunkstore.records.codec import MAX_BYTES
from chunkstore.records.integrity import LENGTH
from chunkstore.testing.suite_runs import CALLS_ON_A_RUN

pytestmark = pytest.mark.thorough

RUN = "run"
NOBODY = 65534
MEBIBYTE = 1 << 20

#: What is in each file of the run that `make_run` makes, by how the file's name begins.
HELD = {
    "RunLog.json": {("run", "")},
    "StepLog-map-": {("step", "map")},
    "StepUpdate-map-": {("step", "map")},
    "Metric-map-": {("step", "map")},
    "BranchLog-map.a-": {("branch", "map.a")},
    "BranchUpdate-map.a-": {("branch", "map.a")},
    "Parameter-root.json": {("parameters", "")},
    "Parameter-map.a.json": {("parameters", "map.a")},
}


def step(name, **fields):
    return StepLog(name=name.rpartition(".")[2], internal_name=name, **fields)


def error_of(call, *arguments, kinds=ChunkstoreError):
    """Return the error of one of some kinds that a call ends with, or None."""
    try:
        call(*arguments)
    except kinds as error:
        return error
    return None


def open_chunked(folder, **options):
    return chunkstore.open_store("chunked-fs", log_folder=folder, lock_timeout=5, **options)


def open_documents(folder, **options):
    return chunkstore.open_store("file-system", log_folder=folder, lock_timeout=5, **options)


OPEN = {"chunked-fs": open_chunked, "file-system": open_documents}


def make_run(folder, store_type="chunked-fs", **options):
    """Record a run with a file of each kind; return its folder."""
    owner, other = (OPEN[store_type](folder, **options) for _ in range(2))
    owner.create_run_log(RUN, tag="nightly", parameters={"rate": 0.125})
    owner.add_step_log(RUN, step("map", message="12 of 12"))
    owner.add_branch_log(RUN, BranchLog(internal_name="map.a", parameters={"p": 1}))
    owner.add_step_log(RUN, step("map.a.x"))
    owner.append_metrics(RUN, "map", {"loss": [MetricPoint(1, 0.5)]})
    owner.append_metrics(RUN, "map", {"loss": [MetricPoint(2, 0.25)]})
    owner.add_step_log(RUN, step("good", status="SUCCESS"))
    other.update_step_log(RUN, "map", lambda found: setattr(found, "message", "13 of 13"))
    other.update_branch_log(RUN, "map.a", lambda found: setattr(found, "status", "SUCCESS"))
    return Path(folder) / RUN


def contents(log):
    """Return all that is in a run, by kind and name."""
    records, parameters = flatten(log)
    found = {("run", ""): (log.run_id, log.status, log.tag, log.run_config)}
    found.update({("parameters", scope): values for scope, values in parameters.items()})
    for record in records:
        found["step" if isinstance(record, StepLog) else "branch", record.internal_name] = record
    return found


def read(folder):
    return open_chunked(folder.parent).get_run_log(RUN)


def file_of(folder, start):
    (name,) = [name for name in os.listdir(folder) if name.startswith(start)]
    return folder / name


def check_the_rest(log, whole, damaged):
    """Check that all is there that the damaged files did not hold."""
    found = contents(log)
    for key, value in whole.items():
        if key not in damaged:
            assert found.get(key) == value, key


@pytest.fixture
def memory():
    """A folder in memory, if there is such a thing, into which other users can look."""
    path = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    os.chmod(path, 0o755)
    yield Path(path)
    shutil.rmtree(path)


def within_limits(work, *, cpu=30, memory=256 * MEBIBYTE):
    """Tell whether `work` ends without an exception in a child that may use so many seconds and so much more memory."""

    def limited():
        with open("/proc/self/statm", encoding="ascii") as sizes:
            used = int(sizes.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
        resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
        signal.alarm(2 * cpu)  # who waits for ever uses no CPU
        work()

    return fork_and_wait(limited)


def as_nobody(work):
    """Tell whether `work` ends without an exception for a user who owns nothing."""
    if os.geteuid() != 0:
        skip_or_fail("only root can become another user")

    def work_as_nobody():
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        signal.alarm(60)
        work()

    return fork_and_wait(work_as_nobody)


# --- configurations --------------------------------------------------------------------------------------------------

CONFIGURATION = b"""\
# what this is for
run_log_store:
  type: chunked-fs
  config:
    log_folder: logs # below
    durability: "run"
    pretty: false
    catalog_folder: data
    lock_timeout: 60.5
"""


def open_configured(folder, data):
    """Open the store of a configuration with these bytes; check that nothing is made, and what an error says."""
    file = folder / "c.yaml"
    file.write_bytes(data)
    try:
        error = error_of(lambda: chunkstore.open_store(config="c.yaml"), kinds=ConfigurationError)
    except Exception as other:
        raise AssertionError(data[:100]) from other
    if error is not None:
        assert error.file == "c.yaml", data
        assert "c.yaml" in str(error), data
        assert len(str(error)) < 1_000, data
    assert os.listdir(folder) == ["c.yaml"], data


def test_a_configuration_that_was_cut_off_gives_a_store_or_an_error_that_names_it(memory):
    def work():
        os.chdir(memory)
        for length in range(len(CONFIGURATION) + 1):
            open_configured(memory, CONFIGURATION[:length])

    assert within_limits(work)


def test_any_flipped_bit_of_a_configuration_gives_a_store_or_an_error_that_names_it(memory):
    def work():
        os.chdir(memory)
        for place in range(len(CONFIGURATION)):
            for bit in range(8):
                changed = bytearray(CONFIGURATION)
                changed[place] ^= 1 << bit
                open_configured(memory, bytes(changed))

    assert within_limits(work)


WRONG_VALUES = {
    "long integer": b"lock_timeout: " + b"9" * 5_000,
    "long hexadecimal integer": b"lock_timeout: 0x" + b"f" * 5_000,
    "long sexagesimal integer": b"lock_timeout: " + b"1:" * 5_000 + b"1",
    "negative integer": b"lock_timeout: -0x" + b"f" * 5_000,
    "a long key": b"0x" + b"f" * 5_000 + b": 1",
    "infinite": b"lock_timeout: .inf",
    "truth that is none": b"pretty: !!bool maybe",
    "an empty integer": b"lock_timeout: !!int ''",
    "an empty float": b"lock_timeout: !!float ''",
    "a date that is none": b"durability: 2001-02-30",
    "a date": b"durability: 2001-02-03",
    "a list": b"log_folder: [a, b]",
    "a set": b"durability: !!set {run, step}",
    "bytes": b"log_folder: !!binary aGk=",
    "a merge of nothing": b"<<: 5",
    "half a surrogate pair": b'log_folder: "\\ud800"',
    "a null byte": b'log_folder: "a\\0b"',
    "latin-1": b"log_folder: caf\xe9",
    "a key twice": b"pretty: true\n    pretty: 5",
    "a null key": b"? null\n    : 5",
    "a path too long": b"log_folder: " + b"a/" * 5_000,
    "a name too long": b"catalog_folder: " + b"a" * 5_000,
}


@pytest.mark.parametrize("value", WRONG_VALUES.values(), ids=list(WRONG_VALUES))
def test_any_value_in_a_configuration_gives_a_store_or_an_error_that_names_it(memory, monkeypatch, value):
    monkeypatch.chdir(memory)
    open_configured(memory, b"run_log_store:\n  config:\n    " + value + b"\n")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_configuration_in_another_encoding_gives_its_store_or_an_error_that_names_it(memory, monkeypatch, encoding):
    monkeypatch.chdir(memory)
    open_configured(memory, CONFIGURATION.decode().encode(encoding))


# --- flipped bits and cut-off files ----------------------------------------------------------------------------------


def flips(data, *, every_bit=True):
    """Yield the bytes with each bit flipped, or with one bit of each byte."""
    for place in range(len(data)):
        for bit in range(8) if every_bit else (place % 8,):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            yield bytes(changed)


@pytest.mark.parametrize("start", HELD)
def test_any_flipped_bit_of_any_file_is_reported_and_hides_nothing_else(memory, start):
    folder = make_run(memory / "logs")
    whole, file = contents(read(folder)), file_of(folder, start)
    for changed in flips(file.read_bytes()):
        file.write_bytes(changed)
        log = read(folder)
        assert {problem.file for problem in log.problems if problem.kind != "orphan"} == {file.name}, changed
        check_the_rest(log, whole, HELD[start])


#: What looks at single records.
CALLS = {
    "RunLog.json": [
        lambda store: store.update_run_log(RUN, lambda log: setattr(log, "tag", "new")),
        lambda store: store.add_step_log(RUN, step("new")),
        lambda store: store.set_parameters(RUN, {"new": 1}),
    ],
    "StepLog-map-": [
        lambda store: store.get_step_log(RUN, "map"),
        lambda store: store.update_step_log(RUN, "map", lambda found: setattr(found, "status", "SUCCESS")),
    ],
    "BranchLog-map.a-": [
        lambda store: store.get_branch_log(RUN, "map.a"),
        lambda store: store.update_branch_log(RUN, "map.a", lambda found: setattr(found, "status", "FAIL")),
    ],
    "StepUpdate-map-": [
        lambda store: store.update_step_log(RUN, "map", lambda found: setattr(found, "status", "SUCCESS")),
    ],
    "BranchUpdate-map.a-": [
        lambda store: store.update_branch_log(RUN, "map.a", lambda found: setattr(found, "status", "FAIL")),
    ],
    "Parameter-root.json": [
        lambda store: store.get_parameters(RUN),
        lambda store: store.set_parameters(RUN, {"new": 1}),
        lambda store: store.set_parameters(RUN, {"new": 1}, overwrite=False),
    ],
    "Parameter-map.a.json": [
        lambda store: store.get_parameters(RUN, "map.a"),
        lambda store: store.set_parameters(RUN, {"new": 1}, "map.a"),
    ],
}


@pytest.mark.parametrize("start", CALLS)
def test_a_changed_file_is_never_taken_for_a_record_and_never_written_over(memory, start):
    folder = make_run(memory / "logs")
    file = file_of(folder, start)
    names = sorted(os.listdir(folder))
    for changed in flips(file.read_bytes(), every_bit=False):
        file.write_bytes(changed)
        for call in CALLS[start]:
            with pytest.raises(CorruptChunkError, match=start.rstrip("-")):
                call(open_chunked(folder.parent))
        with pytest.raises(CorruptChunkError, match=start.rstrip("-")):
            open_chunked(folder.parent).get_run_log(RUN, strict=True)
        assert file.read_bytes() == changed
    assert sorted(os.listdir(folder)) == names


@pytest.mark.parametrize("start", HELD)
def test_a_file_that_was_cut_off_anywhere_hides_nothing_else(memory, start):
    folder = make_run(memory / "logs")
    whole, file = contents(read(folder)), file_of(folder, start)
    data = file.read_bytes()
    for length in range(len(data)):
        file.write_bytes(data[:length])
        log = read(folder)
        check_the_rest(log, whole, HELD[start])
        if start.startswith("Metric"):  # a line without its end was never acknowledged
            lines = data[:length].count(b"\n")
            points = dict(contents(log)["step", "map"].metric_series or {}).get("loss", [])
            assert points == [MetricPoint(1, 0.5), MetricPoint(2, 0.25)][:lines]
        elif length < len(data) - LENGTH:
            assert {problem.file for problem in log.problems if problem.kind != "orphan"} == {file.name}
        else:  # only of the checksum is something missing
            assert contents(log) == whole or log.problems


@pytest.mark.parametrize("cut", [False, True], ids=["flipped", "cut off"])
@pytest.mark.parametrize("start", [start for start in HELD if not start.startswith("Metric")])  # those are never pretty
def test_a_pretty_file_that_is_damaged_hides_nothing_else(memory, start, cut):
    folder = make_run(memory / "logs", pretty=True)
    whole, file = contents(read(folder)), file_of(folder, start)
    data = file.read_bytes()
    for changed in (data[:length] for length in range(len(data))) if cut else flips(data):
        file.write_bytes(changed)
        store = open_chunked(folder.parent)
        log = store.get_run_log(RUN)
        assert {problem.file for problem in log.problems if problem.kind != "orphan"} <= {file.name, *over(file)}
        check_the_rest(log, whole, HELD[start])
        if changed[-1:] != b"}":
            assert log.problems, changed
        for call in (store.get_step_log, store.get_branch_log, store.get_parameters):
            arguments = (RUN,) if call == store.get_parameters else (RUN, "map" if "step" in call.__name__ else "map.a")
            try:
                call(*arguments)
            except (CorruptChunkError, chunkstore.StepLogNotFoundError, chunkstore.BranchLogNotFoundError):
                pass  # without a checksum, a changed name is another name
        assert store.get_step_log(RUN, "good") == whole["step", "good"]


def over(file):
    """Return the files that a change lies over: such a change may make no record of them."""
    if "Update-" not in file.name:
        return []
    return [file.name.replace("Update-", "Log-")]


def test_any_flipped_bit_of_a_document_is_an_error_that_names_it(memory):
    make_run(memory, "file-system")
    open_documents(memory).create_run_log("other")
    file = memory / f"{RUN}.json"
    for number, changed in enumerate(flips(file.read_bytes())):
        file.write_bytes(changed)
        store = open_documents(memory)
        with pytest.raises(CorruptChunkError, match=r"run\.json"):
            store.get_run_log(RUN)
        if number % 64 == 0:
            for name in ("get parameters", "set parameters", "get step", "add step", "update"):
                with pytest.raises(CorruptChunkError, match=r"run\.json"):
                    CALLS_ON_A_RUN[name](store, RUN)
            assert {run.run_id: bool(run.problem) for run in store.list_runs()} == {RUN: True, "other": False}
            assert file.read_bytes() == changed


@pytest.mark.parametrize("pretty", [False, True])
def test_a_document_that_was_cut_off_is_an_error_that_names_it_or_means_the_same(memory, pretty):
    make_run(memory, "file-system", pretty=pretty)
    file = memory / f"{RUN}.json"
    data, whole = file.read_bytes(), open_documents(memory).get_run_log(RUN)
    for length in range(len(data)):
        file.write_bytes(data[:length])
        error = error_of(open_documents(memory).get_run_log, RUN, kinds=CorruptChunkError)
        if error is None:
            assert open_documents(memory).get_run_log(RUN) == whole
            assert not pretty
            assert length >= len(data) - LENGTH
        else:
            assert error.file == file.name


def test_a_pretty_document_with_a_flipped_bit_is_a_run_or_an_error_that_names_it(memory):
    make_run(memory, "file-system", pretty=True)
    file = memory / f"{RUN}.json"
    for changed in flips(file.read_bytes()):
        file.write_bytes(changed)
        error = error_of(open_documents(memory).get_run_json, RUN, kinds=CorruptChunkError)
        assert error is None or error.file == file.name


# --- bytes of other files --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs():
    """Two equal runs of files in memory, compact and pretty, to copy from."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as top:
        yield {pretty: make_run(Path(top) / str(pretty), pretty=pretty) for pretty in (False, True)}


STARTS = st.sampled_from(list(HELD))
DAMAGE = st.one_of(
    st.tuples(st.just("empty"), STARTS),
    st.tuples(st.just("zeros"), STARTS),
    st.tuples(st.just("double"), STARTS),
    st.tuples(st.just("splice"), STARTS, STARTS, st.lists(st.integers(1, 300), min_size=3, max_size=3)),
    st.tuples(st.just("swap"), STARTS, STARTS),
    st.tuples(st.just("copy"), STARTS, STARTS),
)


def do_damage(folder, kind, start, other=None, places=()):
    file = file_of(folder, start)
    data = file.read_bytes()
    if kind == "empty":
        file.write_bytes(b"")
    elif kind == "zeros":
        file.write_bytes(bytes(len(data)))
    elif kind == "double":
        file.write_bytes(data * 2)
    else:
        source = file_of(folder, other)
        theirs = source.read_bytes()
        if kind == "splice":
            here, there, length = places
            file.write_bytes(data[:here] + theirs[there : there + length] + data[here + length :])
        else:
            file.write_bytes(theirs)
        if kind == "swap":
            source.write_bytes(data)


@pytest.mark.parametrize("pretty", [False, True])
@settings(max_examples=16 * settings().max_examples)
@given(damages=st.lists(DAMAGE, min_size=1, max_size=3))
@example(damages=[("swap", "BranchLog-map.a-", "BranchUpdate-map.a-")])
@example(damages=[("copy", "BranchUpdate-map.a-", "StepUpdate-map-")])
def test_whatever_was_written_into_some_files_the_others_are_read(runs, memory, pretty, damages):
    folder = memory / "logs" / RUN
    shutil.rmtree(folder.parent, ignore_errors=True)
    shutil.copytree(runs[pretty], folder)
    whole = contents(read(folder))
    damaged = set()
    for kind, *arguments in damages:
        do_damage(folder, kind, *arguments)
        damaged |= HELD[arguments[0]] | (HELD[arguments[1]] if kind == "swap" else set())
    store = open_chunked(folder.parent)
    log = store.get_run_log(RUN)
    check_the_rest(log, whole, damaged)
    assert chunkstore.RunLog.from_json(log.to_json()).problems == log.problems
    shown = json.loads(store.get_run_json(RUN))
    shown.pop("problems", None)
    expected = json.loads(log.to_json())
    expected.pop("problems", None)
    assert shown == expected
    assert store.get_step_log(RUN, "good") == whole["step", "good"]
    assert [summary.run_id for summary in store.list_runs()] == [RUN]
    for call in (lambda: store.get_step_log(RUN, "map"), lambda: store.get_parameters(RUN)):
        try:
            call()
        except (CorruptChunkError, StepLogNotFoundError):
            pass


@pytest.mark.parametrize("kind", ["empty", "zeros", "double"])
@pytest.mark.parametrize("start", HELD)
def test_a_file_that_is_empty_or_zeros_or_there_twice_is_reported(memory, start, kind):
    folder = make_run(memory / "logs")
    whole = contents(read(folder))
    do_damage(folder, kind, start)
    log = read(folder)
    check_the_rest(log, whole, HELD[start])
    if not start.startswith("Metric") or kind == "zeros":  # no lines are no points, and each line stands for itself
        assert file_of(folder, start).name in {problem.file for problem in log.problems}


@pytest.fixture
def two_steps(memory):
    """Return a run's folder and the files of its steps `a` and `b`; `a` was replaced since it was copied."""
    store = open_chunked(memory)
    store.create_run_log(RUN)
    store.add_step_log(RUN, step("a", message="old a"))
    store.add_step_log(RUN, step("b", message="b"))
    folder = memory / RUN
    files = file_of(folder, "StepLog-a-"), file_of(folder, "StepLog-b-")
    copy = files[0].read_bytes()
    store.add_step_log(RUN, step("a", message="new a"))
    return folder, *files, copy


def test_a_copy_of_a_step_under_the_name_of_another_is_reported_and_does_not_count(two_steps):
    folder, _, second, copy = two_steps
    second.write_bytes(copy)
    log = read(folder)
    assert log.steps["a"].message == "new a"
    assert second.name in {problem.file for problem in log.problems}


def test_a_copy_of_a_change_under_the_name_of_another_is_reported_and_does_not_count(two_steps):
    folder, *_ = two_steps
    other = open_chunked(folder.parent)
    other.update_step_log(RUN, "a", lambda found: setattr(found, "message", "old change"))
    copy = file_of(folder, "StepUpdate-a-").read_bytes()
    for name in ("a", "b"):
        other.update_step_log(RUN, name, lambda found: setattr(found, "message", "new change"))
    second = file_of(folder, "StepUpdate-b-")
    second.write_bytes(copy)
    log = read(folder)
    assert log.steps["a"].message == "new change"
    assert open_chunked(folder.parent).get_step_log(RUN, "a").message == "new change"
    assert second.name in {problem.file for problem in log.problems}


def test_steps_whose_files_were_swapped_are_found_or_reported(two_steps):
    folder, first, second, _ = two_steps
    data = first.read_bytes(), second.read_bytes()
    first.write_bytes(data[1])
    second.write_bytes(data[0])
    store = open_chunked(folder.parent)
    log = store.get_run_log(RUN)
    reported = {problem.file for problem in log.problems}
    for name, message, file in (("a", "new a", first), ("b", "b", second)):
        if file.name not in reported:
            assert log.steps[name].message == message
            assert store.get_step_log(RUN, name).message == message


@pytest.mark.parametrize("name", ["short", "long" * 100])
def test_an_older_record_does_not_pass_for_a_damaged_newer_one_however_long_its_name(memory, name):
    owner, other = open_chunked(memory), open_chunked(memory)
    owner.create_run_log(RUN)
    owner.add_step_log(RUN, step(name, message="older"))
    other.add_step_log(RUN, step(name, message="newer"))
    newest = max((memory / RUN).glob("StepLog-*"))
    newest.write_bytes(newest.read_bytes().replace(b"newer", b"never"))
    store = open_chunked(memory)
    with pytest.raises(CorruptChunkError):
        store.get_step_log(RUN, name)
    with pytest.raises(CorruptChunkError):
        store.update_step_log(RUN, name, lambda found: setattr(found, "status", "SUCCESS"))


# --- bombs -----------------------------------------------------------------------------------------------------------


def record_with(value, key=b"result"):
    """Return JSON that a step, a branch, parameters or a run could hold, with one more value in it."""
    fields = b'"name":"evil","internal_name":"evil","branch":"evil","run_id":"run","over":"x","change":{},"points":{}'
    return b"{" + fields + b',"' + key + b'":' + value + b"}"


def repeated(value, times, start=b"", end=b""):
    return lambda: start + value * times + end


MANY = 10**6
#: The bytes of each, made when they are needed.
BOMBS = {
    "deep lists": repeated(b"[", MANY),
    "deep objects": repeated(b'{"a":', MANY),
    "deep and closed": lambda: record_with(b"[" * MANY + b"]" * MANY),
    "deep unknown field": lambda: record_with(b'{"a":' * MANY + b"1" + b"}" * MANY, b"later"),
    "long integer": lambda: record_with(b"9" * 5_000),
    "very long integer": lambda: record_with(b"-" + b"9" * MANY),
    "long fraction": lambda: record_with(b"0." + b"9" * MANY + b"e-5000"),
    "half a surrogate pair": lambda: record_with(b'"\\ud800"'),
    "half a surrogate pair in a name": lambda: b'{"name":"\\ud800","internal_name":"\\ud800","branch":"\\udfff"}',
    "half a surrogate pair as bytes": lambda: record_with(b'"\xed\xa0\x80"'),
    "equal keys": repeated(b'"internal_name":"a",', 10**5, b"{", b'"name":"evil","internal_name":"evil"}'),
    "many keys": lambda: record_with(b"{" + b",".join(b'"%d":0' % number for number in range(10**5)) + b"}"),
    "many unknown keys": lambda: record_with(b",".join([b"0", *(b'"%d":0' % number for number in range(10**5))])),
    "long list": lambda: record_with(b"[" + b"0," * MANY + b"0]"),
    "long list of lists": lambda: record_with(b"[" + b"[]," * 10**5 + b"0]"),
    "long list of steps": repeated(b"{},", 10**5, b'{"run_id":"run","steps":[', b"{}]}"),
    "long list of marked floats": lambda: record_with(b"[" + b'{"$float":"NaN"},' * 10**5 + b"0]"),
    "many lines": repeated(b"{}\n", 10**4),
    "many empty lines": repeated(b"\n", 10**4),
    "no utf-8": lambda: record_with(b'"\xff\xfe"'),
    "utf-16": lambda: record_with(b"0").decode().encode("utf-16"),
    "utf-32": lambda: record_with(b"0").decode().encode("utf-32"),
    "byte order mark": lambda: b"\xef\xbb\xbf" + record_with(b"0"),
    "white space": repeated(b" \t\r ", MANY),
    "white space as long as a checksum": repeated(b" ", 32, b"", b"\n"),
    "long name": lambda: b'{"name":"' + b"x" * MANY + b'","internal_name":"' + b"x" * MANY + b'"}',
}
#: Larger ones, some by their length alone: files of so many zeros, which need no room on the disk.
LARGE = {
    "long text": record_with(b'"' + b"x" * 10**8 + b'"'),
    "zeros": 10**8,
    "larger than a file may be": MAX_BYTES + 1,
    "much larger than a file may be": 1 << 40,
}

#: Files to put a bomb into, and what else looks at them.
TARGETS = {
    "RunLog.json": lambda store: list(store.list_runs()),
    "StepLog-evil-1.json": lambda store: store.get_step_log(RUN, "evil"),
    "BranchLog-evil-1.json": lambda store: store.get_branch_log(RUN, "evil"),
    "StepUpdate-good-1.json": lambda store: store.get_step_log(RUN, "good"),
    "BranchUpdate-map.a-1.json": lambda store: store.get_branch_log(RUN, "map.a"),
    "Parameter-evil.json": lambda store: store.get_parameters(RUN, "evil"),
    "Metric-good-1.jsonl": lambda store: store.get_step_log(RUN, "good"),
}


def check_bombs(folder, bomb, *, look_closer=True):
    """Put a bomb into each file in turn, and look at the run in every way that may meet it."""
    whole = contents(read(folder))
    for name, look in TARGETS.items():
        file = folder / name
        before = file.read_bytes() if file.exists() else None
        file.unlink(missing_ok=True)
        os.link(bomb, file)
        store = open_chunked(folder.parent)
        log = store.get_run_log(RUN)
        check_the_rest(log, whole, HELD.get(name, set()))
        assert {problem.file for problem in log.problems} <= {name, "evil"}, name
        assert all(len(problem.message) < 1_000 for problem in log.problems), name
        if look_closer:
            for error in (error_of(look, store), error_of(store.get_run_json, RUN)):
                assert len(str(error)) < 2_000, name
        del log
        file.unlink()
        if before is not None:
            file.write_bytes(before)


def check_bomb_as_document(folder, bomb):
    folder.mkdir()
    store = open_documents(folder)
    store.create_run_log("good")
    os.link(bomb, folder / f"{RUN}.json")
    for error in (error_of(store.get_run_log, RUN), error_of(store.set_parameters, RUN, {"a": 1})):
        assert len(str(error)) < 2_000
    assert sorted(summary.run_id for summary in store.list_runs()) == ["good", RUN]
    assert store.get_run_log("good").problems == []


@pytest.mark.parametrize("make", BOMBS.values(), ids=list(BOMBS))
def test_a_bomb_in_any_file_is_read_or_reported_within_limits(memory, make):
    folder, bomb = make_run(memory / "logs"), memory / "bomb"
    bomb.write_bytes(make())
    assert within_limits(lambda: check_bombs(folder, bomb), memory=512 * MEBIBYTE)
    assert within_limits(lambda: check_bomb_as_document(memory / "documents", bomb), memory=512 * MEBIBYTE)


@pytest.mark.parametrize("made_of", LARGE.values(), ids=list(LARGE))
def test_a_large_file_is_read_or_reported_within_a_few_times_its_size(memory, made_of):
    folder, bomb = make_run(memory / "logs"), memory / "bomb"
    bomb.write_bytes(made_of if isinstance(made_of, bytes) else b"")
    if isinstance(made_of, int):
        os.truncate(bomb, made_of)
    size = bomb.stat().st_size
    limit = 64 * MEBIBYTE + (8 * size if size <= MAX_BYTES else 0)
    assert within_limits(lambda: check_bombs(folder, bomb, look_closer=size > MAX_BYTES), memory=limit)
    assert within_limits(lambda: check_bomb_as_document(memory / "documents", bomb), memory=limit)


def test_the_json_of_a_run_is_that_of_its_log_also_where_a_file_leaves_fields_out(memory):
    folder = make_run(memory)
    (folder / "StepLog-short-1.json").write_text('{"name": "short", "internal_name": "short"}')
    store = open_chunked(memory)
    assert json.loads(store.get_run_json(RUN)) == json.loads(store.get_run_log(RUN).to_json())


# --- what is no file -------------------------------------------------------------------------------------------------


def make_device(major, minor):
    def make(path, _):
        try:
            os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(major, minor))
        except PermissionError:
            skip_or_fail("device nodes cannot be made here")

    return make


def make_folder(path, _):
    path.mkdir()
    (path / "inside").write_text("{}")


#: What can have the name of a file; `elsewhere` is a file with a good record of that name.
PLANTS = {
    "pipe": lambda path, _: os.mkfifo(path),
    "socket": lambda path, _: os.mknod(path, 0o666 | stat.S_IFSOCK),
    "device that takes all": make_device(1, 3),
    "device without end": make_device(1, 5),
    "device that waits": make_device(5, 1),
    "link": lambda path, elsewhere: path.symlink_to(elsewhere),
    "link to itself": lambda path, _: path.symlink_to(path.name),
    "link to nothing": lambda path, elsewhere: path.symlink_to(elsewhere.parent / "nothing"),
    "link to a device": lambda path, _: path.symlink_to("/dev/zero"),
    "folder": make_folder,
    "empty folder": lambda path, _: path.mkdir(),
}
_planted = pytest.mark.parametrize("plant", PLANTS.values(), ids=list(PLANTS))

#: Each kind of name, what is in that file, and whether a reader looks at it.
PLACES = {
    "RunLog.json": ({("run", "")}, True),
    "Parameter-root.json": ({("parameters", "")}, True),
    "Parameter-evil.json": (set(), True),
    "StepLog-evil-1.json": (set(), True),
    "BranchLog-evil-1.json": (set(), True),
    "StepUpdate-good-1.json": (set(), True),
    "BranchUpdate-map.a-1.json": (set(), True),
    "Metric-good-1.jsonl": (set(), True),
    ".lock": (set(), False),
    ".tmp-1-00-0": (set(), False),
}


def write_everything(store, owner):
    """Make each kind of write; return those that were acknowledged."""
    done = []
    for name, call in {
        "add": lambda: store.add_step_log(RUN, step("new")),
        "replace": lambda: owner.add_step_log(RUN, step("own", message="again")),
        "update": lambda: store.update_step_log(RUN, "good", lambda found: setattr(found, "message", "new")),
        "parameters": lambda: store.set_parameters(RUN, {"new": 1}),
        "update run": lambda: store.update_run_log(RUN, lambda log: setattr(log, "tag", "new")),
        "append": lambda: owner.append_metrics(RUN, "own", {"m": [MetricPoint(2, 2)]}),
    }.items():
        error = error_of(call)
        assert len(str(error)) < 1_000, name
        if error is None:
            done.append(name)
    return done


def check_writes(log, done):
    """Check that what was acknowledged is there."""
    found = contents(log)
    own = found["step", "own"]
    assert ("add" in done) == (("step", "new") in found)
    assert ("replace" in done) == (own.message == "again")
    assert ("update" in done) == (found["step", "good"].message == "new")
    assert ("parameters" in done) == ("new" in found.get(("parameters", ""), {}))
    assert ("update run" in done) == (log.tag == "new")
    points = dict(own.metric_series or {}).get("m", [])
    assert points == [MetricPoint(1, 1), MetricPoint(2, 2)][: 1 + ("append" in done)]


def temporary_files(folder):
    return {name for _, folders, files in os.walk(folder) for name in (*folders, *files) if name.startswith(".tmp-")}


def plant_in_a_run(top, plant, name):
    """Put something that is no file into a new run, and read and write that."""
    folder = make_run(top / "logs")
    elsewhere = top / "elsewhere"
    elsewhere.mkdir()
    owner = open_chunked(folder.parent)
    owner.add_step_log(RUN, step("own"))
    owner.append_metrics(RUN, "own", {"m": [MetricPoint(1, 1)]})
    whole = contents(read(folder))
    target, path = elsewhere / "target", folder / name
    source = file_of(folder, "StepLog-good-") if "evil" in name else path
    target.write_bytes(source.read_bytes() if source.exists() else b"")
    path.unlink(missing_ok=True)
    plant(path, target)
    store = open_chunked(folder.parent)
    log = store.get_run_log(RUN)
    held, looked_at = PLACES[name]
    check_the_rest(log, whole, held)
    assert {(problem.kind, problem.file) for problem in log.problems} == (
        {("unreadable", name)} if looked_at else set()
    )
    if looked_at:
        with pytest.raises(CorruptChunkError, match=name):
            store.get_run_log(RUN, strict=True)
    assert store.get_step_log(RUN, "good") == whole["step", "good"]
    assert [bool(summary.problem) for summary in store.list_runs()] == [name == "RunLog.json"]
    before = target.read_bytes()
    done = write_everything(store, owner)
    check_writes(store.get_run_log(RUN), done)
    assert os.listdir(elsewhere) == ["target"]
    assert target.read_bytes() == before
    assert temporary_files(folder) <= {name}
    try:
        store.delete_run(RUN)
    except ChunkstoreError:
        assert name == ".lock"
    else:
        assert list(store.list_runs()) == []


@_planted
def test_what_is_no_file_hangs_nobody_and_hides_nothing(memory, plant):
    plant(memory / "probe", memory / "target")
    for number, name in enumerate(PLACES):
        top = memory / str(number)
        top.mkdir()
        assert within_limits(lambda top=top, name=name: plant_in_a_run(top, plant, name)), name


@_planted
@pytest.mark.parametrize("start", ["StepLog-own-", "Metric-own-"])
def test_what_took_the_place_of_an_owners_file_takes_no_record_in(memory, plant, start):
    plant(memory / "probe", memory / "target")

    def work():
        owner = open_chunked(memory / "logs")
        owner.create_run_log(RUN)
        owner.add_step_log(RUN, step("good"))
        owner.add_step_log(RUN, step("own"))
        owner.append_metrics(RUN, "own", {"m": [MetricPoint(1, 1)]})
        path = file_of(memory / "logs" / RUN, start)
        os.rename(path, memory / "aside")
        plant(path, memory / "aside")
        kept = (memory / "aside").read_bytes()
        if start == "StepLog-own-":
            error = error_of(owner.add_step_log, RUN, step("own", message="again"))
        else:
            error = error_of(owner.append_metrics, RUN, "own", {"m": [MetricPoint(2, 2)]})
        if error is not None:
            assert str(memory / "logs") in str(error)
        elif start == "StepLog-own-":
            assert read(memory / "logs" / RUN).steps["own"].message == "again"
        else:
            assert read(memory / "logs" / RUN).steps["own"].metric_series == {"m": [MetricPoint(2, 2)]}
        assert (memory / "aside").read_bytes() == kept
        assert temporary_files(memory) == set()

    assert within_limits(work)


def test_points_do_not_go_into_a_pipe_that_took_the_place_of_a_file_of_metrics(memory):
    def work():
        owner = open_chunked(memory)
        owner.create_run_log(RUN)
        owner.add_step_log(RUN, step("own"))
        owner.append_metrics(RUN, "own", {"m": [MetricPoint(1, 1)]})
        path = file_of(memory / RUN, "Metric-own-")
        path.unlink()
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        error = error_of(owner.append_metrics, RUN, "own", {"m": [MetricPoint(2, 2)]})
        try:
            stolen = os.read(reader, 1)
        except BlockingIOError:
            stolen = b""
        assert stolen == b""
        points = dict(read(memory / RUN).steps["own"].metric_series or {})
        assert error is not None or points == {"m": [MetricPoint(2, 2)]}

    assert within_limits(work)


@_planted
def test_what_is_no_folder_in_the_place_of_a_run_is_no_run(memory, plant):
    plant(memory / "probe", memory / "target")

    def work():
        store = open_chunked(memory / "logs")
        store.create_run_log("good")
        elsewhere = make_run(memory / "elsewhere")
        before = sorted(os.listdir(elsewhere))
        plant(memory / "logs" / RUN, elsewhere)
        for name, call in CALLS_ON_A_RUN.items():
            assert error_of(call, store, RUN) is not None or name == "sync", name
        assert [(summary.run_id, summary.problem) for summary in store.list_runs()] == [("good", "")]
        try:
            store.create_run_log(RUN)
        except ChunkstoreError:
            assert [summary.run_id for summary in store.list_runs()] == ["good"]
        else:  # a folder that is there becomes a run
            assert store.get_run_log(RUN).problems == []
        assert temporary_files(memory) == set()
        assert sorted(os.listdir(elsewhere)) == before

    assert within_limits(work)


@_planted
def test_what_is_no_file_in_the_place_of_a_document_or_its_lock_hangs_nobody(memory, plant):
    plant(memory / "probe", memory / "target")

    def work(name):
        store = open_documents(memory / name)
        store.create_run_log("good")
        store.create_run_log(RUN, tag="kept")
        elsewhere = memory / name / ".elsewhere"
        os.rename(memory / name / f"{RUN}.json", elsewhere)
        if name == ".run.lock":
            shutil.copy(elsewhere, memory / name / f"{RUN}.json")
        plant(memory / name / name, elsewhere)
        kept = elsewhere.read_bytes()
        found = {summary.run_id: bool(summary.problem) for summary in store.list_runs()}
        assert found == {"good": False, RUN: name == "run.json"}
        assert store.get_run_log("good").problems == []
        store.set_parameters("good", {"a": 1})
        if name == "run.json":
            with pytest.raises(RunLogExistsError):
                store.create_run_log(RUN)
        else:
            assert store.get_run_log(RUN).tag == "kept"
        try:
            store.set_parameters(RUN, {"a": 1})
        except ChunkstoreError:
            pass
        else:
            assert store.get_run_log(RUN).parameters == {"a": 1}
        assert elsewhere.read_bytes() == kept
        assert temporary_files(memory) == set()

    for name in ("run.json", ".run.lock"):
        assert within_limits(lambda name=name: work(name)), name


# --- what may not be read --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLACES)
def test_a_file_without_permission_is_reported_and_hides_nothing(memory, name):
    folder = make_run(memory / "logs")
    whole = contents(read(folder))
    if "evil" in name or not (folder / name).exists():
        (folder / name).write_bytes(b"{}")
    (folder / name).chmod(0)
    held, looked_at = PLACES[name]

    def work():
        store = open_chunked(folder.parent)
        log = store.get_run_log(RUN)
        check_the_rest(log, whole, held)
        found = [(problem.kind, problem.file, problem.message) for problem in log.problems]
        assert found == ([("unreadable", name, "permission denied")] if looked_at else [])
        assert store.get_step_log(RUN, "good") == whole["step", "good"]
        assert [bool(summary.problem) for summary in store.list_runs()] == [name == "RunLog.json"]

    assert as_nobody(work)


#: What needs more than these permissions on a run's folder, for one who may not write.
NEEDING = {
    0o000: set(CALLS_ON_A_RUN),
    0o444: set(CALLS_ON_A_RUN) - {"get", "get metadata", "sync"},
    0o111: set(CALLS_ON_A_RUN),
}


@pytest.mark.parametrize("mode", NEEDING)
def test_a_run_folder_without_permission_is_an_error_or_a_problem_and_hides_no_other_run(memory, mode):
    folder = make_run(memory / "logs")
    open_chunked(memory / "logs").create_run_log("good")
    folder.chmod(mode)

    def work():
        store = open_chunked(memory / "logs")
        for name, call in CALLS_ON_A_RUN.items():
            error = error_of(call, store, RUN, kinds=(StoreAccessError, CorruptChunkError))
            assert error is None or "permission denied" in str(error).lower(), name
            assert error is not None or name not in NEEDING[mode], name
        summaries = {summary.run_id: bool(summary.problem) for summary in store.list_runs()}
        # With the permission to go into a folder, a file in it is read by its name.
        assert summaries == {"good": False, RUN: mode != 0o111}

    assert as_nobody(work)


@pytest.mark.parametrize("store_type", OPEN)
def test_a_log_folder_without_permission_is_an_error_that_says_so(memory, store_type):
    make_run(memory / "logs", store_type)
    (memory / "logs").chmod(0)

    def work():
        store = OPEN[store_type](memory / "logs")
        for name, call in {**CALLS_ON_A_RUN, "list": lambda store, _: list(store.list_runs())}.items():
            with pytest.raises((StoreAccessError, CorruptChunkError), match="ermission denied"):
                call(store, RUN)
            assert name

    assert as_nobody(work)


def test_a_document_without_permission_is_reported_and_hides_no_other_run(memory):
    make_run(memory, "file-system")
    open_documents(memory).create_run_log("good")
    (memory / f"{RUN}.json").chmod(0)

    def work():
        store = open_documents(memory)
        with pytest.raises(CorruptChunkError, match="permission denied"):
            store.get_run_log(RUN)
        summaries = {summary.run_id: summary.problem for summary in store.list_runs()}
        assert summaries["good"] == ""
        assert "permission denied" in summaries[RUN]
        assert store.get_run_log("good").problems == []

    assert as_nobody(work)


# --- a hundred thousand strangers ------------------------------------------------------------------------------------

STRANGERS = 100_000
FOREIGN_NAMES = [b"x-%d.txt", b".hidden%d", b"\xff\xfe-%d", b"Metric-%d-.jsonl", b"good-%d", b".tmp-1-00-%d"]
FOREIGN_IN_A_RUN = [*FOREIGN_NAMES, b"StepLog-a-notanumber%d.json", b"BranchLog-%d.json", b"StepLog-good-%d.jsonx"]


def add_strangers(folder, names, count=STRANGERS):
    """Put many files into a folder that are none of a store's."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        with open(os.fsencode(folder) + b"/StepLog-", "wb") as file:
            file.write(b"{}")
        for number in range(count):
            name = names[number % len(names)] % number
            os.link(b"StepLog-", name, src_dir_fd=fd, dst_dir_fd=fd)
    except OSError:  # no links on this file system
        for number in range(count):
            os.close(os.open(b"y-%d.txt" % number, os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    finally:
        os.close(fd)


def test_a_hundred_thousand_foreign_files_in_a_run_change_nothing(memory):
    folder = make_run(memory)
    whole = read(folder)
    add_strangers(folder, FOREIGN_IN_A_RUN)

    def work():
        store = open_chunked(memory)
        assert store.get_run_log(RUN) == whole
        assert store.get_step_log(RUN, "map").message == "13 of 13"
        assert store.get_run_log(RUN, full=False).tag == "nightly"
        store.add_step_log(RUN, step("new"))
        store.update_step_log(RUN, "map", lambda found: setattr(found, "message", "new"))
        store.set_parameters(RUN, {"new": 1})
        assert store.get_parameters(RUN) == {"rate": 0.125, "new": 1}
        assert store.has_step_log(RUN, "new")
        with pytest.raises(StepLogNotFoundError):
            store.get_step_log(RUN, "a")
        log = store.get_run_log(RUN)
        assert list(log.steps) == ["map", "good", "new"]
        assert (log.steps["map"].message, log.problems) == ("new", [])
        assert [summary.run_id for summary in store.list_runs()] == [RUN]

    assert within_limits(work)


@pytest.mark.parametrize("store_type", OPEN)
def test_a_hundred_thousand_foreign_files_beside_the_runs_change_nothing(memory, store_type):
    make_run(memory, store_type)
    add_strangers(memory, FOREIGN_NAMES)
    for number in range(100):
        (memory / f"folder-{number}").mkdir()

    def work():
        store = OPEN[store_type](memory)
        assert [(summary.run_id, summary.problem) for summary in store.list_runs()] == [(RUN, "")]
        store.create_run_log("new")
        assert [summary.run_id for summary in store.list_runs()] == ["new", RUN]
        store.delete_run("new")
        with pytest.raises(RunLogNotFoundError):
            store.get_run_log("new")
        assert store.get_run_log(RUN).problems == []

    assert within_limits(work)
