"""What time it is for a server, as far as somebody can know who writes nothing to it."""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
from contextlib import suppress
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from chunkstore.backends.objects.place import Place
from chunkstore.backends.objects.processes import check_process
from chunkstore.backends.objects.settings import ENDPOINTS
from chunkstore.records.codec import decoder_of

#: How long the server is waited for, in seconds.
_PATIENCE = 5.0
#: How long what it said is counted on from, and how soon it is asked again after it has said nothing, in seconds.
_HOLDS, _REFUSED_FOR = 600.0, 30.0
_SECOND = 10**9


class ServerClock:
    """A clock that is never ahead of a server's.

    The server tells the time in the head of each answer, also of one that refuses: it is sent a request that asks for
    nothing, and says nothing of who asks. obstore does not show the heads of answers, so that is not sent by it. What
    the server has stamped counts, too: it is later by now.

    Args:
        place: where the server is.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        #: What was known: the time, and what the clock of this process said before that was asked for.
        self._known = (0, 0.0)
        self._asked = -_HOLDS
        self._has_answered = False

    def now(self) -> int:
        """Return a time that has come for the server, in nanoseconds: the present, or long ago if it does not tell."""
        if time.monotonic() - self._asked > (_HOLDS if self._has_answered else _REFUSED_FOR):
            self._ask()
        stamp, at = self._known
        return stamp + int((time.monotonic() - at) * _SECOND) if stamp else 0

    @property
    def is_exact(self) -> bool:
        """Whether the server has told the time lately."""
        return self._has_answered

    def observe(self, stamp: int) -> None:
        """Note a time at which the server has stamped something."""
        known, at = self._known
        now = time.monotonic()
        if stamp > known + (now - at) * _SECOND:
            self._known = stamp, now

    def _ask(self) -> None:
        self._asked = time.monotonic()
        self._has_answered = False
        with suppress(Exception):  # whatever comes up: then it does not tell
            stamp = _date_of(_address(self._place))
            self._has_answered = True
            self.observe(stamp)


def _date_of(address: str) -> int:
    """Return what time a server says it is, which is later by now; in nanoseconds, but in whole seconds."""
    request = urllib.request.Request(address, method="HEAD")  # noqa: S310 - the scheme is checked by whoever calls
    opener = urllib.request.build_opener(_NotRedirected)
    try:
        with opener.open(request, timeout=_PATIENCE) as answer:
            date = answer.headers["Date"]
    except urllib.error.HTTPError as refusal:
        date = refusal.headers["Date"]
        refusal.close()
    return int(parsedate_to_datetime(date).timestamp()) * _SECOND


class _NotRedirected(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Take the redirection for the answer."""


def _address(place: Place) -> str:
    """Return the root of the server."""
    scheme = place.url.scheme
    names, variables = ENDPOINTS[scheme]
    told = [place.options.get(name) for name in names] + [os.environ.get(name) for name in variables]
    address = next((str(each) for each in told if each), "") or _usual_address(place)
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"}:
        raise ValueError(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/"


def _usual_address(place: Place) -> str:
    if place.url.scheme == "gs":
        # Somebody else's server of that kind is named where the account is.
        account = place.options.get("service_account_key") or os.environ.get("GOOGLE_SERVICE_ACCOUNT_KEY") or "{}"
        return str(decoder_of(dict).decode(account).get("gcs_base_url") or "https://storage.googleapis.com")
    check_process(str(place))
    import obstore  # noqa: PLC0415 - an extra

    # What a client would sign has the server's name in it, whatever that follows from; nothing is sent.
    client: Any = place.connect()
    return str(obstore.sign(client, "HEAD", "x", timedelta(seconds=1)))
