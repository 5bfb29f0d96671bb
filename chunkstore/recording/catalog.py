"""The catalog: copies of the data that steps read and write, with their hashes.

A copy lies at `<catalog>/<run id>/<name>`; inside a branch at `<catalog>/<run id>/.branches/<branch>/<name>`, so that
branches that put data of the same name do not meet. What steps print lies beside the run's data.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NoReturn

import msgspec

from chunkstore.backends.folder import sync_way_to, temporary_names
from chunkstore.backends.os_errors import os_error
from chunkstore.backends.syscalls import SYSTEM
from chunkstore.errors import DataNotFoundError, InvalidNameError
from chunkstore.models import DataCatalog
from chunkstore.names import TEMPORARY_PREFIX, check_name, encode_for_file

PUT, GET = "put", "get"
#: What the file ends in that keeps what a step printed.
LOG_SUFFIX = ".execution.log"
_BRANCHES = ".branches"
_BLOCK = 1 << 20


class Catalog(msgspec.Struct, frozen=True):
    """The catalog of one run.

    Attributes:
        path: the absolute path of the catalog's folder.
        location: the same as the configuration names it, for the records.
        run_id: the run.
        sync_writes: whether data survives a loss of power as soon as it is put.
    """

    path: str
    location: str
    run_id: str
    sync_writes: bool

    def put(self, source: str | os.PathLike[str], name: str | None, branch: str) -> list[DataCatalog]:
        """Copy a file, or every file below a folder, into the catalog.

        Args:
            source: the file or folder.
            name: what to call it; None for its path if that is relative, else its last part.
            branch: the branch that puts it; "" for the run.

        Returns:
            What was put, one entry per file.

        Raises:
            FileNotFoundError: there is no such file.
            InvalidNameError: the name would lead out of the catalog.
            StoreFullError: the disk is full; a copy that was there before is untouched.
        """
        chosen = default_name(source) if name is None else name
        check_data_name(chosen)
        path = Path(source)
        if path.exists() and not path.is_file() and not path.is_dir():
            raise InvalidNameError(
                f"Cannot put {os.fspath(source)!r} into the catalog: it is no file or folder. Put a file.",
                name=os.fspath(source),
                reason="it is no file or folder",
            )
        if not path.is_dir():
            return [self._put_file(path, chosen, branch)]
        files = _files_below(path)
        names = [str(PurePosixPath(chosen, *file.relative_to(path).parts)) for file in files]
        for inner in names:
            check_data_name(inner)
        return [self._put_file(file, inner, branch) for file, inner in zip(files, names, strict=True)]

    def _put_file(self, source: Path, name: str, branch: str) -> DataCatalog:
        relative = self.relative_path(name, branch)
        with _opened(source) as content:
            digest = self._copy(content, os.path.join(self.path, relative), sync=self.sync_writes)
        return self.entry(name, digest, relative, PUT)

    def get(self, name: str, target: str | os.PathLike[str] | None, branch: str) -> tuple[Path, DataCatalog]:
        """Copy data out of the catalog; the innermost branch that has put the name counts.

        Args:
            name: as it was put.
            target: where to copy it; None for its name in the working folder.
            branch: the branch that gets it; "" for the run.

        Returns:
            The path of the copy, and what was got.

        Raises:
            DataNotFoundError: nobody has put data of this name.
        """
        check_data_name(name)
        for scope in _scopes(branch):
            relative = self.relative_path(name, scope)
            source = Path(self.path, relative)
            if source.is_file() and not source.is_symlink():
                destination = Path(name if target is None else target)
                if destination.is_dir():
                    destination /= PurePosixPath(name).name
                with _opened(source) as content:
                    digest = self._copy(content, os.path.abspath(destination), sync=False)
                return destination, self.entry(name, digest, relative, GET)
        raise self._not_found(name, self.run_id)

    def adopt(self, entries: Sequence[DataCatalog], run_id: str) -> list[DataCatalog]:
        """Give this run what another run of the same catalog has put, so that `get` finds it here too.

        Args:
            entries: what is recorded of the data; what was not put by that run is left as it is.
            run_id: the other run.

        Returns:
            The entries as they hold for this run.

        Raises:
            DataNotFoundError: some of the data is gone.
        """
        return [self._adopt_file(entry, run_id) for entry in entries]

    def _adopt_file(self, entry: DataCatalog, run_id: str) -> DataCatalog:
        owner, _, inner = entry.catalog_relative_path.partition("/")
        if entry.stage != PUT or owner != run_id or run_id == self.run_id:
            return entry
        source = Path(self.path, run_id, inner)
        if ".." in source.parts or not source.is_file() or source.is_symlink():
            raise self._not_found(entry.name, run_id)
        if hash_of(source) != entry.data_hash:
            raise self._not_found(entry.name, run_id)  # a later step has put other data under the name
        relative = str(PurePosixPath(self.run_id, inner))
        target = os.path.join(self.path, relative)
        try:
            self._link(str(source), target)
        except OSError:  # no links on this file system, or too many
            with _opened(source) as content:
                self._copy(content, target, sync=self.sync_writes)
        return msgspec.structs.replace(entry, catalog_relative_path=relative, catalog_handler_location=self.location)

    def _link(self, source: str, target: str) -> None:
        """Give data, which is replaced but never changed, a second name."""
        folder = os.path.dirname(target)
        make_folders(folder)
        temporary = temporary_names.next()
        fd = SYSTEM.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                SYSTEM.link(source, temporary, fd)  # `source` is absolute: the folder is that of the new name
                SYSTEM.rename(os.path.join(folder, temporary), target)
                discard(os.path.join(folder, temporary))  # a rename onto the same file leaves it
            except BaseException:
                discard(os.path.join(folder, temporary))
                raise
        finally:
            SYSTEM.close(fd)
        if self.sync_writes:
            sync_way_to(SYSTEM, target)

    def _not_found(self, name: str, run_id: str) -> DataNotFoundError:
        return DataNotFoundError(
            f"Cannot get {name!r}: run {run_id!r} has no such data in {self.location}. Put it first with "
            "put_data; names are compared whole, folders included.",
            run_id=run_id,
            name=name,
        )

    def relative_path(self, name: str, branch: str) -> str:
        """Return where data lies in the catalog."""
        parts = (self.run_id, _BRANCHES, encode_for_file(branch), name) if branch else (self.run_id, name)
        return str(PurePosixPath(*parts))

    def entry(self, name: str, digest: str, relative: str, stage: str) -> DataCatalog:
        """Return the record of data."""
        return DataCatalog(
            name=name,
            data_hash=digest,
            catalog_relative_path=relative,
            catalog_handler_location=self.location,
            stage=stage,
        )

    def _copy(self, content: BinaryIO, target: str, *, sync: bool) -> str:
        """Copy to `target` under a temporary name, hash on the way, and rename; return the SHA-256."""
        folder = os.path.dirname(target)
        temporary = os.path.join(folder, temporary_names.next())
        digest = hashlib.sha256()
        try:
            make_folders(folder)
            fd = SYSTEM.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW)
            try:
                while block := content.read(_BLOCK):
                    digest.update(block)
                    view = memoryview(block)
                    while view:
                        view = view[SYSTEM.write(fd, view) :]
                if sync:
                    SYSTEM.fsync(fd)
            finally:
                SYSTEM.close(fd)
            SYSTEM.rename(temporary, target)
            if sync:
                # The folders may be new, and who made them need not have come to making them durable.
                sync_way_to(SYSTEM, target)
        except BaseException as error:
            discard(temporary)
            if isinstance(error, OSError):
                raise os_error(error, target) from error
            raise
        return digest.hexdigest()

    def sync(self) -> None:
        """Return when all data of the run would survive a loss of power."""
        top = os.path.join(self.path, self.run_id)
        if not os.path.isdir(top):
            return
        try:
            for folder, _, files in os.walk(top):
                for file in files:
                    if not file.startswith(TEMPORARY_PREFIX):
                        sync_path(os.path.join(folder, file))
                sync_path(folder)
            sync_way_to(SYSTEM, top)
        except OSError as error:
            raise os_error(error, top) from error


def _files_below(folder: Path) -> list[Path]:
    """Return all files in a folder and in those inside; one that cannot be looked into is an error."""
    found: list[Path] = []
    for inner, _, names in os.walk(folder, onerror=_raise):
        found.extend(file for name in names if (file := Path(inner, name)).is_file())
    return sorted(found)


def _raise(error: OSError) -> NoReturn:
    raise _told(error, str(error.filename))


def _opened(file: Path) -> BinaryIO:
    try:
        return file.open("rb")
    except OSError as error:
        raise _told(error, str(file)) from error


def _told(error: OSError, where: str) -> Exception:
    """Return what to raise for a file that cannot be read: Python says best what is wrong with one of the author's."""
    if isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)):
        return error
    return os_error(error, where)


def hash_of(file: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with _opened(file) as content:
        while block := content.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def default_name(source: str | os.PathLike[str]) -> str:
    """Return the path of `source` if that is a relative one that leads down, else its last part."""
    path = PurePosixPath(os.path.normpath(os.fspath(source)))
    return path.name if path.is_absolute() or ".." in path.parts else str(path)


def check_data_name(name: str) -> None:
    """Raise `InvalidNameError` unless data may be called so: a relative path that leads down."""
    parts = name.split("/")
    if not name or "\0" in name or name.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise InvalidNameError(
            f"Cannot call data {name!r}: the name must be a relative path without '..'. Pass another name.",
            name=name,
            reason="it is no relative path that leads down",
        )
    check_name(name)  # it must be text that a record can hold
    if parts[0] == _BRANCHES or (len(parts) == 1 and name.endswith(LOG_SUFFIX)):
        raise InvalidNameError(
            f"Cannot call data {name!r}: the catalog keeps that for itself. Pass another name.",
            name=name,
            reason="it is a name that the catalog uses",
        )


def _scopes(branch: str) -> Iterator[str]:
    """Yield a branch and the branches around it, the innermost first, then the run."""
    while branch:
        yield branch
        branch = branch.rpartition(".")[0].rpartition(".")[0]
    yield ""


def make_folders(path: str) -> None:
    """Make a folder and those above it."""
    missing: list[str] = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        try:
            SYSTEM.mkdir(folder)
        except FileExistsError:
            pass  # another process was faster


def sync_path(path: str) -> None:
    """Bring a file, or the names in a folder, to stable storage."""
    fd = SYSTEM.open(path, os.O_RDONLY)
    try:
        SYSTEM.fsync(fd)
    finally:
        SYSTEM.close(fd)


def discard(path: str) -> None:
    """Remove a file of our own on the way out of an error, if it is there."""
    try:
        SYSTEM.unlink(path)
    except OSError:
        pass  # never made, or the very failure that brought us here
