"""Requests to an object store: what they ask for, and how many there were."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit


@dataclass
class Request:
    """One request.

    Attributes:
        method: GET, PUT, …
        operation: `get`, `put`, `head`, `list`, `delete`, `delete many`, `copy`, or `part` for all that large objects
            take beside one put.
        key: the key in the bucket; of a listing, the prefix.
        query: the parameters of its URL.
        headers: its headers, their names in lower case.
        size: the number of bytes of its body.
        status: the status of the reply that the client got, 0 while there was none.
        fault: what happened to it on purpose.
    """

    method: str
    operation: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    size: int
    status: int = 0
    fault: str = ""

    @property
    def is_conditional(self) -> bool:
        """Whether it is done only if the object is as the client knows it."""
        return any(name in self.headers for name in CONDITIONS)

    def __str__(self) -> str:
        """Return what it asks for, on a line."""
        return f"{self.operation} {self.key}" + (f" ({self.fault})" if self.fault else "")


#: The headers by which S3, Azure and Google make a put conditional.
CONDITIONS = ("if-match", "if-none-match", "x-goog-if-generation-match")


def parsed(method: str, target: str, headers: dict[str, str], size: int, depth: int) -> Request:
    """Return the request of a method and target; so many segments of the path name the bucket."""
    split = urlsplit(target)
    query = dict(parse_qsl(split.query, keep_blank_values=True))
    parts = unquote(split.path).lstrip("/").split("/", depth)
    key = parts[depth] if len(parts) > depth else ""
    operation = _operation(method, key, query, headers)
    if operation == "list":
        key = query.get("prefix", "")
    return Request(method, operation, key, query, headers, size)


def _operation(method: str, key: str, query: dict[str, str], headers: dict[str, str]) -> str:
    if method == "POST" and ("delete" in query or query.get("comp") == "batch"):
        return "delete many"
    if method == "GET" and not key:
        return "list"
    if "uploads" in query or "uploadId" in query or query.get("comp") in {"block", "blocklist"}:
        return "part"
    if any(name in headers for name in ("x-amz-copy-source", "x-ms-copy-source", "x-goog-copy-source")):
        return "copy"
    return method.lower()


class Counted:
    """The requests that came while somebody counted them.

    Attributes:
        requests: each of them, in the order of their arrival, unless they are not kept.
        by_operation: how many there were of each operation.
        total: how many there were.
        most_at_once: how many were under way at the same time.
    """

    def __init__(self, *, keeps: bool = True) -> None:
        self.requests: list[Request] = []
        self.by_operation: Counter[str] = Counter()
        self.total = 0
        self.most_at_once = 0
        self._keeps = keeps

    def add(self, request: Request, under_way: int) -> None:
        """Count a request, and those that are under way with it."""
        if self._keeps:
            self.requests.append(request)
        self.by_operation[request.operation] += 1
        self.total += 1
        self.most_at_once = max(self.most_at_once, under_way)

    @property
    def puts(self) -> int:
        """How many puts there were."""
        return self.by_operation["put"]

    @property
    def gets(self) -> int:
        """How many gets there were."""
        return self.by_operation["get"]

    @property
    def heads(self) -> int:
        """How often only metadata was asked for."""
        return self.by_operation["head"]

    @property
    def lists(self) -> int:
        """How many pages of listings there were."""
        return self.by_operation["list"]

    @property
    def deletes(self) -> int:
        """How many deletions there were; one of many objects counts as one."""
        return self.by_operation["delete"] + self.by_operation["delete many"]

    def __str__(self) -> str:
        """Return the requests, one a line."""
        return "\n".join(map(str, self.requests))
