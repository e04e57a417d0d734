"""A stand-in for the Hub on this machine: the download half of its wire protocol, with faults on demand.

`hub_uploads` adds the other half.

Repositories are commits, a commit is a map of path to bytes. The server routes on the raw path (a revision is one
quoted segment) and sends LFS content from another host name, as the Hub does: huggingface_hub follows redirects to the
same host by itself and would then miss the headers of the first answer.

    with HubDouble() as hub:                                    # hub.endpoint goes into HF_ENDPOINT before the import
        first = hub.commit("me/pairs", {"train.jsonl": b"{}"})
        hub.fault("/resolve/", "status", status=503, times=2)
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from tests.hub_wire import Action, Answer, Fault, Refusal, Request, Server, as_json, handler

LFS_SUFFIXES = (".parquet", ".arrow", ".gz", ".zst", ".zip", ".bin", ".npy")
LFS_BYTES = 10 * 2**20
Tree = dict[str, "Blob"]


@dataclass(frozen=True)
class Blob:
    content: bytes
    is_lfs: bool

    @property
    def size(self) -> int:
        return len(self.content)

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def git_sha1(self) -> str:
        """What git stores: the content, or the pointer to it."""
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n"
        stored = pointer.encode() if self.is_lfs else self.content
        return hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest()

    def told(self, path: str) -> dict[str, Any]:
        told = {"type": "file", "path": path, "size": self.size, "oid": self.git_sha1}
        return {**told, "lfs": {"oid": self.sha256, "size": told["size"], "pointerSize": 134}} if self.is_lfs else told


@dataclass(frozen=True)
class Commit:
    parent: str | None
    tree: Tree


@dataclass
class Repository:
    """`readers` are the users who accepted the terms; None where there are none to accept."""

    id: str
    is_private: bool = False
    readers: set[str] | None = None
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)


class HubDouble:
    """State, routes and server in one. `requests` holds every request so far, `tokens` maps a token to its user."""

    def __init__(self, port: int = 0) -> None:
        self.repositories: dict[str, Repository] = {}
        self.tokens: dict[str, str] = {}
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.page_size = 1000
        self.routes = ROUTES
        self.lock = threading.RLock()
        self._server = Server(("127.0.0.1", port), handler(self.answer))  # loopback only
        self.port = self._server.server_port
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> HubDouble:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reset(self) -> None:
        """Forget everything but the address."""
        with self.lock:
            for held in (self.repositories, self.tokens, self.requests, self.faults):
                held.clear()
            self.page_size = 1000

    def repository(self, name: str) -> Repository:
        return self.repositories.setdefault(name, Repository(name))

    def commit(self, name: str, files: Mapping[str, bytes | None], ref: str = "main") -> str:
        """Put files on top of a ref (None deletes) and move it; returns the commit."""
        with self.lock:
            repository = self.repository(name)
            parent = repository.refs.get(ref)
            tree = dict(repository.commits[parent].tree) if parent else {}
            for path, content in files.items():
                tree.pop(path, None)
                if content is not None:
                    is_lfs = path.endswith(LFS_SUFFIXES) or len(content) > LFS_BYTES
                    tree[path] = Blob(content, is_lfs)
            told = [name, parent, sorted((path, blob.sha256) for path, blob in tree.items())]
            commit = hashlib.sha1(json.dumps(told).encode()).hexdigest()
            repository.commits[commit] = Commit(parent, tree)
            repository.refs[ref] = commit
            return commit

    def mount(self, name: str, folder: Path) -> str:
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        return self.commit(name, {path: file.read_bytes() for path, file in files.items()})

    def fault(self, path: str, action: Action, times: int = 1, **details: Any) -> None:
        """Spoil the next `times` requests whose raw path holds the regular expression `path`."""
        with self.lock:
            self.faults.append(Fault(path, action, times, **details))

    def answer(self, request: Request) -> tuple[Answer, Fault | None]:
        with self.lock:
            self.requests.append(request)
            fault = next((fault for fault in self.faults if fault.strikes(request)), None)
            if fault:
                fault.times -= 1
        time.sleep(fault.seconds if fault else 0)
        if fault and fault.gate:
            fault.gate.wait(60)
        if fault and fault.action == "whole":
            request = replace(request, headers={k: v for k, v in request.headers.items() if k != "range"})
        if fault and fault.action == "status":
            return fault.answer, fault
        for methods, pattern, route in self.routes:
            if request.method in methods and (match := pattern.fullmatch(request.path)):
                words = {name: unquote(word) for name, word in match.groupdict().items() if word is not None}
                try:
                    with self.lock:
                        answer = route(self, request, **words)
                    return (fault.answer if fault and fault.action == "lost" else answer), fault
                except Refusal as refusal:
                    return refusal.answer, fault
        return as_json({"error": "no such route"}, 404), fault

    def user(self, request: Request) -> str | None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token and token not in self.tokens:
            raise Refusal(401, "", "Invalid credentials in Authorization header")
        return self.tokens.get(token)

    def readable(self, request: Request, name: str) -> Repository:
        user, repository = self.user(request), self.repositories.get(name)
        if repository and (user or not repository.is_private):
            return repository
        raise Refusal(404 if user else 401, "RepoNotFound", "Repository not found")

    @staticmethod
    def resolve(repository: Repository, revision: str) -> str:
        for ref in (revision, f"refs/tags/{revision}"):
            if ref in repository.refs:
                return repository.refs[ref]
        if revision in repository.commits:
            return revision
        raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")

    def tree(self, request: Request, name: str, rev: str) -> Tree:
        repository = self.readable(request, name)
        return repository.commits[self.resolve(repository, rev)].tree

    def get_info(self, request: Request, name: str, rev: str = "main") -> Answer:
        repository = self.readable(request, name)
        commit = self.resolve(repository, rev)
        siblings = [{"rfilename": path} for path in sorted(repository.commits[commit].tree)]
        told = {"id": name, "sha": commit, "private": repository.is_private, "tags": [], "siblings": siblings}
        return as_json({**told, "gated": "auto" if repository.readers is not None else False})

    def get_tree(self, request: Request, name: str, rev: str, path: str = "") -> Answer:
        tree = self.tree(request, name, rev)
        start = f"{path.strip('/')}/" if path else ""
        is_deep = request.query.get("recursive", [""])[0].lower() in ("1", "true")
        entries: dict[str, dict[str, Any]] = {}
        for file, blob in tree.items():
            if file.startswith(start):
                steps = file[len(start) :].split("/")
                for depth in range(1, len(steps) if is_deep else min(2, len(steps))):
                    folder = start + "/".join(steps[:depth])
                    entries[folder] = {"type": "directory", "path": folder, "size": 0, "oid": "0" * 40}
                if is_deep or len(steps) == 1:
                    entries[file] = blob.told(file)
        if path and not entries:
            raise Refusal(404, "EntryNotFound", f"{path} does not exist")
        told = [entries[key] for key in sorted(entries)]
        cursor = int(request.query.get("cursor", ["0"])[0])
        end = cursor + self.page_size
        link = f'<{self.endpoint}{request.path}?recursive={is_deep}&cursor={end}>; rel="next"'
        return as_json(told[cursor:end], headers={"Link": link} if end < len(told) else None)

    def post_paths_info(self, request: Request, name: str, rev: str) -> Answer:
        tree = self.tree(request, name, rev)
        paths = parse_qs(request.body.decode()).get("paths", [])
        return as_json([tree[path].told(path) for path in paths if path in tree])

    def get_file(self, request: Request, name: str, rev: str, path: str) -> Answer:
        repository = self.readable(request, name)
        if repository.readers is not None and self.user(request) not in repository.readers:
            raise Refusal(403, "GatedRepo", f"Access to dataset {name} is restricted")
        commit = self.resolve(repository, rev)
        blob = repository.commits[commit].tree.get(path)
        if blob is None:
            raise Refusal(404, "EntryNotFound", "Entry not found")
        headers = {"X-Repo-Commit": commit, "ETag": f'"{blob.git_sha1}"'}
        if not blob.is_lfs:
            return self.ranged(request, blob, headers)
        # A link as the Hub signs them: whoever has it may read.
        location = f"http://localhost:{self.port}/_cdn/{blob.sha256}?X-Signature=signed-link-canary"
        linked = {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(blob.size), "Location": location}
        return Answer(302, headers | linked)

    def get_blob(self, request: Request, sha256: str) -> Answer:
        trees = (commit.tree for repository in self.repositories.values() for commit in repository.commits.values())
        for blob in (blob for tree in trees for blob in tree.values() if blob.sha256 == sha256):
            return self.ranged(request, blob, {"ETag": f'"{sha256}"'})
        raise Refusal(404, "", "no such object")

    @staticmethod
    def ranged(request: Request, blob: Blob, headers: Mapping[str, str]) -> Answer:
        headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **headers}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if not asked:
            return Answer(200, headers, blob.content)
        size, start = len(blob.content), int(asked[1])
        end = int(asked[2] or size - 1)
        if start >= size:
            return Answer(416, {"Content-Range": f"bytes */{size}"})
        return Answer(206, {**headers, "Content-Range": f"bytes {start}-{end}/{size}"}, blob.content[start : end + 1])


REPO, PAGE = r"/api/datasets/(?P<name>[^/]+/[^/]+)", r"/datasets/(?P<name>[^/]+/[^/]+)"
#: Functions of (hub, request, **words of the path).
ROUTES: list[tuple[tuple[str, ...], re.Pattern[str], Callable[..., Answer]]] = [
    (("GET",), re.compile(REPO + r"(?:/revision/(?P<rev>[^/]+))?"), HubDouble.get_info),
    (("GET",), re.compile(REPO + r"/tree/(?P<rev>[^/]+)(?:/(?P<path>.+))?"), HubDouble.get_tree),
    (("POST",), re.compile(REPO + r"/paths-info/(?P<rev>[^/]+)"), HubDouble.post_paths_info),
    (("GET", "HEAD"), re.compile(PAGE + r"/resolve/(?P<rev>[^/]+)/(?P<path>.+)"), HubDouble.get_file),
    (("GET", "HEAD"), re.compile(r"/_cdn/(?P<sha256>[0-9a-f]{64})"), HubDouble.get_blob),
]


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve folders as Hub datasets on this machine.")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--mount", metavar="ORG/NAME=FOLDER", action="append", default=[])
    told = parser.parse_args()
    with HubDouble(told.port) as hub:
        for mount in told.mount:
            name, _, folder = mount.partition("=")
            sys.stdout.write(f"{name} at {hub.mount(name, Path(folder))}\n")
        sys.stdout.write(f"export HF_ENDPOINT={hub.endpoint}\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main()
