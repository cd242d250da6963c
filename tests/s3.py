"""A small object store that speaks S3, for tests: buckets in memory, whole and in parts, ranges, lists. It takes one access key, and
believes signatures."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

ACCESS_KEY = "test-key"
SECRET_KEY = "test-secret"


class Kept(NamedTuple):
    data: bytes
    at: float

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.data, usedforsecurity=False).hexdigest()}"'


class S3(ThreadingHTTPServer):
    """`objects` by `bucket/key`; `asked` is method and path of each request; `down` answers everything 503. Times are `now`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.objects: dict[str, Kept] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.asked: list[str] = []
        self.down = False
        self.now = 1_700_000_000.0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def environment(self) -> dict[str, str]:
        """What a client of this store is told by its environment."""
        return {
            "AWS_ENDPOINT_URL": self.url, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        }  # fmt: skip


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: S3

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _begin(self) -> tuple[str, dict[str, str], bytes] | None:
        """The object's name, the query, the body; None when the request was answered already."""
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.asked.append(f"{self.command} {parts.path}{'?' + parts.query if parts.query else ''}")
        if self.server.down:
            return self._answer(503)
        if f"Credential={ACCESS_KEY}/" not in self.headers.get("authorization", ""):
            return self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        return unquote(parts.path).strip("/"), query, body

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_PUT(self) -> None:
        if (asked := self._begin()) is None:
            return
        name, query, body = asked
        with self.server.lock:
            if "uploadId" in query:
                self.server.parts[query["uploadId"]][int(query["partNumber"])] = body
            else:
                self.server.objects[name] = Kept(body, self.server.now)
        self._answer(200, etag=Kept(body, 0).etag)

    def do_POST(self) -> None:
        if (asked := self._begin()) is None:
            return
        name, query, body = asked
        with self.server.lock:
            if "uploads" in query:
                upload = f"upload-{len(self.server.parts)}"
                self.server.parts[upload] = {}
                told = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            elif "uploadId" in query:
                parts = self.server.parts.pop(query["uploadId"])
                kept = self.server.objects[name] = Kept(b"".join(parts[number] for number in sorted(parts)), self.server.now)
                told = f"<CompleteMultipartUploadResult><ETag>{escape(kept.etag)}</ETag></CompleteMultipartUploadResult>"
            else:
                gone = re.findall(r"<Key>(.*?)</Key>", body.decode())
                for key in gone:
                    self.server.objects.pop(f"{name}/{key}", None)
                deleted = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in gone)
                told = f"<DeleteResult>{deleted}</DeleteResult>"
        self._answer(200, told.encode())

    def do_DELETE(self) -> None:
        if (asked := self._begin()) is None:
            return
        self.server.objects.pop(asked[0], None)
        self._answer(204)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if (asked := self._begin()) is None:
            return
        name, query, _ = asked
        if "list-type" in query:
            self._answer(200, self._listed(name, query.get("prefix", "")))
            return
        kept = self.server.objects.get(name)
        if kept is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        told = {"etag": kept.etag, "last_modified": formatdate(kept.at, usegmt=True)}
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        if found is None:
            self._answer(200, kept.data, **told)
            return
        data = kept.data[int(found[1]) : int(found[2]) + 1]
        place = f"bytes {found[1]}-{int(found[1]) + len(data) - 1}/{len(kept.data)}"
        self._answer(206, data, **told, content_range=place)

    def _listed(self, bucket: str, prefix: str) -> bytes:
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>{_date(kept.at)}</LastModified>"
            f"<ETag>{escape(kept.etag)}</ETag><Size>{len(kept.data)}</Size></Contents>"
            for name, kept in sorted(self.server.objects.items())
            for key in [name.removeprefix(f"{bucket}/")]
            if name.startswith(f"{bucket}/") and key.startswith(prefix)
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>".encode()


def _date(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S.000Z}"


@contextmanager
def serving() -> Iterator[S3]:
    server = S3()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
