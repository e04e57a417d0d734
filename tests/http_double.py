"""A file server on this machine that answers as it is told: whole, ranged, cut, slow, wrong, changed, redirected.

It is pytest-httpserver with one handler; ETag, Range, If-Range and Last-Modified are werkzeug's own reading of the
standard, which shares nothing with ours.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response
from werkzeug.exceptions import RequestedRangeNotSatisfiable

#: A body is sent in pieces of this size.
PIECE = 1 << 18


@dataclass
class Reply:
    """What happens to one request; the plain one serves the file honestly, with ETag, Range and If-Range."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)  # in place of those it would have; empty: left out
    body: bytes | None = None
    cut: int | None = None  # hang up after so many bytes of the body
    slow: float = 0.0  # seconds before each piece of the body
    ignore_range: bool = False
    ignore_if_range: bool = False
    corrupt: bool = False
    before: Callable[[], object] | None = None  # runs first: the file may change now


class FileServer:
    """`files` maps a path (without its first slash) to content; `replies` are used up one per request.

    `requests` holds path and headers, names in lower case, of every request so far.
    """

    def __init__(self, server: HTTPServer) -> None:
        self.files: dict[str, bytes] = {}
        self.replies: list[Reply] = []
        self.always: Reply | None = None
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.has_etag = True
        self.base = server.url_for("").rstrip("/")
        server.expect_request(re.compile(".*")).respond_with_handler(self.answer)

    def ranges(self) -> list[str | None]:
        return [headers.get("range") for _, headers in self.requests]

    def answer(self, request: Request) -> Response:
        path = request.path.lstrip("/")
        self.requests.append((path, {name.lower(): value for name, value in request.headers.items()}))
        reply = self.replies.pop(0) if self.replies else self.always or Reply()
        if reply.before:
            reply.before()
        if reply.status is not None and reply.body is None:
            return _Told(reply, Response(b"", reply.status))
        content = self.files.get(path) if reply.body is None else reply.body
        if content is None:
            return Response(b"", 404)
        answer = Response(content, reply.status or 200, content_type="application/octet-stream")
        if self.has_etag:
            answer.set_etag(hashlib.md5(content).hexdigest())
        if "Last-Modified" in reply.headers:
            answer.headers["Last-Modified"] = reply.headers["Last-Modified"]
        environ = dict(request.environ)
        if reply.ignore_if_range:
            environ.pop("HTTP_IF_RANGE", None)
        if not reply.ignore_range and answer.status_code == 200:
            try:
                answer.make_conditional(environ, accept_ranges=True, complete_length=len(content))
            except RequestedRangeNotSatisfiable as refused:
                return refused.get_response()
        return _Told(reply, answer)


class _Told(Response):
    """An answer with what the reply says in place of the truth; its length is then nobody's concern."""

    automatically_set_content_length = False

    def __init__(self, reply: Reply, honest: Response) -> None:
        content = honest.get_data()
        if reply.corrupt:
            content = bytes([content[0] ^ 1]) + content[1:]
        headers = {**dict(honest.headers), "Content-Length": str(len(content)), **reply.headers}
        super().__init__(
            _pieces(content[: reply.cut], reply.slow),
            honest.status,
            {name: value for name, value in headers.items() if value},
            direct_passthrough=True,
        )


def _pieces(content: bytes, pause: float) -> Iterator[bytes]:
    for start in range(0, len(content), PIECE):
        time.sleep(pause)
        yield content[start : start + PIECE]
