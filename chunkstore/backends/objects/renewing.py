"""Objects that a thread renews as long as the process lives that has made them."""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import threading
import time
import weakref
from _thread import LockType, allocate_lock
from collections.abc import Callable
from contextlib import suppress

import msgspec

from chunkstore.backends.objects.client import INCARNATION, ConflictingPutError, Found, ObjectClient, Version
from chunkstore.names import is_incarnation
from chunkstore.records.codec import decoder_of, encode

logger = logging.getLogger("chunkstore")

#: How often an object is renewed, in seconds.
RENEWED_EVERY = 30.0
#: So many times may be missed before its holder is taken to have died.
MOST_MISSED = 10
#: What others say of how often they renew theirs is believed within these bounds.
_SHORTEST, _LONGEST = 0.1, 3600.0
#: The first pause after an object could not be renewed, in seconds; each further one is twice as long.
_FIRST_PAUSE = 1.0
#: How long the end of a process, or of a run, waits for a request that is under way, in seconds.
_LONGEST_WAIT = 2.0
_THREAD = "chunkstore-owner"
#: What is held together with others: whoever ends in order leaves.
_joined: weakref.WeakSet[HeldObject] = weakref.WeakSet()


class Told(msgspec.Struct, frozen=True):
    """What a holder says of its object."""

    renewed_every: float = RENEWED_EVERY
    holder: str = ""

    @classmethod
    def read(cls, data: bytes) -> Told:
        """Return what an object says, as far as it says anything."""
        try:
            told: Told = decoder_of(cls).decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return cls()
        return told

    @property
    def silence(self) -> float:
        """After how many seconds without a renewal its holder is taken to have died."""
        every = self.renewed_every if self.renewed_every > 0 else RENEWED_EVERY
        return min(max(every, _SHORTEST), _LONGEST) * MOST_MISSED


class HeldObject:
    """An object that a thread renews as long as this process lives, and somebody has this one.

    Args:
        client: makes the requests; it tries none of them again.
        key: where the object is.
        data: who holds it; a JSON object.
        incarnation: of the run that it belongs to.
        is_there: tells whether that run is still there; None if that cannot be told.
        is_silent: tells whether another holder's object has not been renewed for too long.
        every: how often it is renewed, in seconds.
    """

    def __init__(
        self,
        client: ObjectClient,
        key: str,
        data: bytes,
        *,
        incarnation: str,
        is_there: Callable[[], bool | None],
        is_silent: Callable[[Found], bool],
        every: float,
    ) -> None:
        self._client = client
        self._key = key
        self._said = {**decoder_of(dict).decode(data), "renewed_every": every, "holder": secrets.token_hex(8)}
        self._incarnation = incarnation
        self._is_there = is_there
        self._is_silent = is_silent
        self._every = every
        self._renewals = 0
        self._version: Version | None = None
        #: Whether the object, if there is one, may be ours.
        self._is_ours = True
        self._failures = 0
        self._renewed_at = 0.0
        self._has_warned = False
        self._pid = os.getpid()
        # Bare locks: finalisers and handlers of signals can give them back in the middle of anything.
        #: Ends the thread once it is free, and says that it has ended.
        self._end, self._has_ended = _taken(), _taken()
        if not self.renew():
            self._has_ended.release()
            return
        thread = threading.Thread(target=_renew_again, args=(weakref.ref(self), self._end), name=_THREAD, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # there are too many
            self.remove()

    def renew(self) -> bool:
        """Put the object anew; return whether it is to be renewed again."""
        try:
            self._is_ours = self._is_ours and self._put()
        except Exception as error:  # noqa: BLE001 - whatever it is: the run goes on
            self._note_failure(error)
        else:
            self._failures, self._renewed_at = 0, time.monotonic()
        return self._is_ours

    def _put(self) -> bool:
        """Put the object; return whether it is ours."""
        self._renewals += 1  # so that no two are alike: servers tell versions apart by what is in them
        data = encode({**self._said, "renewals": self._renewals})
        told = {INCARNATION: self._incarnation} if is_incarnation(self._incarnation) else {}
        try:
            if self._version is None:
                put = self._client.put_new(self._key, data, told)
            else:
                put = self._client.put_over(self._key, data, told, self._version)
            self._version = put.version
        except ConflictingPutError as conflict:
            return self._settle(conflict.found)
        return True

    def _settle(self, found: Found | None) -> bool:
        """Go on after there was another object, or none, where ours should be."""
        if found is None or Told.read(found.data).holder != self._said["holder"]:
            is_there = self._is_there()
            if is_there is None:
                return True  # it is found out the next time
            if not is_there:
                return False  # the run was deleted, and another one may have its id
            if found is not None and found.incarnation in {"", self._incarnation} and not self._is_silent(found):
                return False  # somebody else has begun to hold it, and goes on with that
        # An earlier try of ours came to something unseen, or it is left of somebody who is gone, or was taken away.
        self._version = None if found is None else found.version
        return self._put()

    def _note_failure(self, error: Exception) -> None:
        self._failures += 1
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "Cannot renew %s, which says that this process records a run: %s What is recorded is not concerned. It "
                "is tried again; if that does not succeed for %.0f s, others take this process to have died.",
                self._key,
                error,
                self._every * MOST_MISSED,
            )

    def pause(self) -> float:
        """Return how long to wait before the next renewal, in seconds."""
        if not self._failures:
            return self._every
        longest = _FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10)
        return min(self._every, longest)

    def release(self, patience: float = _LONGEST_WAIT) -> None:
        """Remove the object: this process does not record the run any more. Nobody waits for that for long."""
        self.leave()
        if self._pid == os.getpid() and self._has_ended.acquire(timeout=patience):
            self._has_ended.release()

    def give_up(self) -> None:
        """Leave it to whoever calls this to remove the object, which is not renewed any more."""
        self._is_ours = False
        self.leave()

    def leave(self) -> None:
        """Have the object removed soon."""
        if self._pid == os.getpid():
            with suppress(RuntimeError):  # that was said before
                self._end.release()

    def remove(self) -> None:
        """Remove the object, if it is ours."""
        was_renewed = not self._failures and time.monotonic() - self._renewed_at < self._every * MOST_MISSED
        try:
            # Who was silent for long may have been taken for dead, and somebody else have begun to hold it.
            if self._is_ours and (was_renewed or (self.renew() and not self._failures)):
                self._client.delete([self._key])
        except Exception:  # noqa: BLE001, S110 - then it stays: the run has ended, or will be taken to have died
            pass
        finally:
            self._is_ours = False
            with suppress(RuntimeError):
                self._has_ended.release()

    def __del__(self) -> None:
        with suppress(Exception):
            self.leave()


def _taken() -> LockType:
    lock = allocate_lock()
    lock.acquire()
    return lock


def _renew_again(find: Callable[[], HeldObject | None], end: LockType) -> None:
    """Renew an object until it is given back, or nobody has it any more: then others find out by its silence."""
    while (held := find()) is not None:
        pause = held.pause()
        del held
        is_over = end.acquire(timeout=pause)
        if (held := find()) is None:
            return
        if is_over or not held.renew():
            held.remove()
            return


def leave_at_exit(held: HeldObject) -> None:
    """Have an object removed when this process ends in order, if it is held still."""
    _joined.add(held)


@atexit.register
def _leave_all() -> None:
    every = list(_joined)
    for held in every:
        held.leave()
    deadline = time.monotonic() + _LONGEST_WAIT
    for held in every:
        held.release(max(0.0, deadline - time.monotonic()))
