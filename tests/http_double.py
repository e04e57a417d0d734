"""A small file server on this machine that answers as it is told: whole, ranged, cut, wrong, changed, redirected."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


@dataclass
class Reply:
    """What happens to one request; the plain one serves the file honestly, with ETag, Range and If-Range."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    cut: int | None = None  # hang up after so many bytes of the body
    ignore_range: bool = False
    ignore_if_range: bool = False
    corrupt: bool = False
    before: Callable[[], object] | None = None  # runs first: the file may change now


class FileServer:
    """`files` maps a path (without its first slash) to content; `replies` are used up one per request."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.replies: list[Reply] = []
        self.always: Reply | None = None
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.has_etag = True
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.base = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FileServer:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def ranges(self) -> list[str | None]:
        return [headers.get("range") for _, headers in self.requests]

    def answer(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes, Reply]:
        self.requests.append((path, headers))
        reply = self.replies.pop(0) if self.replies else self.always or Reply()
        if reply.before:
            reply.before()
        if reply.status is not None and reply.body is None:
            return reply.status, reply.headers, b"", reply
        content = self.files.get(path) if reply.body is None else reply.body
        if content is None:
            return 404, {}, b"", reply
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        told = {"ETag": etag} if self.has_etag else {}
        asked, status = headers.get("range"), reply.status or 200
        is_same = reply.ignore_if_range or headers.get("if-range") in (None, etag)
        if asked and is_same and not reply.ignore_range:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            told["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            status, content = 206, content[start:]
        if reply.corrupt:
            content = bytes([content[0] ^ 1]) + content[1:]
        return status, {**told, **reply.headers}, content, reply


def _handler(server: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            told = {name.lower(): value for name, value in self.headers.items()}
            status, headers, body, reply = server.answer(unquote(self.path.partition("?")[0]).lstrip("/"), told)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                if value:
                    self.send_header(name, value)
            self.close_connection = True
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body if reply.cut is None else body[: reply.cut])

        def log_message(self, format: str, *words: Any) -> None:
            pass

    return Handler
