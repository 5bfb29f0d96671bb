"""Reading a folder of an object store: as it was when it was listed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from chunkstore.backends.errors import MissingError
from chunkstore.backends.objects.listing import PAGE
from chunkstore.backends.objects.tombstones import is_tombstone
from chunkstore.backends.paging import PagedNames
from chunkstore.backends.reader import FileVersion, FolderReader
from chunkstore.errors import ChunkstoreError, StoreIOError
from chunkstore.names import RUN_FILE

if TYPE_CHECKING:
    from chunkstore.backends.objects.client import Found, Listed, ObjectClient
    from chunkstore.backends.objects.remembered import RememberedObjects

#: How many objects are got ahead of whoever reads, and how many bytes they have, at most.
_MOST_AHEAD = 256
_MOST_BYTES_AHEAD = 64 << 20

#: Starts a call in another thread; None if there are none any more.
Start = Callable[[Callable[[], "Found"]], "Future[Found] | None"]
#: Is told of an object that was loaded, or that there is none.
Note = Callable[[str, "Found | None"], None]


class Shared(NamedTuple):
    """What readers of one back end have in common.

    Attributes:
        client: makes the requests.
        remembered: objects that were got lately.
        start: see there.
        incarnation: returns what is known of a folder's incarnation; None if nothing is.
        in_the_way: returns the object that was in the way of a change that is made anew now; None if it is old.
    """

    client: ObjectClient
    remembered: RememberedObjects
    start: Start
    incarnation: Callable[[str], str | None]
    in_the_way: Callable[[str], Found | None]


class ObjectReader(FolderReader):
    """A view of one folder.

    What is listed is what there was at one moment: the listing shows which state of the file that decides whether the
    folder exists was there then, and that is the one that is read.

    Args:
        shared: see there.
        folder: the folder.
        note: is told what is loaded.
    """

    reads_ahead = True

    def __init__(self, shared: Shared, folder: str, note: Note | None = None) -> None:
        self.location = f"{shared.client.location}/{folder}" if folder else shared.client.location
        self._shared = shared
        self._client = shared.client
        self._folder = folder
        self._note = note
        self._listed: dict[str, Listed] | None = None
        #: The file that decides whether the folder exists.
        self._deciding: Found | None = None
        #: Files of which it was found out that they belong to another incarnation of the run, or are gone.
        self._not_ours: set[str] = set()
        self._must_list_again = False
        self._is_missing = False
        #: Whether something was gone that had been listed: it was packed, or the folder is removed.
        self._has_lost = False
        self._folders_inside: set[str] = set()
        #: Why something could not be read: no file is the reason of that, so nothing counts that was read.
        self._failure: StoreIOError | None = None
        self._paged = PagedNames(self._page)
        #: What pages have shown that are not all.
        self._seen: dict[str, Listed] = {}
        self._expected: deque[str] = deque()
        self._ahead: dict[str, tuple[Future[Found], int]] = {}
        self._bytes_ahead = 0

    def _key(self, file: str) -> str:
        return f"{self._folder}/{file}" if self._folder else file

    # --- what there is -----------------------------------------------------------------------------------------------

    def names(self, *, to_load: bool = False) -> list[str]:
        return list(self._listing())

    def starting_with(self, prefix: str) -> list[str]:
        if self._listed is None and not self._must_list_again:
            names = self._paged.starting_with(prefix)
        if self._listed is not None or self._must_list_again:  # it was no more than a page
            return [name for name in self._listing() if name.startswith(prefix)]
        found = [name for name in names if self._is_ours(name)]
        if not found:
            self._check_exists()
        return found

    def _page(self, after: str) -> tuple[list[str], bool]:
        """List a page of the names behind one."""
        self._check_is_not_missing()
        page = list(islice(self._client.listed(self._folder, after=self._key(after) if after else ""), PAGE))
        found = {self._name_of(listed): listed for listed in page}
        is_last = len(page) < PAGE
        if is_last and not after:
            self._take(found)
        self._seen.update(found)
        return list(found), is_last

    def _is_ours(self, name: str) -> bool:
        return "/" not in name and name not in self._not_ours

    def _take(self, found: dict[str, Listed]) -> bool:
        """Go by a listing of all; tell whether it is of one moment."""
        listed = {name: each for name, each in found.items() if self._is_ours(name)}
        self._folders_inside = {name.partition("/")[0] for name in found if "/" in name}
        if self._folder:
            self._check_is_whole(listed)
            # Who seals a run changes its record before anything goes that a later page would have shown.
            key = self._key(RUN_FILE)
            if len(found) >= PAGE and not self._client.head(key).version.is_as(listed[RUN_FILE].version):
                return False
        self._listed, self._must_list_again = listed, False
        return True

    def _name_of(self, listed: Listed) -> str:
        return listed.key[len(self._folder) + 1 :] if self._folder else listed.key

    def _listing(self) -> dict[str, Listed]:
        self._check_is_not_missing()
        if self._listed is None or self._must_list_again:
            while not self._take({self._name_of(listed): listed for listed in self._client.listed(self._folder)}):
                pass
        assert self._listed is not None
        return self._listed

    def _check_is_whole(self, listed: dict[str, Listed]) -> None:
        """Check that a listing is one of the run that was read before, if it was."""
        run_file = listed.get(RUN_FILE)
        if run_file is None:
            raise MissingError(self._folder)
        if self._deciding is None:
            # It may be a tombstone, which no listing tells.
            self._deciding = self._run_as_listed(run_file)
        elif not self._deciding.version.is_as(run_file.version):
            before = self._deciding
            self._deciding = None
            if self._run().incarnation != before.incarnation:
                raise MissingError(self._folder)

    def all_entries(self) -> list[str]:
        names = (self._name_of(listed) for listed in self._client.listed(self._folder))
        return list(dict.fromkeys(name.partition("/")[0] for name in names))

    def forget_names(self) -> None:
        if self._listed is None:
            self._paged = PagedNames(self._page)
            self._seen.clear()
        elif not self._not_ours.isdisjoint(self._listed):
            for name in self._not_ours:  # which is why they could not be loaded, and not that anybody has moved them
                self._listed.pop(name, None)
        else:
            self._must_list_again = True

    def has(self, file: str) -> bool:
        if self._listed is not None and not self._must_list_again and file not in self._listed:
            return file in self._folders_inside
        try:
            self.version(file)
        except MissingError:
            self._check_exists()
            return False
        return True

    def identity(self) -> Hashable:
        return self.location

    # --- when it was written -----------------------------------------------------------------------------------------

    def changed_at(self) -> int:
        return hash(frozenset((name, listed.version) for name, listed in self._listing().items()))

    def modified_at(self, file: str) -> int:
        return self._look(file).modified_at

    def size(self, file: str) -> int:
        return self._look(file).size

    def version(self, file: str) -> FileVersion:
        if file == RUN_FILE and self._folder and not self._listed:
            return tuple(self._run().version)
        return tuple(self._look(file).version)

    def _look(self, file: str) -> Listed:
        if self._listed is not None and file in self._listed:
            return self._listed[file]
        if file in self._seen:
            return self._seen[file]
        if file in self._not_ours:
            raise MissingError(file)
        return self._client.head(self._key(file))

    # --- what is in it -----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise what has failed meanwhile, in case that somebody has taken a file to be the reason, and gone on.

        Raises:
            StoreIOError: something could not be read.
        """
        if self._failure is not None:
            raise self._failure

    def load(self, file: str) -> bytes:
        self.check()
        try:
            found = self._run() if file == RUN_FILE and self._folder else self._ours(file, self._got(file))
        except StoreIOError as error:
            self._failure = error
            raise
        if self._note is not None:
            self._note(file, found)
        return found.data

    def _got(self, file: str) -> Found:
        key = self._key(file)
        ahead = self._ahead.pop(file, None)
        if ahead is not None:
            future, size = ahead
            self._bytes_ahead -= size
            self._fill()
            try:
                return future.result()
            except MissingError:
                self._gone(file)
                raise
        listed = self._listed.get(file) if self._listed is not None else self._seen.get(file)
        if listed is not None and (known := self._shared.remembered.get(key, listed.version)) is not None:
            return known
        found = self._shared.in_the_way(key) if self._note is not None else None
        if found is not None and listed is not None and not found.version.is_as(listed.version):
            found = None  # another one by now
        try:
            found = found or self._client.get(key)
        except MissingError:
            self._gone(file)
            raise
        self._shared.remembered.add(key, found)
        return found

    def _gone(self, file: str) -> None:
        """Note that a file is not there; ask whether the folder is."""
        if self._listed is not None and file in self._listed:
            self._has_lost = True
        if self._note is not None:
            self._note(file, None)
        self._check_exists()

    def _check_exists(self) -> None:
        if self._folder and self._deciding is None:
            self._run()

    def _run(self) -> Found:
        """Return the run's own record.

        Raises:
            MissingError: there is no such run.
        """
        self._check_is_not_missing()
        if self._deciding is None:
            try:
                self._deciding = self._run_as_listed(self._listed.get(RUN_FILE) if self._listed is not None else None)
            except MissingError:
                self._is_missing = True
                raise
        return self._deciding

    def _check_is_not_missing(self) -> None:
        """Raise `MissingError` if it was found out that there is no such run."""
        if self._is_missing:
            raise MissingError(self._folder)

    def _run_as_listed(self, listed: Listed | None) -> Found:
        """Return the run's own record, which need not be got if the version that is listed is known."""
        key = self._key(RUN_FILE)
        found = self._shared.remembered.get(key, listed.version) if listed is not None else None
        if found is None:
            found = (self._shared.in_the_way(key) if self._note is not None else None) or self._client.get(key)
            self._shared.remembered.add(key, found)
        if is_tombstone(found):
            raise MissingError(self._folder)
        return found

    def _ours(self, file: str, found: Found) -> Found:
        """Return an object, if it belongs to the run as it is now."""
        if self._folder and found.incarnation and found.incarnation != self._known_incarnation():
            run = self._run()
            if found.incarnation != run.incarnation and run.incarnation:
                self._not_ours.add(file)
                if self._note is not None:
                    self._note(file, found)
                raise MissingError(file)
        return found

    def _known_incarnation(self) -> str | None:
        return self._deciding.incarnation if self._deciding is not None else self._shared.incarnation(self._folder)

    def load_part(self, file: str, start: int, size: int) -> bytes:
        self.check()
        try:
            return self._client.get_part(self._key(file), start, size)
        except StoreIOError as error:
            self._failure = error
            raise

    def glance(self, folder: str, file: str) -> bytes:
        name = f"{folder}/{file}"
        try:
            found = self._got_anywhere(name)
        except (MissingError, ChunkstoreError):
            return b""
        return b"" if is_tombstone(found) else found.data

    def take_for_granted(self, deciding: Found) -> None:
        """Go by what the deciding file was just now."""
        self._deciding = deciding

    def deciding(self) -> Found:
        """Return the file that decides whether the folder exists.

        Raises:
            MissingError: it does not.
        """
        return self._run()

    def found_or_none(self, name: str) -> Found | None:
        """Return an object below the top; None if there is none."""
        try:
            return self._got_anywhere(name)
        except MissingError:
            return None

    def _got_anywhere(self, name: str) -> Found:
        ahead = self._ahead.pop(name, None)
        if ahead is None:
            return self._client.get(self._key(name))
        future, size = ahead
        self._bytes_ahead -= size
        self._fill()
        return future.result()

    # --- ahead -------------------------------------------------------------------------------------------------------

    def expect(self, files: Iterable[str]) -> None:
        self._expected.extend(files)
        self._fill()

    def _fill(self) -> None:
        """Get what is expected next, as far as that is meant to go."""
        while self._expected and len(self._ahead) < _MOST_AHEAD and self._bytes_ahead < _MOST_BYTES_AHEAD:
            file = self._expected.popleft()
            if file in self._ahead or file in self._not_ours or file == RUN_FILE:
                continue
            key = self._key(file)
            listed = self._listed.get(file) if self._listed is not None else None
            if listed is not None and self._shared.remembered.get(key, listed.version) is not None:
                continue
            future = self._shared.start(self._getting(key))
            if future is None:
                self._expected.clear()
                return
            size = listed.size if listed is not None else 0
            self._ahead[file] = future, size
            self._bytes_ahead += size

    def _getting(self, key: str) -> Callable[[], Found]:
        def get() -> Found:
            found = self._client.get(key)
            self._shared.remembered.add(key, found)
            return found

        return get

    def check_at_the_end(self) -> None:
        """Check that the folder has not been removed in the middle of the read.

        Raises:
            MissingError: it has.
        """
        if self._has_lost and self._folder:
            before, self._deciding = self._deciding, None
            self._shared.remembered.forget(self._key(RUN_FILE))
            self._listed = None
            now = self._run()
            if before is not None and before.incarnation != now.incarnation:
                raise MissingError(self._folder)

    def close(self) -> None:
        """Get nothing ahead any more."""
        self._expected.clear()
        for future, _ in self._ahead.values():
            future.cancel()
        self._ahead.clear()
