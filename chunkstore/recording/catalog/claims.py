"""Which run has made which folder of the catalog, and which runs keep one.

An id does not tell whose data that is: another store may use the same catalog, and a run can be deleted and made anew.
So the catalog says which run has made which folder, and a run that finds another's puts its data into
`<run id>~<identity>`. A run that was imported keeps the folder of the run that it is a copy of.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.disk.freshness import looked_at_afresh
from chunkstore.backends.disk.os_errors import os_error
from chunkstore.backends.disk.syncing import sync_way_to
from chunkstore.backends.disk.syscalls import SYSTEM
from chunkstore.backends.disk.temporary_names import temporary_names
from chunkstore.backends.errors import MissingError
from chunkstore.errors import StoreAccessError
from chunkstore.names import data_folders, is_data_folder
from chunkstore.recording.catalog.catalog import Catalog
from chunkstore.recording.catalog.files import discard_folder, listed
from chunkstore.recording.catalog.places import SETTING, open_folder

#: In there, a folder for each one of data has an empty folder for each run that claims it: its identity, and how.
_CLAIMS = ".runs"
#: A run that has made a folder puts data into it. Others may keep it, to which records of theirs refer.
MADE, KEPT = "", "+"
#: Whoever deletes data holds this lock.
_LOCK = ".lock"
_ATTEMPTS = 5


class ClaimsOnDisk(Catalog, frozen=True):
    """Which folders hold the data of one run."""

    def folders(self) -> list[str]:
        """Return the folders of the catalog that hold data of this run: mostly one, or none."""
        return [name for name in data_folders(self.run_id, self.incarnation) if self._claim_on(name) is not None]

    def own_folders(self) -> list[str]:
        """Return those that this run has made: all that is in them it has put."""
        return [name for name in self.folders() if self._claim_on(name) == MADE]

    def _claim_on(self, folder: str) -> str | None:
        """Return what this run has to do with a folder: that it has made it, or keeps it; None if nothing."""
        claims = looked_at_afresh(os.path.join(self.path, _CLAIMS, folder))
        for kind in (MADE, KEPT):
            if os.path.isdir(f"{claims}/{self.incarnation}{kind}"):
                return kind
        # A run of another tool, or of an older version, has made a folder that nobody says to have made.
        place = os.path.join(looked_at_afresh(self.path), folder)
        if self.is_unclaimed and os.path.isdir(place) and not _makers(claims):
            return MADE
        return None

    def folder_to_put(self) -> str:
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
            raise os_error(error, os.path.join(self.path, usual), SETTING) from error
        raise self.not_found(distinct, self.run_id)  # somebody has made even that by hand

    def _make(self, folder: str) -> bool:
        """Claim a folder that nobody has; tell whether that was so."""
        claims = os.path.join(self.path, _CLAIMS, folder)
        if os.path.lexists(os.path.join(looked_at_afresh(self.path), folder)) or os.path.lexists(claims):
            return False
        # It says whose it is before it gets its name, so that one run alone has made it.
        temporary = os.path.join(self.path, temporary_names.next())
        claim = os.path.join(temporary, f"{self.incarnation}{MADE}")
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                open_folder(self.path, [_CLAIMS], make=True)  # which must not be a link
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
            if os.path.isdir(os.path.join(self.path, folder)):
                open_folder(self.path, [_CLAIMS, folder, f"{self.incarnation}{KEPT}"], make=True)

        with _told_of(self.path):
            DirectoryBackend(self.path).while_locked("", _LOCK, claim)

    def claim(self, folder: str) -> bool:
        """See `Catalog.claim`."""
        try:
            return self._claim_on(folder) == MADE or self._make(folder) or self._claim_on(folder) == MADE
        except OSError as error:
            raise os_error(error, os.path.join(self.path, folder), SETTING) from error

    def _claimed(self) -> list[str]:
        """Return all folders that hold data of this run, also those named after the run that it is a copy of."""
        there = listed(os.path.join(self.path, _CLAIMS))
        alike = (name for name in there if is_data_folder(name, self.run_id) and self._claim_on(name) == MADE)
        return list(dict.fromkeys([*self.folders(), *alike]))

    def remove(self) -> None:
        """Delete the data of the run, but for what others keep."""
        # Whoever was stopped over this may have left a folder of claims without any.
        names = dict.fromkeys([*data_folders(self.run_id, self.incarnation), *self._claimed()])
        claims = [os.path.join(self.path, _CLAIMS, name) for name in names]
        if not self._claimed() and not any(map(os.path.isdir, claims)):
            return
        backend = DirectoryBackend(self.path)

        def remove_folders() -> None:
            # Looked at again: nobody but those who hold this lock takes folders or claims away.
            for name in self._claimed():
                self._give_up(backend, name)
            for each in claims:
                discard_folder(each)  # which stays while there are claims of others in it
            backend.remove_lock("", _LOCK)

        try:
            with _told_of(self.path):
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


@contextmanager
def _told_of(catalog: str) -> Iterator[None]:
    """Say that it is the catalog that cannot be used, and not the folder of the runs."""
    try:
        yield
    except StoreAccessError as error:
        raise os_error(OSError(error.errno, ""), catalog, SETTING) from error


def _makers(claims: str) -> list[str]:
    """Return who says to have made a folder of data."""
    return [name for name in listed(claims) if not name.endswith(KEPT)]
