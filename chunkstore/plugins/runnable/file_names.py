"""Names that runnable gives to files, kept within what file systems take."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import wraps
from typing import Any

_LONGEST_FILE_NAME = 255
_LOG_SUFFIX = ".execution.log"
#: Letters that runnable puts before the suffix, so that names of several attempts differ.
_TAG_LENGTH = 3
_KEPT_BYTES = 160


def within_limits(make_name: Callable[..., str]) -> Callable[..., str]:
    """Return `make_name`, which names the file for what a step prints, with names that every file system takes.

    runnable puts the items of a map into that name, so that a step fails for a long item after all its work is done.
    """

    @wraps(make_name)
    def make_log_file_name(*args: Any, **kwargs: Any) -> str:
        name = make_name(*args, **kwargs)
        if len(name.encode()) <= _LONGEST_FILE_NAME:
            return name
        stem = name.removesuffix(_LOG_SUFFIX)
        digest = hashlib.sha256(stem[:-_TAG_LENGTH].encode()).hexdigest()[:16]
        kept = stem.encode()[:_KEPT_BYTES].decode(errors="ignore")
        return f"{kept}{digest}{stem[-_TAG_LENGTH:]}{_LOG_SUFFIX}"

    return make_log_file_name
