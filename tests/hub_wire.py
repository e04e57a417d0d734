"""What the Hub's double speaks: requests, answers, faults, and the little HTTP server that carries them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Barrier
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

#: `whole`: no Range; `short`: a wrong length; `lost`: the work is done, then the connection closes without an answer
#: (with a status, that is answered instead).
Action = Literal["status", "cut", "corrupt", "sleep", "whole", "short", "lost"]


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Fault:
    path: str
    action: Action
    times: int
    methods: tuple[str, ...] = ("GET", "HEAD", "POST")
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    after: int | None = None
    seconds: float = 0.0
    #: With `sleep`: answered when as many requests are here as it counts.
    gate: Barrier | None = None

    @property
    def answer(self) -> Answer:
        return as_json({"error": "injected"}, self.status or 500, self.headers)

    def strikes(self, request: Request) -> bool:
        return self.times > 0 and request.method in self.methods and re.search(self.path, request.path) is not None


class Refusal(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        self.answer = as_json({"error": message}, status, {"X-Error-Code": code, "X-Error-Message": message})


def as_json(told: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(told).encode())


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error here."""


def handler(answer_to: Callable[[Request], tuple[Answer, Fault | None]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # One packet per answer: head and body apart wait for each other's acknowledgement.
        wbufsize, disable_nagle_algorithm = -1, True

        def _serve(self) -> None:
            url = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self._body(headers)
            answer, fault = answer_to(Request(self.command, url.path, parse_qs(url.query), headers, body))
            if fault and fault.action == "lost" and not fault.status:
                self.close_connection = True
                return
            sent = answer.body
            if sent and fault and fault.action == "corrupt":
                sent = bytes([sent[0] ^ 0xFF]) + sent[1:]
            if fault and fault.action == "short":
                sent = sent[: fault.after]
            self.send_response(answer.status)
            for name, value in {**answer.headers, "Content-Length": str(len(sent))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            if fault and fault.action == "cut":
                sent = sent[: fault.after if fault.after is not None else len(sent) // 2]
                self.close_connection = True
            self.wfile.write(sent)

        def _body(self, headers: Mapping[str, str]) -> bytes:
            if "chunked" not in headers.get("transfer-encoding", ""):
                return self.rfile.read(int(headers.get("content-length", 0)))
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

        def log_message(self, format: str, *words: object) -> None:
            pass

    return Handler
