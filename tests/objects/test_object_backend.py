"""A back end over an object store: what it promises on every kind of server."""

import os
import pickle
import subprocess
import sys
import threading
from multiprocessing import get_context

import obstore
import pytest

from chunkstore import StoreUnsupportedError, StoreUsageError
from chunkstore.backends.errors import MissingError
from chunkstore.backends.objects import backend as backends
from chunkstore.backends.objects import listing, tombstones
from chunkstore.backends.objects.backend import ObjectBackend
from chunkstore.backends.objects.place import Place
from chunkstore.errors import InvalidNameError, LockTimeoutError
from chunkstore.names import RUN_FILE

OURS, THEIRS = "0123456789abcdef", "fedcba9876543210"
RUN = "run"


class Meant:
    """The folder of one incarnation."""

    def __init__(self, incarnation):
        self.incarnation = incarnation

    def examine(self, reader):
        return reader.deciding().incarnation


ours, theirs = Meant(OURS), Meant(THEIRS)


def opened(place):
    return ObjectBackend(Place(place.url, place.options))


@pytest.fixture
def backend(object_place):
    return opened(object_place)


@pytest.fixture
def run(backend):
    """A back end with a run in it."""
    backend.create_folder(RUN, {RUN_FILE: b"0"}, incarnation=OURS)
    return backend


def read_all(backend):
    with backend.reader(RUN) as reader:
        reader.load(RUN_FILE)
        names = reader.names()
        reader.expect(names)
        return {name: reader.load(name) for name in sorted(names)}


def add_one(change, file=RUN_FILE):
    change.replace(file, b"%d" % (int(change.load(file)) + 1))


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_run_is_created_once_and_its_files_are_as_they_were_written(run):
    with pytest.raises(FileExistsError):
        run.create_folder(RUN, {RUN_FILE: b"1"}, incarnation=THEIRS)
    run.publish(RUN, "StepLog-a-1.json", b"a", within=ours)
    with pytest.raises(FileExistsError):
        run.publish(RUN, "StepLog-a-1.json", b"b", within=ours)
    run.publish(RUN, "StepLog-b-2.json", [b"b", b"c"], within=ours)
    for data in (b"d", b"e"):
        run.replace(RUN, "StepLog-b-2.json", data, within=ours)
    assert read_all(run) == {RUN_FILE: b"0", "StepLog-a-1.json": b"a", "StepLog-b-2.json": b"e"}
    run.remove(RUN, "StepLog-a-1.json")
    with pytest.raises(MissingError):
        run.remove(RUN, "StepLog-a-1.json")
    assert not run.has(RUN, "StepLog-a-1.json")
    assert run.has(RUN, RUN_FILE)


def test_a_run_whose_files_some_servers_hide_is_refused(backend):
    with pytest.raises(InvalidNameError, match="in a bucket: some servers hide what lies in a folder"):
        backend.create_folder("run.versions", {RUN_FILE: b"0"}, incarnation=OURS)
    assert list(backend.folders()) == []


def test_a_change_goes_by_what_is_there_also_through_another_object(run, object_place):
    other = opened(object_place) if not object_place.url.startswith("memory") else run
    for each in (run, other, run, other):
        each.change(RUN, add_one, within=ours)
    assert other.load(RUN, RUN_FILE) == b"4"


@pytest.mark.thorough
def test_no_change_is_lost_among_threads(run):
    def add_many():
        for _ in range(10):
            run.change(RUN, add_one, within=ours)

    threads = [threading.Thread(target=add_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert run.load(RUN, RUN_FILE) == b"40"


def test_a_change_that_others_always_overtake_says_what_is_contended(memory_place):
    backend = ObjectBackend(Place(memory_place.url), lock_timeout=0.05)
    backend.create_folder(RUN, {RUN_FILE: b"0"}, incarnation=OURS)

    def overtaken(change):
        data = change.load(RUN_FILE)
        backend.client.put(f"{RUN}/{RUN_FILE}", data + b"x", {})
        change.replace(RUN_FILE, data + b"y")

    with pytest.raises(LockTimeoutError, match=RUN_FILE):
        backend.change(RUN, overtaken, within=ours)


def test_names_are_found_by_their_beginning(run):
    for number in range(3):
        run.publish(RUN, f"StepLog-a-{number}.json", b"", within=ours)
        run.publish(RUN, f"StepLog-a.b-{number}.json", b"", within=ours)
    with run.reader(RUN) as reader:
        assert sorted(reader.starting_with("StepLog-a-")) == [f"StepLog-a-{number}.json" for number in range(3)]
        assert reader.starting_with("StepLog-c-") == []


def test_large_reads_ahead_are_bounded(run, monkeypatch):
    monkeypatch.setattr("chunkstore.backends.objects.reader._MOST_AHEAD", 4)
    names = [f"StepLog-a-{number}.json" for number in range(20)]
    for name in names:
        run.publish(RUN, name, name.encode(), within=ours)
    fresh = ObjectBackend(run.place)
    with fresh.reading(RUN) as reader:
        reader.names()
        reader.expect(names)
        for name in reversed(names):  # another order than was said does no harm
            assert reader.load(name) == name.encode()
            assert len(reader._ahead) <= 4


# --- which run -------------------------------------------------------------------------------------------------------


def test_what_a_former_run_of_a_name_has_left_is_no_part_of_the_next(run):
    run.remove_folder(RUN)
    run.create_folder(RUN, {RUN_FILE: b"1"}, incarnation=THEIRS)
    run.client.put(f"{RUN}/StepLog-late-1.json", b"late", {"incarnation": OURS})
    run.publish(RUN, "StepLog-a-2.json", b"a", within=theirs)
    fresh = ObjectBackend(run.place)
    with fresh.reader(RUN) as reader:
        reader.load(RUN_FILE)
        with pytest.raises(MissingError):
            reader.load("StepLog-late-1.json")
        reader.forget_names()
        assert sorted(reader.names()) == [RUN_FILE, "StepLog-a-2.json"]


def test_parameters_that_a_former_run_has_left_give_way(run):
    run.client.put(f"{RUN}/Parameter-root.json", b"old", {"incarnation": THEIRS})

    def set_them(change):
        with pytest.raises(MissingError):
            change.load("Parameter-root.json")
        change.replace("Parameter-root.json", b"new")

    run.examined(RUN, ours.examine)
    run.change(RUN, set_them, within=ours)
    assert run.load(RUN, "Parameter-root.json") == b"new"


@pytest.mark.parametrize("of_another_process", [False, True])
def test_the_next_run_of_a_name_is_not_changed_by_who_means_the_former(run, monkeypatch, of_another_process):
    run.examined(RUN, ours.examine)
    if of_another_process:
        monkeypatch.setattr(backends, "another_run_has", lambda *_: None)
    other = ObjectBackend(run.place)
    other.remove_folder(RUN)
    other.create_folder(RUN, {RUN_FILE: b"7"}, incarnation=THEIRS)
    with pytest.raises(MissingError):
        run.change(RUN, add_one, within=ours)
    assert run.load(RUN, RUN_FILE) == b"7"


def test_files_without_metadata_count_as_those_that_a_tool_has_copied(run):
    run.client.put(f"{RUN}/StepLog-a-1.json", b"a", {})
    assert read_all(run)["StepLog-a-1.json"] == b"a"


def test_another_run_of_a_name_is_noticed_at_once_in_this_process(run):
    assert run.examined(RUN, ours.examine) == OURS
    ObjectBackend(run.place).remove_folder(RUN)
    with pytest.raises(MissingError):
        run.examined(RUN, ours.examine)


# --- deleting --------------------------------------------------------------------------------------------------------


def test_a_run_is_gone_at_once_and_then_all_that_it_held(run):
    for number in range(5):
        run.publish(RUN, f"StepLog-a-{number}.json", b"", within=ours)
    run.remove_folder(RUN)
    with pytest.raises(MissingError), run.reader(RUN) as reader:
        reader.load(RUN_FILE)
    assert list(run.client.listed(RUN)) == []
    with pytest.raises(MissingError):
        run.remove_folder(RUN)


def kill_deletion(run, monkeypatch, request):
    """Have a deletion end before one of its requests."""

    def killed(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run.client, request, killed)
        with pytest.raises(KeyboardInterrupt):
            run.remove_folder(RUN)


@pytest.mark.parametrize("request_", ["listed", "delete"])
def test_a_run_whose_deletion_was_killed_is_gone_and_the_rest_goes_later(run, monkeypatch, request_):
    run.publish(RUN, "StepLog-a-1.json", b"", within=ours)
    kill_deletion(run, monkeypatch, request_)
    with pytest.raises(MissingError), run.reader(RUN) as reader:
        reader.names()
    with pytest.raises(MissingError):
        run.remove_folder(RUN)  # whoever deletes it may live
    monkeypatch.setattr(tombstones, "SILENCE", -10.0)
    run.remove_folder(RUN)
    assert list(run.client.listed(RUN)) == []


def test_who_makes_a_run_anew_waits_for_its_deletion_and_finishes_an_old_one(run, monkeypatch):
    run.publish(RUN, "StepLog-a-1.json", b"", within=ours)
    kill_deletion(run, monkeypatch, "delete")
    monkeypatch.setattr(tombstones, "_PATIENCE", 0.05)
    monkeypatch.setattr(tombstones, "_PAUSE", 0.01)
    with pytest.raises(LockTimeoutError, match="deleting"):
        run.create_folder(RUN, {RUN_FILE: b"1"}, incarnation=THEIRS)
    monkeypatch.setattr(tombstones, "SILENCE", -10.0)
    run.create_folder(RUN, {RUN_FILE: b"1"}, incarnation=THEIRS)
    assert read_all(run) == {RUN_FILE: b"1"}


def test_a_read_in_whose_middle_the_run_is_deleted_says_so(run):
    for number in range(3):
        run.publish(RUN, f"StepLog-a-{number}.json", b"", within=ours)
    fresh = ObjectBackend(run.place)

    def read():
        with fresh.reader(RUN) as reader:
            reader.load(RUN_FILE)
            names = reader.names()
            run.remove_folder(RUN)
            for name in names:
                try:
                    reader.load(name)
                except FileNotFoundError:
                    pass  # as if it had been packed since

    with pytest.raises(MissingError):
        read()


@pytest.mark.parametrize("fails_at", range(6))
def test_everything_is_listed_once_in_whatever_order_and_where_pages_fail(backend, monkeypatch, fails_at):
    keys = [f"{folder}/{number}" for folder in ("run", "run-1", "run.b", "ru") for number in range(3)]
    for key in keys:
        backend.client.put(key, b"{}", {})
    real, chunks = obstore.list, iter(range(100))

    def failing(*arguments, **options):
        for chunk in real(*arguments, **options):
            if next(chunks) == fails_at - 1:
                raise obstore.exceptions.GenericError("timed out")
            yield chunk

    monkeypatch.setattr(obstore, "list", failing)
    monkeypatch.setattr(listing, "PAGE", 2)
    assert sorted(each.key for each in backend.client.listed("")) == sorted(keys)
    assert [each.key for each in backend.client.listed("run", after="run/1")] == ["run/2"]


def test_what_lies_in_a_folder_without_a_run_can_be_deleted(run):
    run.client.put("other/StepLog-a-1.json", b"", {})
    run.remove_folder("other")
    assert list(run.client.listed("other")) == []


# --- servers and processes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["create", "publish", "change"])
def test_a_server_that_ignores_conditions_is_refused_at_the_first_write(deaf_place, first):
    backend = opened(deaf_place)
    writes = {
        "create": lambda: backend.create_folder(RUN, {RUN_FILE: b"0"}, incarnation=OURS),
        "publish": lambda: backend.publish(RUN, "StepLog-a-1.json", b"", within=ours),
        "change": lambda: backend.change(RUN, lambda change: change.replace("x", b"")),
    }
    with pytest.raises(StoreUnsupportedError, match="doctor"):
        writes[first]()
    assert list(backend.client.listed("")) == []


def test_a_server_that_was_tried_is_not_tried_again_by_the_next_process(server_place):
    with server_place.behind_proxy() as (place, proxy):
        opened(place).create_folder(RUN, {RUN_FILE: b"0"}, incarnation=OURS)
        next_one = opened(place)
        next_one.examined(RUN, ours.examine)
        with proxy.counted() as counted:
            next_one.publish(RUN, "StepLog-a-1.json", b"", within=ours)
            next_one.replace(RUN, "StepLog-a-1.json", b"b", within=ours)
            next_one.change(RUN, add_one, within=ours)
    assert counted.puts == counted.total - 1 == 3


@pytest.mark.thorough
def test_a_back_end_that_was_sent_makes_its_own_client(server_place):
    backend = opened(server_place)
    backend.create_folder(RUN, {RUN_FILE: b"0"}, incarnation=OURS)
    assert pickle.loads(pickle.dumps(backend)).load(RUN, RUN_FILE) == b"0"
    with get_context("spawn").Pool(1) as pool:
        assert pool.apply_async(backend.load, (RUN, RUN_FILE)).get(60) == b"0"


_FORKING = """
import ctypes, os, signal, sys, threading
from chunkstore.backends.objects.backend import ObjectBackend
from chunkstore.backends.objects.place import Place

backend = ObjectBackend(Place("memory://x"))
backend.create_folder("run", {"RunLog.json": b"0"})

class Last:
    def __del__(self):
        try:
            backend.load("run", "RunLog.json")
        except BaseException as error:
            print(type(error).__name__, flush=True)

def try_it():
    try:
        backend.publish("run", "a", b"")
    except Exception as error:
        print(type(error).__name__, "forkserver" in str(error), flush=True)

for fork in (os.fork, ctypes.CDLL(None).fork):  # the second is not told to Python
    if fork() == 0:
        signal.alarm(20)
        try_it()
        os._exit(0)
    os.wait()
if os.fork() == 0:
    signal.alarm(20)
    try_it()
    thread = threading.Thread(target=try_it)
    thread.start()
    thread.join()
    last = Last()
    del last
    sys.exit(0)
print(os.wait()[1] if backend.load("run", "RunLog.json") == b"0" else "broken")
"""


@pytest.mark.thorough
def test_a_forked_child_raises_at_once_wherever_it_calls_from(tmp_path):
    done = subprocess.run([sys.executable, "-c", _FORKING], capture_output=True, text=True, timeout=60, check=True)
    raised = StoreUsageError.__name__
    assert done.stdout.split() == [*4 * [raised, "True"], raised, "0"], done.stderr


@pytest.mark.thorough
def test_a_child_of_who_has_only_opened_a_store_may_use_it(s3_place):
    code = (
        "import os, signal\n"
        "from chunkstore import open_store\n"
        f"store = open_store({s3_place.url!r}, **{s3_place.options!r})\n"
        "if os.fork() == 0:\n"
        "    signal.alarm(20)\n"
        "    store.backend.create_folder('run', {'RunLog.json': b'0'})\n"
        "    os._exit(store.backend.load('run', 'RunLog.json') != b'0')\n"
        "print(os.wait()[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["0"], done.stderr


def test_nobody_is_told_a_secret(s3_place):
    backend = ObjectBackend(Place(s3_place.url, {**s3_place.options, "secret_access_key": "not-the-right-one"}))
    with pytest.raises(PermissionError) as caught:
        backend.load(RUN, RUN_FILE)
    said = f"{backend!r} {backend.place!r} {backend.client!r} {caught.value!r} {caught.value} {caught.value.__cause__}"
    assert "not-the-right-one" not in said


def test_what_is_written_reaches_the_server_with_the_version_that_it_wants(gs_place):
    backend = opened(gs_place)
    backend.create_folder(RUN, {RUN_FILE: b"0"}, incarnation=OURS)
    found = backend.client.get(f"{RUN}/{RUN_FILE}")
    assert found.version.number is not None
    backend.change(RUN, add_one, within=ours)
    assert backend.client.get(f"{RUN}/{RUN_FILE}").version.number != found.version.number


def test_what_is_known_of_a_run_is_looked_at_again_after_some_time(run, monkeypatch):
    run.examined(RUN, ours.examine)
    asked = []
    monkeypatch.setattr(backends, "LOOK_AGAIN", 0.0)
    fresh = ObjectBackend(run.place)
    for _ in range(2):
        fresh.examined(RUN, lambda reader: asked.append(os.getpid()) or ours.examine(reader))
    assert len(asked) == 2
