"""No link that somebody has planted in the catalog is followed, and what cannot be kept is refused and not left out."""

import errno
import os
import signal
import socket
from pathlib import Path

import pytest

import chunkstore
from chunkstore.backends.disk.syscalls import SYSTEM
from chunkstore.recording.catalog import VERSIONS


@pytest.fixture
def run(any_store):
    with any_store.start_run("run", capture_output=False) as started:
        yield started


@pytest.fixture(autouse=True)
def _no_hanging():
    """Whoever opens a pipe waits for ever."""
    signal.alarm(30)
    yield
    signal.alarm(0)


@pytest.mark.parametrize("planted", ["run", "run/.versions", "run/deep", "run/.branches", "run/.branches/m.1", ".runs"])
def test_a_link_that_was_planted_on_the_way_is_not_followed(any_store, run, tmp_path, planted):
    catalog, outside = Path(any_store.catalog_path), tmp_path / "outside"
    outside.mkdir()
    Path("x").write_text("1")
    scope = run.bound_to("m.1") if "branches" in planted else run
    if planted == ".runs":
        catalog.mkdir()
    else:
        scope.catalog.put("x", "deep/first", scope.branch)
        (catalog / planted).rename(tmp_path / "moved")
    (catalog / planted).symlink_to(outside)
    with scope.step("a") as step, pytest.raises(chunkstore.StoreAccessError) as caught:
        step.put_data("x", "deep/x")
    assert caught.value.key == "catalog_folder"
    assert "log_folder" not in str(caught.value)
    assert os.listdir(outside) == []


def test_nothing_is_read_through_a_link_that_was_planted(any_store, run, tmp_path):
    catalog, outside = Path(any_store.catalog_path), tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_text("secret")
    Path("x").write_text("1")
    with run.step("a") as step:
        step.put_data("x", "here")
        (catalog / "run" / "deep").symlink_to(outside)
        (catalog / "run" / "file").symlink_to(outside / "x")
        os.mkfifo(catalog / "run" / "pipe")
        for name in ("deep/x", "file", "pipe"):
            with pytest.raises(chunkstore.DataNotFoundError):
                step.get_data(name, "copy")
        step.put_data("x", "file")  # in place of the link, and not through it
        assert step.get_data("file", "copy").read_text() == "1"
    assert (outside / "x").read_text() == "secret"


def test_a_version_that_is_a_link_is_not_followed(any_store, run, tmp_path):
    (tmp_path / "secret").write_text("one")
    Path("x").write_text("one")
    with run.step("a") as step:
        step.put_data("x")
        Path("x").write_text("two")
        step.put_data("x")
    kept = Path(any_store.catalog_path, "run", VERSIONS)
    entry = any_store.get_step_log("run", "a").data_catalog[0]
    (kept / entry.data_hash).unlink()
    (kept / entry.data_hash).symlink_to(tmp_path / "secret")
    with pytest.raises(chunkstore.DataNotFoundError):
        run.catalog.get_version(entry, "copy")


def test_what_is_no_file_in_a_folder_is_refused_before_anything_is_copied(any_store, run):
    def make_socket(path):
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path)

    kinds = {
        "a pipe": os.mkfifo,
        "a socket": make_socket,
        "a link that leads nowhere": lambda path: os.symlink("nowhere", path),
        "a link to a folder": lambda path: os.symlink(os.getcwd(), path),
    }
    with run.step("a") as step:
        for number, (kind, make) in enumerate(kinds.items()):
            os.makedirs(f"{number}/deep")
            Path(f"{number}/file").write_text("1")
            make(f"{number}/deep/odd")
            with pytest.raises(chunkstore.InvalidNameError, match=f"deep/odd is {kind}"):
                step.put_data(str(number))
        with pytest.raises(chunkstore.InvalidNameError, match="a pipe"):
            step.put_data("0/deep/odd")
    assert any_store.get_step_log("run", "a").data_catalog == []
    assert not Path(any_store.catalog_path, "run").exists()


def test_a_folder_without_files_is_told(any_store, run, caplog):
    os.makedirs("empty/inside")
    with run.step("a") as step:
        step.put_data("empty")
    assert "the folder empty holds no files" in caplog.text
    assert any_store.get_step_log("run", "a").data_catalog == []


def test_a_link_to_a_file_in_a_folder_stands_for_the_file(run, tmp_path):
    (tmp_path / "blob").write_text("bytes")
    Path("data").mkdir()
    Path("data/file").symlink_to(tmp_path / "blob")
    with run.step("a") as step:
        step.put_data("data")
        copy = step.get_data("data/file", "copy")
    assert copy.read_text() == "bytes"
    assert not copy.is_symlink()


@pytest.mark.parametrize(
    "name",
    ["x" * 256, "a/" + "x" * 256, "é" * 128, "a/" * 2_000 + "b", "x/y"],
    ids=["long", "long inside", "long in bytes", "deep", "below a file"],
)
def test_a_name_that_the_file_system_has_no_room_for_is_refused(run, name):
    Path("x").write_text("1")
    with run.step("a") as step:
        step.put_data("x")
        with pytest.raises(chunkstore.InvalidNameError):
            step.put_data("x", name)
        with pytest.raises(chunkstore.DataNotFoundError):
            step.get_data(name)
        assert step.get_data("x", "copy").read_text() == "1"


@pytest.mark.parametrize(
    "name", [".tmp-1-a-0", "a/.tmp-x", ".deleted-x", ".unsynced", ".versions/x", ".branches", 5, b"x"]
)
def test_a_name_that_means_something_else_in_the_catalog_is_refused(run, name):
    Path("x").write_text("1")
    with run.step("a") as step:
        for call in (lambda: step.put_data("x", name), lambda: step.get_data(name)):
            with pytest.raises(chunkstore.InvalidNameError):
                call()


@pytest.mark.parametrize("path", ["x" * 256, "nul\0", "half \ud800"], ids=["long", "nul", "no text"])
def test_a_path_of_the_authors_that_there_cannot_be_is_refused(run, path):
    Path("x").write_text("1")
    with run.step("a") as step:
        step.put_data("x")
        with pytest.raises(chunkstore.InvalidNameError, match="put"):
            step.put_data(path, "name")
        with pytest.raises(chunkstore.InvalidNameError, match="copy"):
            step.get_data("x", path)


def test_data_and_a_folder_of_data_cannot_have_one_name(run):
    Path("x").write_text("1")
    with run.step("a") as step:
        step.put_data("x", "folder/x")
        with pytest.raises(chunkstore.InvalidNameError, match="folder of that name"):
            step.put_data("x", "folder")
        assert step.get_data("folder/x", "copy").read_text() == "1"


def test_an_error_is_about_the_catalog_and_not_about_the_runs(run, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    Path("x").write_text("1")
    with run.step("a") as step, monkeypatch.context() as patched:
        patched.setattr(SYSTEM, "mkdir", refuse)
        with pytest.raises(chunkstore.StoreAccessError, match="Check that the catalog is") as caught:
            step.put_data("x")
    assert caught.value.key == "catalog_folder"


def test_a_catalog_that_is_a_file_is_told_by_its_setting(run, any_store):
    Path(any_store.catalog_path).write_text("")
    Path("x").write_text("1")
    with run.step("a") as step, pytest.raises(chunkstore.ChunkstoreError) as caught:
        step.put_data("x")
    assert "catalog" in str(caught.value)
    assert "log_folder" not in str(caught.value)
