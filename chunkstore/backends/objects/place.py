"""Where in an object store runs are kept: a URL, and how its server is reached."""

from __future__ import annotations

import os
import re
import threading
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from chunkstore.backends.objects.credentials import aws_credentials
from chunkstore.backends.objects.settings import (
    ENDPOINTS,
    client_settings,
    is_secret,
    shown_options,
)
from chunkstore.errors import ConfigurationError, StoreUsageError

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, MemoryStore, S3Store

    #: obstore's clients of object stores.
    Client = S3Store | GCSStore | AzureStore | MemoryStore

#: The schemes of URLs, and the usual one of those that mean the same.
_SCHEMES = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "gcs": "gs",
    "az": "az",
    "azure": "az",
    "abfs": "az",
    "abfss": "az",
    "memory": "memory",
}
#: The usual schemes.
SCHEMES = ("s3", "gs", "az", "memory")
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
#: SeaweedFS lists nothing of what lies in a folder whose name ends so: it keeps versions of its own there.
HIDDEN_SUFFIX = ".versions"
_BUCKET = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]{1,220}[A-Za-z0-9]\Z")
_LONGEST_PREFIX = 512
#: How often, and for how long, reads are tried again.
_RETRIES = 3
_RETRIED_FOR = timedelta(seconds=60)

#: What is kept in memory, by name: as long as the process.
_in_memory: dict[str, MemoryStore] = {}
#: See `Place.turn`.
_turn_in_memory = threading.RLock()


class Url(NamedTuple):
    """The parts of a URL.

    Attributes:
        scheme: one of `SCHEMES`.
        bucket: the bucket; in Azure, the container.
        prefix: what all keys begin with, without a slash at its ends; may be empty.
    """

    scheme: str
    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}{'/' if self.prefix else ''}{self.prefix}"


def is_url(text: Any) -> bool:
    """Tell whether something is meant as a URL, if only by its scheme, and not as a type of store or as a path."""
    if not isinstance(text, str):
        return False
    scheme, colon, _ = text.partition(":")
    return _URL.match(text) is not None or (colon != "" and scheme.lower() in _SCHEMES)


def without_secrets(url: Any) -> Any:
    """Return a URL that cannot be used, without what may be secret in it."""
    return re.sub(r"(?<=://)[^/]*@|[?#].*", "…", url) if isinstance(url, str) else url


def parse_url(text: Any) -> Url:
    """Return the parts of a URL of an object store.

    Raises:
        ValueError: it is none; says what it must be.
    """
    match = _URL.match(text) if isinstance(text, str) else None
    scheme = _SCHEMES.get(match.group(1).lower(), "") if match else ""
    if not match or not scheme:
        raise ValueError("the URL of a bucket: s3://bucket/prefix, gs://bucket/prefix or az://container/prefix")
    rest = text[match.end() :]
    if "@" in rest.partition("/")[0]:
        raise ValueError("a URL without a user or a password: credentials are options, or in the environment")
    if "?" in rest or "#" in rest:
        raise ValueError("a URL without ? and #: what else is to be said are options of their own")
    bucket, _, prefix = rest.partition("/")
    prefix = prefix.strip("/")
    if scheme != "memory" and not _BUCKET.match(bucket):
        raise ValueError("a URL with the name of a bucket, of at least 3 letters, digits, dots and dashes")
    if any(part in ("", ".", "..") or part.startswith(".") for part in prefix.split("/") if prefix):
        raise ValueError("a URL whose prefix has no empty parts, and none that begin with a dot")
    if any(part.endswith(HIDDEN_SUFFIX) for part in prefix.split("/")):
        raise ValueError(f"a URL whose prefix has no part that ends in {HIDDEN_SUFFIX}, which some servers hide")
    if len(prefix.encode(errors="surrogateescape")) > _LONGEST_PREFIX or not f"{bucket}{prefix}".isprintable():
        raise ValueError(f"a URL whose prefix has at most {_LONGEST_PREFIX} bytes, all of which can be printed")
    return Url(scheme, bucket, prefix)


class Place:
    """A prefix of a bucket, and how the server is reached that has it.

    Args:
        url: where it is.
        options: what the client is told; names as obstore has them, see `settings`.

    Raises:
        ValueError: the URL is none.

    Attributes:
        url: the same in its parts; as text, it is for people: there are no secrets in it.
        options: the same.
    """

    def __init__(self, url: str | Url, options: Mapping[str, Any] | None = None) -> None:
        self.url = url if isinstance(url, Url) else parse_url(url)
        self.options = dict(options or {})
        #: A nameless one in memory is no other's.
        self._memory = str(self.url) if self.url.bucket else uuid.uuid4().hex
        self._pid = os.getpid() if self.is_in_memory else 0

    def __repr__(self) -> str:
        told = shown_options(self.options)
        return f"Place({str(self.url)!r}{', ' if told else ''}{told})"

    def __str__(self) -> str:
        return str(self.url)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Place) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(self.url)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.is_in_memory:
            raise StoreUsageError(
                f"Cannot send the store {self} to another process: its runs live in the memory of this one. Use "
                "threads, or the URL of a bucket."
            )
        return Place, (self.url, self.options)

    @property
    def is_in_memory(self) -> bool:
        """Whether it is in the memory of this process alone."""
        return self.url.scheme == "memory"

    def turn(self) -> AbstractContextManager[object]:
        """Wait for the turn to make a request, where not several may be made at once.

        In memory, obstore lists with Python's own lock (the GIL) held, and lets go of what is put over or deleted, for
        which it needs that lock, while it keeps lists out: two threads would wait for each other for ever.
        """
        return _turn_in_memory if self.is_in_memory else nullcontext()

    def connect(self, *, retries: bool = False) -> Client:
        """Return a client that sees what is below the prefix alone. No request is sent for that.

        Args:
            retries: whether the client sends requests again that seem to have failed; not for what changes anything,
                as the first may have come to something.

        Raises:
            ConfigurationError: obstore is not installed, or refuses an option, or there are no credentials.
        """
        check_installed()
        from obstore import store  # noqa: PLC0415 - an extra

        if self.is_in_memory:
            if os.getpid() != self._pid:
                raise StoreUsageError(
                    f"The store {self} belongs to process {self._pid} and was copied to process {os.getpid()} by a "
                    "fork: what is recorded here would be lost. Use threads, or the URL of a bucket."
                )
            return _in_memory.setdefault(self._memory, store.MemoryStore())
        self._check_environment()
        server, client, profile = client_settings(self.url.scheme, self.options)
        if self._is_without_encryption():
            client.setdefault("allow_http", True)
        given: dict[str, Any] = {"prefix": self.url.prefix or None, "config": server, "client_options": client}
        given["retry_config"] = {"max_retries": _RETRIES if retries else 0, "retry_timeout": _RETRIED_FOR}
        makers: dict[str, Any] = {"s3": store.S3Store, "gs": store.GCSStore, "az": store.AzureStore}
        if self.url.scheme == "s3" and (provider := aws_credentials(server, profile)) is not None:
            given["credential_provider"] = provider
        try:
            made: Client = makers[self.url.scheme](self.url.bucket, **given)
        except Exception as error:  # noqa: BLE001 - of many types, without a base of their own
            raise self._refused(error) from None
        return made

    def _check_environment(self) -> None:
        """Refuse a variable that is there and says nothing: obstore takes that for the URL of a server, and breaks."""
        names, variables = ENDPOINTS[self.url.scheme]
        empty = [name for name in variables if os.environ.get(name) == ""]
        if empty and not any(self.options.get(name) for name in names):
            raise ConfigurationError(
                f"Cannot use {self}: the environment variable {empty[0]} is empty. Unset it, or name a server.",
                file="",
                key=empty[0],
                expected="a URL",
            )

    def _is_without_encryption(self) -> bool:
        """Tell whether somebody has named a server that is to be reached so."""
        names, variables = ENDPOINTS[self.url.scheme]
        said = [self.options.get(name) for name in names] + [os.environ.get(name) for name in variables]
        return any(isinstance(each, str) and each.lower().startswith("http://") for each in said)

    def _refused(self, error: Exception) -> ConfigurationError:
        reason = str(error).partition("\n")[0]  # behind that is what only obstore's authors can read
        for name, value in self.options.items():
            if is_secret(name) and isinstance(value, str) and value:
                reason = reason.replace(value, "…")
        return ConfigurationError(
            f"Cannot use {self}: {reason}. Check the options of the store, and what the environment says of them.",
            file="",
            key="url",
            expected="options that obstore can use",
        )


def check_installed() -> None:
    """Check that what reaches object stores is installed.

    Raises:
        ConfigurationError: it is not.
    """
    # Not by importing it: a process that has may not be forked any more.
    try:
        is_there = find_spec("obstore") is not None
    except ValueError:
        is_there = False
    if not is_there:
        raise ConfigurationError(
            "Cannot use object stores: obstore is not installed. Run `pip install 'chunkstore[objects]'`.",
            file="",
            key="url",
            expected="obstore",
        )
