"""Data is copied into the catalog whole or not at all, and recorded with its hash."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

import chunkstore
from chunkstore.backends.disk.syscalls import SYSTEM
from chunkstore.recording.catalog import VERSIONS
from recording import work


@pytest.fixture
def run(any_store):
    with any_store.start_run("run", capture_output=False) as started:
        yield started


@pytest.fixture
def catalog(run):
    return Path(run.catalog.path)


def content(folder):
    """Return all files below a folder, with what is in them; not the versions that are kept beside."""
    files = [path for path in folder.rglob("*") if path.is_file() and VERSIONS not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def entries(run, name="load"):
    return run.store.get_step_log(run.run_id, name).data_catalog


def test_data_lies_in_the_catalog_and_is_recorded_with_its_hash(run, catalog):
    data = os.urandom((1 << 20) * 2 + 17)
    Path("out.bin").write_bytes(data)
    with run.step("load") as step:
        step.put_data("out.bin")
    assert content(catalog) == {"run/out.bin": data}
    (entry,) = entries(run)
    assert (entry.name, entry.catalog_relative_path, entry.stage) == ("out.bin", "run/out.bin", "put")
    assert entry.data_hash == hashlib.sha256(data).hexdigest()
    assert entry.catalog_handler_location == run.store.catalog_folder


def test_data_that_was_put_can_be_got_and_both_are_recorded(run, tmp_path):
    Path("out.csv").write_text("a,b")
    with run.step("load") as step:
        step.put_data("out.csv")
        step.put_data("out.csv", "other/name.csv")
    os.unlink("out.csv")
    with run.step("read") as step:
        assert step.get_data("out.csv") == Path("out.csv")
        assert step.get_data("other/name.csv").read_text() == "a,b"
        (tmp_path / "folder").mkdir()
        assert step.get_data("other/name.csv", tmp_path / "folder") == tmp_path / "folder" / "name.csv"
        assert step.get_data("out.csv", str(tmp_path / "deep" / "copy.csv")).read_text() == "a,b"
        assert step.get_data("out.csv", f"{tmp_path}/new/") == tmp_path / "new" / "out.csv"
    assert Path("out.csv").read_text() == Path("other/name.csv").read_text() == "a,b"
    assert [(entry.name, entry.stage) for entry in entries(run, "read")] == [
        ("out.csv", "get"),
        ("other/name.csv", "get"),
        ("other/name.csv", "get"),
        ("out.csv", "get"),
        ("out.csv", "get"),
    ]
    assert {entry.data_hash for entry in entries(run, "read")} == {hashlib.sha256(b"a,b").hexdigest()}


def test_a_folder_is_put_file_by_file(run, catalog):
    for name in ("data/a.csv", "data/deep/b.csv", "data/deep/.hidden"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    with run.step("load") as step:
        step.put_data("data")
        step.put_data("data/deep", "renamed")
    names = ["data/a.csv", "data/deep/.hidden", "data/deep/b.csv", "renamed/.hidden", "renamed/b.csv"]
    assert sorted(content(catalog)) == [f"run/{name}" for name in names]
    assert sorted(entry.name for entry in entries(run)) == names


def test_data_of_an_absolute_path_or_one_that_leads_up_is_called_by_its_last_part(run, catalog, tmp_path):
    (tmp_path / "abs.csv").write_text("1")
    with run.step("load") as step:
        step.put_data(tmp_path / "abs.csv")
        step.put_data("../abs.csv", None)
        step.put_data("./../abs.csv", "x/y.csv")
    assert sorted(content(catalog)) == ["run/abs.csv", "run/x/y.csv"]


def test_branches_that_put_data_of_one_name_do_not_meet(run, catalog):
    Path("out.txt").write_text("the run's")
    with run.step("load") as step:
        step.put_data("out.txt")
    for item in ("a.csv", "b"):
        branch = run.bound_to(f"score.{item.replace('.', '%2E')}")
        Path("out.txt").write_text(item)
        with branch.step("work") as step:
            step.put_data("out.txt")
    assert sorted(content(catalog).values()) == [b"a.csv", b"b", b"the run's"]
    for scope, expected in (("score.a%2Ecsv", "a.csv"), ("score.b", "b"), ("score.c", "the run's"), ("", "the run's")):
        with run.bound_to(scope).step("read") as step:
            assert step.get_data("out.txt", "copy.txt").read_text() == expected


def test_an_inner_branch_sees_the_data_of_the_branches_around_it(run):
    Path("out.txt").write_text("outer")
    with run.bound_to("score.a").step("work") as step:
        step.put_data("out.txt")
    with run.bound_to("score.a.train.rf").step("read") as step:
        assert step.get_data("out.txt", "copy.txt").read_text() == "outer"
    with run.step("read") as step, pytest.raises(chunkstore.DataNotFoundError):
        step.get_data("out.txt")


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "", ".", "..", "a//b", "a/", "nul\0", "half \ud800"])
def test_a_name_that_leads_out_of_the_catalog_or_is_no_text_is_refused(run, catalog, name, tmp_path):
    Path("out.csv").write_text("1")
    with run.step("load") as step:
        for call in (lambda: step.put_data("out.csv", name), lambda: step.get_data(name)):
            with pytest.raises(chunkstore.InvalidNameError):
                call()
        step.log_metric("rows", 1)
    assert entries(run) == []
    assert not catalog.exists()
    assert not (tmp_path / "x").exists()


def test_a_folder_with_a_name_that_is_no_text_is_refused_before_anything_is_copied(run, catalog):
    os.mkdir("data")
    for name in (b"data/a.csv", b"data/b\xff.csv"):
        with open(name, "wb"):
            pass
    with run.step("load") as step, pytest.raises(chunkstore.InvalidNameError):
        step.put_data("data")
    assert run.store.get_step_log("run", "load").status == "SUCCESS"
    assert not catalog.exists()


def test_a_symbolic_link_in_the_catalog_is_not_followed(run, catalog, tmp_path):
    (tmp_path / "secret").write_text("secret")
    Path("out.csv").write_text("secret")
    with run.step("read") as step:
        step.put_data("out.csv")
        (catalog / "run" / "out.csv").unlink()
        (catalog / "run" / "out.csv").symlink_to(tmp_path / "secret")
        with pytest.raises(chunkstore.DataNotFoundError):
            step.get_data("out.csv")


def test_missing_files_and_missing_data_are_named(run):
    with run.step("load") as step:
        with pytest.raises(FileNotFoundError, match=r"nowhere\.csv"):
            step.put_data("nowhere.csv")
        with pytest.raises(chunkstore.DataNotFoundError, match=r"nowhere\.csv") as caught:
            step.get_data("nowhere.csv")
    assert isinstance(caught.value, FileNotFoundError)
    assert isinstance(caught.value, KeyError)
    assert caught.value.run_id == "run"
    assert entries(run) == []


def test_data_is_replaced_in_one_go(run, catalog, monkeypatch):
    Path("out.csv").write_text("old")
    seen = []
    original = SYSTEM.write
    with run.step("load") as step:
        step.put_data("out.csv")
        Path("out.csv").write_text("new")

        def write(fd, data):
            seen.append((catalog / "run" / "out.csv").read_text())
            return original(fd, data[:1])

        with monkeypatch.context() as patch:
            patch.setattr(SYSTEM, "write", write)
            run.catalog.put("out.csv", None, "")
        step.put_data("out.csv")
    assert seen == ["old", "old", "old"]
    assert content(catalog) == {"run/out.csv": b"new"}


@pytest.mark.parametrize("call", ["open", "write", "close", "rename", "mkdir"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_copy_that_fails_leaves_the_old_data_and_no_other_file(run, catalog, monkeypatch, call, code):
    kind = chunkstore.StoreFullError if code == errno.ENOSPC else chunkstore.StoreIOError
    Path("out.csv").write_text("old")
    name = "fresh/out.csv" if call == "mkdir" else "out.csv"
    with run.step("load") as step:
        step.put_data("out.csv")
        before = content(catalog)
        Path("out.csv").write_text("new")
        original = getattr(SYSTEM, call)

        def fail(*arguments, **options):
            if call == "close":
                original(*arguments, **options)
            raise OSError(code, os.strerror(code))

        with monkeypatch.context() as patch:
            patch.setattr(SYSTEM, call, fail)
            with pytest.raises(kind, match=r"out\.csv"):
                step.put_data("out.csv", name)
        assert content(catalog) == before
        step.put_data("out.csv", name)
    assert content(catalog)[f"run/{name}"] == b"new"
    assert len(entries(run)) == 2


def test_a_failed_copy_out_of_the_catalog_leaves_what_was_there(run, monkeypatch):
    Path("out.csv").write_text("data")
    with run.step("load") as step:
        step.put_data("out.csv")
        Path("out.csv").write_text("mine")

        def full(*_):
            raise OSError(errno.ENOSPC, "full")

        with monkeypatch.context() as patch:
            patch.setattr(SYSTEM, "write", full)
            with pytest.raises(chunkstore.StoreFullError):
                step.get_data("out.csv")
        assert Path("out.csv").read_text() == "mine"
        assert os.listdir() == ["out.csv"]


@pytest.mark.parametrize("durability", ["step", "run", "process"])
def test_data_is_synced_as_the_configuration_says(tmp_path, monkeypatch, durability):
    synced = []
    original = SYSTEM.fsync

    def fsync(fd):
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        original(fd)

    monkeypatch.setattr(SYSTEM, "fsync", fsync)
    store = chunkstore.open_store("chunked-fs", log_folder=str(tmp_path / "log"), durability=durability)
    Path("out.csv").write_text("data")
    run = store.start_run("run")
    with run.step("load") as step:
        step.put_data("out.csv", "deep/out.csv")
    folder = f"{store.catalog_path}/run/deep"
    at_once = [path for path in synced if path.startswith(store.catalog_path)]
    assert (folder in at_once) == (durability == "step")
    assert any(path.startswith(folder + "/") for path in at_once) == (durability == "step")
    run.finish()
    names = {f"{folder}/out.csv", f"{store.catalog_path}/run/{VERSIONS}/{hashlib.sha256(b'data').hexdigest()}"}
    assert bool(names.intersection(synced)) == (durability == "run")
    assert (folder in synced) == (durability != "process")


def test_data_stays_where_it_is_when_the_working_folder_changes(run, catalog, monkeypatch, tmp_path):
    Path("out.csv").write_text("data")
    with run.step("load") as step:
        step.put_data("out.csv")
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert step.get_data("out.csv").read_text() == "data"
    assert content(catalog) == {"run/out.csv": b"data"}


def test_many_threads_put_one_name_at_once_and_one_copy_is_whole(run, catalog):
    sizes = [1, 200_000, 3, 400_000]
    for size in sizes:
        Path(f"out-{size}").write_bytes(b"x" * size)
    with run.step("load") as step, work.threads() as threads:
        list(threads.map(lambda size: step.put_data(f"out-{size}", "out"), sizes * 3))
    assert list(content(catalog)) == ["run/out"]
    assert len(content(catalog)["run/out"]) in sizes
    assert len(entries(run)) == 12


def test_short_writes_change_nothing(run, catalog, monkeypatch):
    original = SYSTEM.write
    monkeypatch.setattr(SYSTEM, "write", lambda fd, data: original(fd, memoryview(data)[:2]))
    Path("out.csv").write_text("data")
    with run.step("load") as step:
        step.put_data("out.csv")
    assert content(catalog) == {"run/out.csv": b"data"}


@pytest.mark.parametrize("durability", ["step", "run"])
def test_data_is_synced_before_the_run_is_said_to_have_ended(tmp_path, monkeypatch, durability):
    store = chunkstore.open_store("chunked-fs", log_folder=str(tmp_path / "log"), durability=durability)
    Path("out.csv").write_text("data")
    run = store.start_run("run")
    with run.step("load") as step:
        step.put_data("out.csv")
    said = []
    original = SYSTEM.fsync

    def fsync(fd):
        if os.readlink(f"/proc/self/fd/{fd}").startswith(store.catalog_path):
            said.append(store.get_run_log("run", full=False).status)
        original(fd)

    monkeypatch.setattr(SYSTEM, "fsync", fsync)
    run.finish()
    assert set(said) == ({"PROCESSING"} if durability == "run" else set())
