"""Deleting a folder: a tombstone in the place of the file that decides whether it exists, and then all the rest."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from chunkstore.backends.errors import MissingError
from chunkstore.backends.objects.client import INCARNATION, ConflictingPutError
from chunkstore.clock import utc_now
from chunkstore.errors import LockTimeoutError, StoreAccessError, StoreIOError
from chunkstore.names import RUN_FILE
from chunkstore.records.codec import encode

if TYPE_CHECKING:
    from chunkstore.backends.objects.client import Found, ObjectClient, Version

#: The tombstone of whoever still deletes a folder is at most so old, in seconds, by the server's clock; an older one is
#: finished by whoever finds it.
SILENCE = 300.0
#: How often it is renewed meanwhile, and for how long somebody waits for the end who wants to make the folder anew.
_RENEWED = 60.0
_PATIENCE = 10.0
_PAUSE = 0.5

_DELETED = "deleted"
_SECOND = 1_000_000_000
_DELETED_BETWEEN = 1_000

#: What the tombstones say that this process has put, or may have, and then had to leave.
_left_behind: set[str] = set()


def is_tombstone(found: Found) -> bool:
    """Tell whether an object stands for a folder that is being deleted."""
    return _DELETED in found.attributes


class Deletion:
    """The deletion of one folder.

    Args:
        client: makes the requests.
        folder: the folder.
    """

    def __init__(self, client: ObjectClient, folder: str) -> None:
        self._client = client
        self._folder = folder
        self._key = f"{folder}/{RUN_FILE}"
        self._renewed = 0.0
        self._token = secrets.token_hex(8)
        self._tombstone: Found | None = None

    def mark(self, incarnation: str, version: Version, writers: str) -> None:
        """Put the tombstone: the folder is gone for everybody.

        Raises:
            ConflictingPutError: the file that decides is another one by now.
        """
        attributes = {_DELETED: self._token, **({INCARNATION: incarnation} if incarnation else {})}
        self._renewed = time.monotonic()
        try:
            self._tombstone = self._client.put_over(self._key, _said(incarnation), attributes, version, writers)
        except (StoreIOError, StoreAccessError):
            _left_behind.add(self._token)  # it may be there all the same
            raise

    def mark_left_over(self) -> bool:
        """Put a tombstone where nothing decides, so that nobody makes the folder meanwhile; tell whether it is ours."""
        self._renewed = time.monotonic()
        try:
            self._tombstone = self._client.put_new(self._key, _said(""), {_DELETED: self._token})
        except ConflictingPutError:
            return False
        except (StoreIOError, StoreAccessError):
            _left_behind.add(self._token)
            raise
        return True

    def finish(self) -> None:
        """Delete everything in the folder, and the tombstone last, unless somebody else takes over.

        Raises:
            StoreIOError, StoreAccessError: something is left; this process can finish it at once, others later.
        """
        try:
            self._delete_all()
        except (StoreIOError, StoreAccessError) as error:
            _left_behind.add(self._token)
            raise type(error)(
                f"{error} Run {self._folder!r} is deleted for everybody; what is left of it is removed when "
                f"this process creates another of that name, and by `chunkstore gc` in {SILENCE / 60:.0f} minutes.",
                file=self._client.location,
                errno=error.errno,
            ) from None

    def _delete_all(self) -> None:
        keys = [listed.key for listed in self._client.listed(self._folder) if listed.key != self._key]
        try:
            for start in range(0, len(keys), _DELETED_BETWEEN):
                self._renew()
                self._client.delete(keys[start : start + _DELETED_BETWEEN])
            self._renew()
        except ConflictingPutError:
            return  # it was thought to be dead
        self._client.delete([self._key])

    def _renew(self) -> None:
        if self._tombstone is not None and time.monotonic() - self._renewed > _RENEWED:
            self.mark(self._tombstone.incarnation, self._tombstone.version, self._tombstone.writers)


def _said(incarnation: str) -> bytes:
    return encode({"deleted": utc_now(), "incarnation": incarnation})


def delete_folder(client: ObjectClient, folder: str) -> None:
    """Delete whichever folder has a name, or finish what somebody has begun who is silent for long.

    Raises:
        MissingError: there is none, or somebody is deleting it.
    """
    while True:
        deletion, found = Deletion(client, folder), client.get_or_none(f"{folder}/{RUN_FILE}")
        if found is None:
            if next(client.listed(folder), None) is None:
                raise MissingError(folder)
            if not deletion.mark_left_over():
                continue
            deletion.finish()
            return
        if is_tombstone(found) and not _is_abandoned(client, found):
            raise MissingError(folder)
        try:
            deletion.mark(found.incarnation, found.version, found.writers)
        except ConflictingPutError:
            continue
        deletion.finish()
        return


def clear_folder(client: ObjectClient, folder: str, found: Found | None) -> bool:
    """Delete what is left where there is no run; return whether there was none, and nobody else is deleting one.

    Args:
        client: makes the requests.
        folder: the folder.
        found: what is in the place of the file that decides.
    """
    deletion = Deletion(client, folder)
    if found is None:
        if deletion.mark_left_over():
            deletion.finish()
        return True
    if not is_tombstone(found) or not _is_abandoned(client, found):
        return False
    try:
        deletion.mark(found.incarnation, found.version, found.writers)
    except ConflictingPutError:
        return True  # somebody else was quicker
    deletion.finish()
    return True


def make_room(client: ObjectClient, folder: str) -> None:
    """Return when there is nothing under a name that somebody wants to make a folder of.

    What a former one has left is deleted. One that somebody deletes is waited for, and finished if that one has been
    silent for long.

    Raises:
        FileExistsError: there is a folder.
        LockTimeoutError: it takes too long.
    """
    found = client.get_or_none(f"{folder}/{RUN_FILE}")
    if found is not None and not is_tombstone(found):
        raise FileExistsError(folder)
    if clear_folder(client, folder, found):
        return
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        time.sleep(_PAUSE)
        present = client.get_or_none(f"{folder}/{RUN_FILE}")
        if present is None or not is_tombstone(present):
            return
    raise LockTimeoutError(
        f"Cannot create {folder} in {client.location}: somebody is deleting a run of this name, or was stopped in the "
        f"middle of it. Try again in {SILENCE / 60:.0f} minutes, when that can be told, or take another name.",
        file=folder,
        timeout=_PATIENCE,
        holder=None,
    )


def _is_abandoned(client: ObjectClient, tombstone: Found) -> bool:
    if tombstone.attributes[_DELETED] in _left_behind:
        return True
    return client.server_time() - tombstone.modified_at > SILENCE * _SECOND
