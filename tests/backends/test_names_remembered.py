"""A name that this host remembers can be opened, though another host has removed what it stood for."""

import errno
import os

import pytest

from backends.test_freshness import NFS, OfAClient
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.entries import FILE
from chunkstore.names import TEMPORARY_PREFIX


class HoldingOpen(OfAClient):
    """A client with a process that has all files open, so that opening one of them again asks nobody."""

    def __init__(self):
        super().__init__()
        self._gone = set()

    def open(self, path, flags, dir_fd=None):
        try:
            return super().open(path, flags, dir_fd)
        except FileNotFoundError:
            if self.seen.get(self._whole(path, dir_fd)) is None:
                raise
            fd = os.open(os.devnull, os.O_RDONLY)
            self._gone.add(fd)
            return fd

    def close(self, fd):
        self._gone.discard(fd)
        super().close(fd)

    def _check(self, fd):
        if fd in self._gone:
            raise OSError(errno.ESTALE, "its server does not know it")

    def fstat(self, fd):
        self._check(fd)
        return super().fstat(fd)

    def pread(self, fd, size, offset):
        self._check(fd)
        return super().pread(fd, size, offset)


class Forgetful(OfAClient):
    """A client that gets nowhere with what it remembers of temporary files, until it asks for the names again."""

    def __init__(self):
        super().__init__()
        self.has_asked = False

    def open(self, path, flags, dir_fd=None):
        self.has_asked |= path == "." and flags & os.O_DIRECTORY != 0
        return super().open(path, flags, dir_fd)

    def lstat(self, path, dir_fd=None):
        if str(path).startswith(TEMPORARY_PREFIX) and not self.has_asked:
            raise OSError(errno.ESTALE, "its server does not know it")
        return super().lstat(path, dir_fd)

    def list(self, fd):
        names = super().list(fd)
        self.has_asked = False
        return names


def test_what_a_client_has_to_ask_for_again_is_listed_as_what_it_is_and_so_can_be_cleaned_up(tmp_path):
    here = DirectoryBackend(tmp_path, syscalls=Forgetful(), find_mount=lambda _: NFS)
    name = f"{TEMPORARY_PREFIX}1-1"
    DirectoryBackend(tmp_path).create_folder("run", {"file": b"content", name: b"left"})
    kinds = {entry.name: entry.kind for entry in here.entries("run")}
    assert kinds == {"file": FILE, name: FILE}


LOOKS = {
    "load": lambda reader: reader.load("file"),
    "load part": lambda reader: reader.load_part("file", 0, 1),
    "load a journal": lambda reader: reader.load("Journal-1-1.jsonl"),
    "size of a journal": lambda reader: reader.size("Journal-1-1.jsonl"),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=list(LOOKS))
def test_a_file_that_another_host_has_removed_is_gone_though_it_can_be_opened(tmp_path, look):
    here = DirectoryBackend(tmp_path, syscalls=HoldingOpen(), find_mount=lambda _: NFS)
    there = DirectoryBackend(tmp_path)
    there.create_folder("run", {"file": b"content", "Journal-1-1.jsonl": b"line\n"})
    with here.reader("run") as reader:
        assert look(reader)
        for name in ("file", "Journal-1-1.jsonl"):
            there.remove("run", name)
        with pytest.raises(FileNotFoundError):
            look(reader)
