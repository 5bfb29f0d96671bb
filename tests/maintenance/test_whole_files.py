"""A file for other tools is there when it is complete, and takes nothing away."""

import os
import stat
import threading

import pytest

import chunkstore
from chunkstore.maintenance.whole_files import make_folder, whole_file, write_file


def test_a_file_appears_when_it_is_complete(tmp_path):
    with whole_file(str(tmp_path / "a.csv")) as file:
        file.write(b"one")
        file.flush()
        assert not (tmp_path / "a.csv").exists()
        file.write(b" two")
    assert (tmp_path / "a.csv").read_bytes() == b"one two"
    assert os.listdir(tmp_path) == ["a.csv"]


def test_the_umask_decides_who_may_read_it(tmp_path):
    before = os.umask(0o027)
    try:
        write_file(str(tmp_path / "a.html"), ["x"])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.html").stat().st_mode) == 0o640


def write_and(do, path):
    with whole_file(str(path)) as file:
        file.write(b"mine")
        do()


def test_after_an_error_nothing_is_left(tmp_path):
    with pytest.raises(ZeroDivisionError):
        write_and(lambda: 1 / 0, tmp_path / "a.csv")
    assert os.listdir(tmp_path) == []


def test_a_file_that_comes_meanwhile_is_not_replaced(tmp_path):
    path = tmp_path / "a.csv"
    with pytest.raises(chunkstore.ChunkstoreError, match="it exists"):
        write_and(lambda: path.write_text("theirs"), path)
    assert path.read_text() == "theirs"
    assert os.listdir(tmp_path) == ["a.csv"]


def test_without_hard_links_it_appears_too(tmp_path, monkeypatch):
    def no_link(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_link)
    with whole_file(str(tmp_path / "a.csv")) as file:
        file.write(b"one")
    assert (tmp_path / "a.csv").read_bytes() == b"one"


def test_a_link_stays_one(tmp_path):
    (tmp_path / "real.html").write_text("old")
    (tmp_path / "latest.html").symlink_to("real.html")
    write_file(str(tmp_path / "latest.html"), ["new"])
    assert (tmp_path / "latest.html").is_symlink()
    assert (tmp_path / "real.html").read_text() == "new"


def test_pipes_and_devices_are_written_to_and_stay(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    received = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe").read_text()))
    reader.start()
    write_file(str(tmp_path / "pipe"), ["a", "b"])
    reader.join()
    assert received == ["ab"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    (tmp_path / "null").symlink_to("/dev/null")
    with whole_file(str(tmp_path / "null"), overwrite=True) as file:
        file.write(b"gone")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_the_longest_names_work(tmp_path):
    name = "ü" * 125 + ".csv"
    write_file(str(tmp_path / name), ["x"])
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("path", ["nowhere/a.csv", "folder", "file/a.csv"])
def test_what_cannot_be_written_is_said(tmp_path, path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(chunkstore.ChunkstoreError, match="Cannot write"):
        write_file(str(tmp_path / path), ["x"])


def test_a_folder_that_cannot_be_is_said(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(chunkstore.ChunkstoreError, match="Cannot make the folder"):
        make_folder(str(tmp_path / "file" / "out"))
