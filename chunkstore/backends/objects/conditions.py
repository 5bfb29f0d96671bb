"""Finding out whether a server keeps conditions: nothing is believed of one that was not tried."""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import TYPE_CHECKING

from chunkstore.backends.objects.client import OWN_FOLDER, Version
from chunkstore.backends.objects.settings import ENDPOINTS
from chunkstore.errors import StoreUnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chunkstore.backends.objects.client import Found, ObjectClient
    from chunkstore.backends.objects.place import Place

#: Kept with what was put when a server was tried: which server that was.
CHECKED = "checked"


def mark_of(place: Place) -> str:
    """Return what stands for the server of a place, as it is reached from here."""
    import os  # noqa: PLC0415

    names, variables = ENDPOINTS.get(place.url.scheme, ((), ()))
    told = [str(place.options.get(name, "")) for name in names] + [os.environ.get(name, "") for name in variables]
    return sha256("\n".join([place.url.scheme, *told]).encode()).hexdigest()[:16]


def try_with(client: ObjectClient, key: str, put: Found, attributes: Mapping[str, str]) -> None:
    """Check that an object that was just put cannot be put again on conditions that are not met.

    Raises:
        StoreUnsupportedError: it can; the object is deleted then.
    """
    number = None if put.version.number is None else f"{int(put.version.number) + 1}"
    wrong = Version(put.version.e_tag[::-1] if put.version.e_tag[::-1] != put.version.e_tag else "0", number)
    ignored = None
    if client.try_put(key, put.data, attributes, None):
        ignored = "that there be none yet (If-None-Match)"
    elif client.try_put(key, put.data, attributes, wrong):
        ignored = "that it be unchanged (If-Match)"
    if ignored is not None:
        client.delete([key])
        raise StoreUnsupportedError(
            f"Cannot record in {client.location}: its server puts an object though the condition {ignored} is not met, "
            "so writers would overwrite each other. Use a server that keeps conditions (S3, GCS, Azure, MinIO, "
            "SeaweedFS 4 and later, Ceph); `chunkstore doctor URL` tries one.",
            file=client.location,
            key="url",
            expected="a server that keeps conditions",
        )


def probe(client: ObjectClient) -> None:
    """Try a server with an object of its own.

    Raises:
        StoreUnsupportedError: see `try_with`.
    """
    key = f"{OWN_FOLDER}/conditions/{secrets.token_hex(8)}"
    put = client.put_new(key, b"{}", {})
    try:
        try_with(client, key, put, {})
    finally:
        client.delete([key])
