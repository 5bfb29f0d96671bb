"""A fake of Google Cloud Storage, as there is no server of Google's that runs elsewhere.

It speaks what obstore speaks: the XML API. It keeps what Google promises of conditions (a generation that only grows,
`x-goog-if-generation-match`, 0 for what is not there) and refuses what Google would refuse or, worse, would ignore:
a put with the conditions of S3, a generation that is no number.
"""

import hashlib
import itertools
import json
import threading
from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "chunkstore-tests"
_META = "x-goog-meta-"
_KEPT = ("content-type", "cache-control", "content-encoding", "content-disposition", "content-language")
_UNKNOWN = ("if-match", "if-none-match", "x-ms-", "x-amz-")


@dataclass(frozen=True)
class _Object:
    data: bytes
    generation: int
    headers: dict[str, str]
    modified: str = field(default_factory=lambda: formatdate(usegmt=True))

    @property
    def e_tag(self) -> str:
        return f'"{hashlib.md5(self.data, usedforsecurity=False).hexdigest()}"'


class _Refused(Exception):  # noqa: N818 - it is a reply
    def __init__(self, status: int, code: str) -> None:
        super().__init__(status, code)
        self.status, self.code = status, code


class FakeGcs:
    """A fake that answers inside of a `with` block, on threads of this process."""

    depth = 1

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.fake = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._turn = threading.Lock()
        self._generations = itertools.count(1_700_000_000_000_000)
        self._objects: dict[str, _Object] = {}
        self._uploads: dict[str, tuple[dict[str, str], dict[int, bytes]]] = {}
        #: How many objects a page of a listing has at most.
        self.page_size = 1000
        #: Where it listens.
        self.address = self._server.server_address
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        """Answer."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def url(self, prefix: str) -> str:
        """Return the URL of a prefix in the only bucket."""
        return f"gs://{BUCKET}/{prefix}"

    def options(self, endpoint: str | None = None) -> dict[str, Any]:
        """Return the options of a store in the bucket, through a proxy if its URL is given."""
        account = {"gcs_base_url": endpoint or self.endpoint, "disable_oauth": True}
        account |= dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
        return {"service_account_key": json.dumps(account), "allow_http": True}

    def environment(self, endpoint: str | None = None) -> dict[str, str]:
        """Return the same as variables of the environment."""
        return {
            "GOOGLE_SERVICE_ACCOUNT_KEY": self.options(endpoint)["service_account_key"],
            "GOOGLE_ALLOW_HTTP": "true",
        }

    def put(self, key: str, data: bytes, headers: dict[str, str]) -> _Object:
        """Put an object, if its generation is the one that the headers say."""
        for name in headers:
            if name.startswith(_UNKNOWN):
                raise _Refused(400, f"Google does not know {name} here")
        wanted = headers.get("x-goog-if-generation-match")
        if wanted is not None and not wanted.isdecimal():
            raise _Refused(400, "InvalidArgument")
        kept = {name: value for name, value in headers.items() if name.startswith(_META) or name in _KEPT}
        with self._turn:
            there = self._objects.get(key)
            if wanted is not None and int(wanted) != (there.generation if there else 0):
                raise _Refused(412, "PreconditionFailed")
            made = self._objects[key] = _Object(data, next(self._generations), kept)
        return made

    def get(self, key: str) -> _Object:
        """Return an object."""
        with self._turn:
            if key not in self._objects:
                raise _Refused(404, "NoSuchKey")
            return self._objects[key]

    def delete(self, key: str) -> None:
        """Delete an object."""
        with self._turn:
            if self._objects.pop(key, None) is None:
                raise _Refused(404, "NoSuchKey")

    def copy(self, source: str, key: str, headers: dict[str, str]) -> _Object:
        """Copy an object."""
        copied = self.get(source)
        return self.put(
            key, copied.data, copied.headers | {n: v for n, v in headers.items() if n.startswith("x-goog-if")}
        )

    def list(self, asked: dict[str, str]) -> str:
        """Return a page of the listing, as XML."""
        prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "")
        after = max(asked.get("start-after", ""), asked.get("continuation-token", ""))
        size = min(int(asked.get("max-keys", self.page_size)), self.page_size)
        with self._turn:
            keys = sorted(key for key in self._objects if key.startswith(prefix))
            found: dict[str, _Object | None] = {}
            for key in keys:
                cut = key.find(delimiter, len(prefix)) if delimiter else -1
                name = key if cut < 0 else key[: cut + len(delimiter)]
                if name > after and not (cut >= 0 and after.startswith(name)):
                    found[name] = self._objects[key] if cut < 0 else None
        page = list(found.items())[:size]
        parts = [_entry(name, each) for name, each in page]
        more = len(found) > len(page)
        token = f"<NextContinuationToken>{escape(page[-1][0])}</NextContinuationToken>" if more else ""
        head = f"<Name>{BUCKET}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount>"
        truncated = f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        return f"<ListBucketResult>{head}{truncated}{token}{''.join(parts)}</ListBucketResult>"

    def begin_upload(self, key: str, headers: dict[str, str]) -> str:
        """Begin an upload in parts; return XML that names it."""
        with self._turn:
            upload = f"upload-{next(self._generations)}"
            self._uploads[upload] = (headers, {})
        names = f"<Bucket>{BUCKET}</Bucket><Key>{escape(key)}</Key><UploadId>{upload}</UploadId>"
        return f"<InitiateMultipartUploadResult>{names}</InitiateMultipartUploadResult>"

    def put_part(self, upload: str, number: int, data: bytes) -> str:
        """Take a part of an upload; return its tag."""
        with self._turn:
            self._uploads[upload][1][number] = data
        return _Object(data, 0, {}).e_tag

    def end_upload(self, key: str, upload: str) -> str:
        """Make an object of the parts; return XML that names it."""
        with self._turn:
            headers, parts = self._uploads.pop(upload)
        made = self.put(key, b"".join(parts[number] for number in sorted(parts)), headers)
        return f"<CompleteMultipartUploadResult><ETag>{escape(made.e_tag)}</ETag></CompleteMultipartUploadResult>"


def _entry(name: str, found: _Object | None) -> str:
    if found is None:
        return f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"
    modified = parsedate_to_datetime(found.modified).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    what = f"<Key>{escape(name)}</Key><Generation>{found.generation}</Generation><Size>{len(found.data)}</Size>"
    return f"<Contents>{what}<LastModified>{modified}</LastModified><ETag>{escape(found.e_tag)}</ETag></Contents>"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # a reply goes out in one piece
    disable_nagle_algorithm = True

    def _answer(self) -> None:
        split = urlsplit(self.path)
        bucket, _, key = split.path[1:].partition("/")
        asked = {name: values[0] for name, values in parse_qs(split.query, keep_blank_values=True).items()}
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            self._do(unquote(bucket), unquote(key), asked, headers, data)
        except _Refused as refused:
            self._reply(refused.status, f"<Error><Code>{escape(refused.code)}</Code></Error>".encode())

    do_DELETE = do_GET = do_HEAD = do_POST = do_PUT = _answer  # noqa: N815

    def _do(self, bucket: str, key: str, asked: dict[str, str], headers: dict[str, str], data: bytes) -> None:
        fake: FakeGcs = self.server.fake  # type: ignore[attr-defined]
        if bucket != BUCKET:
            raise _Refused(404, "NoSuchBucket")
        match self.command:
            case "PUT" if "uploadId" in asked:
                self._reply(200, b"", {"ETag": fake.put_part(asked["uploadId"], int(asked["partNumber"]), data)})
            case "PUT" if "x-goog-copy-source" in headers:
                source = unquote(headers["x-goog-copy-source"]).partition("/")[2]
                self._reply(200, b"<CopyObjectResult/>", _shown(fake.copy(source, key, headers)))
            case "PUT":
                self._reply(200, b"", _shown(fake.put(key, data, headers)))
            case "POST" if "uploads" in asked:
                self._reply(200, fake.begin_upload(key, headers).encode())
            case "POST":
                self._reply(200, fake.end_upload(key, asked["uploadId"]).encode())
            case "GET" if not key:
                self._reply(200, fake.list(asked).encode())
            case "GET" | "HEAD":
                self._get(fake.get(key), headers)
            case "DELETE":
                fake.delete(key)
                self._reply(204, b"")

    def _get(self, found: _Object, headers: dict[str, str]) -> None:
        if "range" not in headers:
            return self._reply(200, found.data, _shown(found))
        first, _, last = headers["range"].removeprefix("bytes=").partition("-")
        size = len(found.data)
        begin = int(first) if first else max(0, size - int(last))
        end = min(int(last), size - 1) if first and last else size - 1
        if begin > end:
            raise _Refused(416, "InvalidRange")
        where = {"Content-Range": f"bytes {begin}-{end}/{size}"}
        return self._reply(206, found.data[begin : end + 1], _shown(found) | where)

    def _reply(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Print nothing."""


def _shown(found: _Object) -> dict[str, str]:
    shown = {"ETag": found.e_tag, "x-goog-generation": str(found.generation), "Last-Modified": found.modified}
    return shown | found.headers
