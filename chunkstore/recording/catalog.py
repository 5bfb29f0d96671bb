"""The catalog: copies of the data that steps read and write, with their hashes.

A copy lies at `<catalog>/<run id>/<name>`; inside a branch at `<catalog>/<run id>/.branches/<branch>/<name>`, so that
branches that put data of the same name do not meet. What steps print lies beside the run's data.

An id does not tell whose data that is: another store may use the same catalog, and a run can be deleted and made anew.
So the catalog says which run has made which folder, and a run that finds another's puts its data into
`<run id>~<identity>`. A run that was imported keeps the folder of the run that it is a copy of.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NoReturn

import msgspec

from chunkstore.backends.base import STEP, MissingError
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.disk.folder import Folder, sync_way_to, temporary_names
from chunkstore.backends.disk.os_errors import os_error
from chunkstore.backends.disk.syscalls import SYSTEM
from chunkstore.errors import DataNotFoundError, InvalidNameError
from chunkstore.names import (
    TEMPORARY_PREFIX,
    UNSYNCED_FILE,
    check_name,
    data_folders,
    encode_for_file,
    is_data_folder,
)
from chunkstore.records.models import DataCatalog
from chunkstore.stores.base import Store

PUT, GET = "put", "get"
#: What the file ends in that keeps what a step printed.
LOG_SUFFIX = ".execution.log"
_BRANCHES = ".branches"
#: In there, a folder for each one of data has an empty folder for each run that claims it: its identity, and how.
_CLAIMS = ".runs"
#: A run that has made a folder puts data into it. Others may keep it, to which records of theirs refer.
MADE, KEPT = "", "+"
#: Whoever deletes data holds this lock.
_LOCK = ".lock"
_BLOCK = 1 << 20
_ATTEMPTS = 5

#: What is another one when a file is replaced, or something in a folder changes.
Version = tuple[int, ...]


class Catalog(msgspec.Struct, frozen=True):
    """The catalog of one run.

    Attributes:
        path: the absolute path of the catalog's folder.
        location: the same as the configuration names it, for the records.
        run_id: the run.
        sync_writes: whether data survives a loss of power as soon as it is put.
        incarnation: what tells the run from every other of its id.
        is_unclaimed: whether a folder of the run may say nothing of who has made it.
    """

    path: str
    location: str
    run_id: str
    sync_writes: bool
    incarnation: str
    is_unclaimed: bool = False

    def folders(self) -> list[str]:
        """Return the folders of the catalog that hold data of this run: mostly one, or none."""
        return [name for name in data_folders(self.run_id, self.incarnation) if self._claim_on(name) is not None]

    def _claim_on(self, folder: str) -> str | None:
        """Return what this run has to do with a folder: that it has made it, or keeps it; None if nothing."""
        claims = os.path.join(self.path, _CLAIMS, folder)
        for kind in (MADE, KEPT):
            if os.path.isdir(f"{claims}/{self.incarnation}{kind}"):
                return kind
        # A run of another tool, or of an older version, has made a folder that nobody says to have made.
        if self.is_unclaimed and os.path.isdir(os.path.join(self.path, folder)) and not _makers(claims):
            return MADE
        return None

    def _folder_to_put(self) -> str:
        """Return the folder that data of this run is put into."""
        distinct, usual = data_folders(self.run_id, self.incarnation)
        try:
            for name in (distinct, usual):
                if self._claim_on(name) == MADE:
                    return name
            for name in (usual, distinct):
                if self._make(name) or self._claim_on(name) == MADE:
                    return name
        except OSError as error:
            raise os_error(error, os.path.join(self.path, usual)) from error
        raise self._not_found(distinct, self.run_id)  # somebody has made even that by hand

    def _make(self, folder: str) -> bool:
        """Claim a folder that nobody has; tell whether that was so."""
        claims = os.path.join(self.path, _CLAIMS, folder)
        if os.path.lexists(os.path.join(self.path, folder)) or os.path.lexists(claims):
            return False
        # It says whose it is before it gets its name, so that one run alone has made it.
        temporary = os.path.join(self.path, temporary_names.next())
        claim = os.path.join(temporary, f"{self.incarnation}{MADE}")
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                make_folders(os.path.dirname(claims))
                SYSTEM.mkdir(temporary)
                SYSTEM.mkdir(claim)
                SYSTEM.rename(temporary, claims)
                break
            except BaseException as error:
                discard_folder(claim)
                discard_folder(temporary)
                if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    return False  # another process was faster
                if not isinstance(error, FileNotFoundError) or attempt == _ATTEMPTS:
                    raise  # else somebody removes the folders on the way just now
        if self.sync_writes:
            sync_way_to(SYSTEM, os.path.join(claims, f"{self.incarnation}{MADE}"))
        return True

    def keep(self, folder: str) -> None:
        """Keep others from deleting a folder that this run's records refer to, though another run has made it.

        Args:
            folder: a folder of the catalog.

        Raises:
            OSError: it cannot be noted.
        """

        def claim() -> None:
            claims = os.path.join(self.path, _CLAIMS, folder)
            if os.path.isdir(os.path.join(self.path, folder)):
                make_folders(os.path.join(claims, f"{self.incarnation}{KEPT}"))

        DirectoryBackend(self.path).while_locked("", _LOCK, claim)

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
        folders = self.folders()
        for relative in (_path_of(folder, name, scope) for scope in _scopes(branch) for folder in folders):
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
        folder, _, inner = entry.catalog_relative_path.partition("/")
        if entry.stage != PUT or not is_data_folder(folder, run_id) or folder in self.folders():
            return entry
        source = Path(self.path, folder, inner)
        if ".." in source.parts or not source.is_file() or source.is_symlink():
            raise self._not_found(entry.name, run_id)
        relative = str(PurePosixPath(self._folder_to_put(), inner))
        target = os.path.join(self.path, relative)
        try:
            try:
                is_same = self._link(str(source), target, entry.data_hash)
            except OSError:  # no links on this file system, or too many
                if hash_of(source) != entry.data_hash:
                    raise self._not_found(entry.name, run_id) from None
                with _opened(source) as content:
                    is_same = self._copy(content, target, sync=self.sync_writes) == entry.data_hash
        except FileNotFoundError:
            is_same = False  # it was deleted just now
        if not is_same:
            raise self._not_found(entry.name, run_id)  # a later step has put other data under the name
        return msgspec.structs.replace(entry, catalog_relative_path=relative, catalog_handler_location=self.location)

    def _link(self, source: str, target: str, digest: str) -> bool:
        """Give data, which is replaced but never changed, a second name; tell whether it is what was recorded."""
        folder = os.path.dirname(target)
        make_folders(folder)
        temporary = temporary_names.next()
        path = os.path.join(folder, temporary)
        fd = SYSTEM.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                SYSTEM.link(source, temporary, fd)  # `source` is absolute: the folder is that of the new name
                if hash_of(Path(path)) != digest:
                    discard(path)
                    return False
                if self.sync_writes:
                    sync_path(path)  # whoever has put it need not have done that
                SYSTEM.rename(path, target)
                discard(path)  # a rename onto the same file leaves it
            except BaseException:
                discard(path)
                raise
        finally:
            SYSTEM.close(fd)
        if self.sync_writes:
            sync_way_to(SYSTEM, target)
        return True

    def _not_found(self, name: str, run_id: str) -> DataNotFoundError:
        return DataNotFoundError(
            f"Cannot get {name!r}: run {run_id!r} has no such data in {self.location}. Put it first with "
            "put_data; names are compared whole, folders included.",
            run_id=run_id,
            name=name,
        )

    def relative_path(self, name: str, branch: str) -> str:
        """Return where data of this run is put in the catalog."""
        return _path_of(self._folder_to_put(), name, branch)

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

    def sync(self, synced: set[Version] | None = None) -> set[Version]:
        """Return when all data of the run would survive a loss of power.

        Args:
            synced: what an earlier call has returned: only what was put since is synced.

        Returns:
            What has been synced.

        Raises:
            StoreIOError: some of it cannot be made durable, or it cannot be found out what there is.
        """
        done: set[Version] = set(synced or ())
        for name in self.folders():
            top = os.path.join(self.path, name)
            if not os.path.isdir(top):
                continue
            try:
                before = len(done)
                for folder, _, _ in os.walk(top, onerror=_refuse):
                    sync_folder(folder, done)
                if len(done) > before:
                    sync_way_to(SYSTEM, top)
            except OSError as error:
                raise os_error(error, top) from error
        return done

    def sync_entries(self, entries: Iterable[DataCatalog]) -> None:
        """Return when data that was put just now would survive a loss of power."""
        for entry in entries:
            path = os.path.join(self.path, entry.catalog_relative_path)
            try:
                sync_path(path)
                sync_way_to(SYSTEM, path)
            except OSError as error:
                raise os_error(error, path) from error

    def remove(self) -> None:
        """Delete the data of the run, but for what others keep."""
        if not self.folders():
            return
        backend = DirectoryBackend(self.path)

        def remove_folders() -> None:
            # Looked at again: nobody but those who hold this lock takes folders or claims away.
            for name in self.folders():
                self._give_up(backend, name)
            backend.remove_lock("", _LOCK)

        try:
            backend.while_locked("", _LOCK, remove_folders)
        except MissingError:
            pass  # somebody removes the whole catalog

    def _give_up(self, backend: DirectoryBackend, folder: str) -> None:
        claims = os.path.join(self.path, _CLAIMS, folder)
        kind = self._claim_on(folder)
        keepers = sorted(name for name in listed(claims) if name.endswith(KEPT))
        if kind == MADE and keepers:
            heir = os.path.join(claims, keepers[0])
            SYSTEM.rename(heir, f"{heir.removesuffix(KEPT)}{MADE}")
        elif kind == MADE:
            try:
                backend.remove_folder(folder)
            except MissingError:
                pass  # nothing was put, or somebody has removed it by hand
        discard_folder(os.path.join(claims, f"{self.incarnation}{kind}"))
        discard_folder(claims)


def catalog_of(store: Store, run_id: str, incarnation: str) -> Catalog:
    """Return the catalog of a run.

    Args:
        store: where the run is.
        run_id: the run.
        incarnation: what tells it from every other of its id; empty if nobody noted that, as of runs of other tools:
            then it is told from those of other stores.
    """
    is_durable = store.options.durability == STEP
    is_unclaimed = not incarnation
    if is_unclaimed:
        place = f"{store.backend.location}\0{run_id}"
        incarnation = hashlib.sha256(place.encode(errors="surrogateescape")).hexdigest()[:16]
    return Catalog(store.catalog_path, store.catalog_folder, str(run_id), is_durable, incarnation, is_unclaimed)


def _makers(claims: str) -> list[str]:
    """Return who says to have made a folder of data."""
    return [name for name in listed(claims) if not name.endswith(KEPT)]


def _refuse(error: OSError) -> NoReturn:
    raise error


def _path_of(folder: str, name: str, branch: str) -> str:
    """Return where data lies, below the top of the catalog."""
    parts = (folder, _BRANCHES, encode_for_file(branch), name) if branch else (folder, name)
    return str(PurePosixPath(*parts))


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


def sync_folder(path: str, done: set[Version]) -> None:
    """Bring the files in a folder, and their names, to stable storage.

    A sync that has failed is not made good by another one; see `Folder.sync_anew`.

    Args:
        path: the folder.
        done: what has been synced, and need not be again; what is synced here is added.
    """
    folder = Folder(SYSTEM, path)
    has_failed = folder.has_entry(UNSYNCED_FILE)
    versions = {name: version for name in folder.all_entries() if (version := _version(folder, name)) is not None}
    changed = {name: version for name, version in versions.items() if version not in done}
    if not changed and _folder_version(folder) in done:
        return
    try:
        if has_failed:
            folder.sync_anew(list(changed))
        for name in () if has_failed else changed:
            try:
                folder.sync_file(name)
            except FileNotFoundError:
                pass  # removed since it was listed
        folder.sync_self()
    except OSError:
        folder.leave_mark(UNSYNCED_FILE)
        raise
    done.update(changed.values())
    if has_failed:
        folder.discard(UNSYNCED_FILE)
    done.add(_folder_version(folder))


def _version(folder: Folder, name: str) -> Version | None:
    """Return what is another one when a file is replaced; None for what need not be durable, or is no file."""
    if name.startswith(TEMPORARY_PREFIX) or name == UNSYNCED_FILE:
        return None
    try:
        return folder.version(name)
    except FileNotFoundError:
        return None


def _folder_version(folder: Folder) -> Version:
    return (*folder.identity(), folder.changed_at())


def listed(path: str) -> list[str]:
    """Return the names in a folder, none if there is no such folder."""
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []


def discard(path: str) -> None:
    """Remove a file of our own on the way out of an error, if it is there."""
    try:
        SYSTEM.unlink(path)
    except OSError:
        pass  # never made, or the very failure that brought us here


def discard_folder(path: str) -> None:
    """Remove an empty folder of our own on the way out of an error, if it is there."""
    try:
        SYSTEM.rmdir(path)
    except OSError:
        pass  # as above
