"""The URL of a git remote without what may be secret in it."""

from __future__ import annotations

import re

_SCHEME = re.compile(
    r"(?P<scheme>(?:[a-z0-9]+::)?(?:https?|ssh|git|ftps?|file|git\+ssh|ssh\+git|git\+https?))(?::[/\\]+|:(?=[^/\\]))"
    r"|(?P<other>(?:[a-z0-9]+::)?[a-z][a-z0-9+.-]*)://+",
    re.IGNORECASE,
)
_AT = re.compile("@|%40|\uff20", re.IGNORECASE)
_QUERY = re.compile(r"[?#;&]")


def without_credentials(url: str) -> str:
    """Return the URL of a git remote without user, password and query, each of which may be a secret.

    Whatever stands before an `@` is left out, however the URL is spelt: a password may hold slashes, colons and marks.
    Where it cannot be told what is a secret, nothing is left but the scheme.
    """
    url = url.strip()
    if url.lower().startswith("ext::"):
        return "ext::"  # a command, with anything in it
    found = _SCHEME.match(url)
    if found is None:
        is_path = re.match(r"\.{0,2}/(?!/)", url) is not None
        return url if is_path else _shown(url, has_ports=False)
    scheme, rest = found["scheme"] or found["other"], url[found.end() :]
    if scheme.lower() == "file" and url[found.end("scheme") :].startswith(":///"):
        return f"{scheme}:///{_QUERY.split(rest)[0]}"
    return f"{scheme}://{_shown(rest, has_ports=True)}"


def _shown(text: str, *, has_ports: bool) -> str:
    """Return what may be shown of the text behind a scheme."""
    mark = _QUERY.search(text)
    if mark is not None and _AT.search(text, mark.start()):
        return ""  # a password with such a mark in it, or a query with an `@`: nobody can tell
    text = _AT.split(_QUERY.split(text)[0])[-1]
    port = re.match(r"(?:\[[^]]*\]|[^/:]*):([^/]*)", text)
    return "" if has_ports and port is not None and not re.fullmatch("[0-9]*", port[1]) else text
