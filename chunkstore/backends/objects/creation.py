"""Making a folder of which nobody sees anything before the file is there that decides whether it exists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chunkstore.backends.errors import MissingError
from chunkstore.backends.objects.client import INCARNATION, ConflictingPutError
from chunkstore.backends.objects.place import HIDDEN_SUFFIX
from chunkstore.backends.objects.tombstones import make_room
from chunkstore.errors import InvalidNameError
from chunkstore.names import is_sealed_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from chunkstore.backends.objects.client import Found, ObjectClient, Version


def check_folder(folder: str) -> None:
    """Raise `InvalidNameError` if some servers hide what lies in a folder of this name."""
    if folder.endswith(HIDDEN_SUFFIX):
        reason = f"some servers hide what lies in a folder whose name ends in {HIDDEN_SUFFIX}"
        raise InvalidNameError(
            f"Cannot use {folder!r} as a run id in a bucket: {reason}. Use another ending.", name=folder, reason=reason
        )


def create(
    client: ObjectClient, folder: str, files: Mapping[str, bytes], attributes: Mapping[str, str]
) -> tuple[str, Found]:
    """Make a folder that holds files, the last of which decides; return the key of that, and what was put there.

    Args:
        client: makes the requests.
        folder: the folder.
        files: names, and what they hold.
        attributes: what is kept with each object; among it, which incarnation that is.

    Raises:
        FileExistsError: there is such a folder.
        LockTimeoutError: somebody deletes one, and that takes too long.
    """
    *others, (deciding, data) = ((f"{folder}/{file}", content) for file, content in files.items())
    while True:
        versions = _put_before(client, folder, others, attributes)
        try:
            put = client.put_new(deciding, data, attributes)
            break
        except ConflictingPutError:
            try:
                make_room(client, folder)
            except FileExistsError:
                # No other names are sure to be nobody else's.
                client.delete([key for key, _ in others if is_sealed_file(key.rpartition("/")[2])])
                raise
    for key, content in others:
        # Somebody who deletes what was left over of a run of this name may have come between the two.
        _put_anyhow(client, key, content, attributes, versions[key])
    return deciding, put


def _put_before(
    client: ObjectClient, folder: str, files: Iterable[tuple[str, bytes]], attributes: Mapping[str, str]
) -> dict[str, Version]:
    """Put files of a run that is not there yet; return their versions."""
    versions: dict[str, Version] = {}
    for key, content in files:
        while key not in versions:
            try:
                versions[key] = client.put_new(key, content, attributes).version
            except ConflictingPutError as conflict:
                found = conflict.found
                if found is not None and attributes.get(INCARNATION, "") == found.incarnation != "":
                    versions[key] = found.version  # as a try before has put it
                else:
                    make_room(client, folder)
    return versions


def _put_anyhow(client: ObjectClient, key: str, data: bytes, attributes: Mapping[str, str], version: Version) -> None:
    """Put an object of a run that is ours, unless it is there: who puts another one meets the run."""
    while True:
        try:
            present: Version | None = client.head(key).version
        except MissingError:
            present = None
        if present is not None and present.is_as(version):
            return
        try:
            if present is None:
                version = client.put_new(key, data, attributes).version
            else:
                version = client.put_over(key, data, attributes, present).version
        except ConflictingPutError:
            continue
