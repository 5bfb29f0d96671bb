"""A name that this host remembers can be opened, though another host has removed what it stood for."""

import errno
import os

import pytest

from backends.test_freshness import NFS, OfAClient
from chunkstore.backends.disk.directory import DirectoryBackend


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
