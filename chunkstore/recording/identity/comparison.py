"""Which code a step runs, and whether two steps ran the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from chunkstore.recording.identity.git import GIT
from chunkstore.recording.identity.hashing import function_identity, is_unknown
from chunkstore.records.models import CodeIdentity


def identities(commit: CodeIdentity | None, function: Callable[..., Any] | None) -> list[CodeIdentity]:
    """Return what is known of the code that a step runs: the commit, and the function if it runs one."""
    known = [commit, function_identity(function) if function is not None else None]
    return [identity for identity in known if identity is not None]


def same_code(one: Iterable[CodeIdentity], other: Iterable[CodeIdentity]) -> bool:
    """Tell whether two lists of identities speak of the same code; of what is unknown, nobody can tell."""
    before, after = list(one), list(other)
    return not any(map(is_unknown, (*before, *after))) and _facts(before) == _facts(after)


def _facts(code: Iterable[CodeIdentity]) -> set[tuple[str | None, ...]]:
    return {
        # The message of a git identity tells of uncommitted changes; that of a function only where it stands.
        (
            identity.code_identifier_type,
            identity.code_identifier,
            identity.code_identifier_message if identity.code_identifier_type == GIT else "",
        )
        for identity in code
    }
