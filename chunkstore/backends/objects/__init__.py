"""Back ends over object stores: S3, GCS, Azure, and what speaks like them."""

from __future__ import annotations

from chunkstore.backends.base import Backend
from chunkstore.backends.objects.place import Place, check_installed


def open_backend(place: Place, *, lock_timeout: float) -> Backend:
    """Return the back end of a place in an object store; no request is sent.

    Args:
        place: where that is.
        lock_timeout: seconds to try a change again that others are ahead of.

    Raises:
        ConfigurationError: obstore is not installed.
    """
    check_installed()
    from chunkstore.backends.objects.backend import ObjectBackend  # noqa: PLC0415 - few processes need it

    return ObjectBackend(place, lock_timeout=lock_timeout)
