"""The upload half of the Hub's double: repositories made and changed over the wire, as huggingface_hub 2.4 does it.

A commit comes as lines of JSON: small files inside it, large ones by the sha256 of content sent before, through LFS
(one PUT each) or, when the double is given a folder for it, through Xet: hf_xet then keeps its chunks in that folder
(its own `local://` scheme for tests) and the double only reads which sha256 they make up. Models live under `models/`.

    with UploadDouble() as hub:
        hub.tokens["hf_x"] = "alice"
        ...                                                     # HF_ENDPOINT=hub.endpoint HF_TOKEN=hf_x m3e publish ...
        hub.head("me/pairs").tree["README.md"].content
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hub_double import LFS_BYTES, LFS_SUFFIXES, PAGE, REPO, ROUTES, Blob, Commit, HubDouble, Repository, Tree
from tests.hub_wire import Answer, Fault, Refusal, Request, as_json

#: Suffixes that a fresh repository keeps in LFS, as the Hub's own .gitattributes has them.
ATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES).encode()


@dataclass(frozen=True)
class XetBlob(Blob):
    """Content that lies in chunks: known by its checksum, its size and Xet's name for it."""

    known: str = ""
    bytes: int = 0
    xet: str = ""

    @property
    def size(self) -> int:
        return self.bytes

    @property
    def sha256(self) -> str:  # type: ignore[override]
        return self.known

    def told(self, path: str) -> dict[str, Any]:
        return super().told(path) | {"xetHash": self.xet}


class UploadDouble(HubDouble):
    """A double that can be written to. `objects` holds LFS content by sha256, also what no commit names.

    `watch` is told the number of every request, from 1, when it came (False) and when its work is done (True).
    """

    def __init__(self, port: int = 0, xet: Path | None = None) -> None:
        super().__init__(port)
        self.routes = [*_MINE, *ROUTES]
        self.objects: dict[str, bytes] = {}
        self.xet = xet
        self.watch: Callable[[int, bool], None] = lambda number, is_done: None
        self.seen = 0

    def answer(self, request: Request) -> tuple[Answer, Fault | None]:
        with self.lock:
            self.seen += 1
            number = self.seen
        self.watch(number, False)
        answer = super().answer(request)
        self.watch(number, True)
        return answer

    def reset(self) -> None:
        super().reset()
        with self.lock:
            self.objects.clear()

    def head(self, name: str, ref: str = "main") -> Commit:
        repository = self.repositories[name]
        return repository.commits[repository.refs[ref]]

    def history(self, name: str, ref: str = "main") -> list[str]:
        """Commits from the newest to the first, which made the repository."""
        repository = self.repositories[name]
        at: str | None = repository.refs[ref]
        told = []
        while at:
            told.append(at)
            at = repository.commits[at].parent
        return told

    def writable(self, request: Request, name: str) -> Repository:
        if self.user(request) is None:
            raise Refusal(401, "", "Invalid username or password.")
        return self.readable(request, name)

    def write(self, repository: Repository, parent: str | None, tree: Tree, ref: str) -> str:
        told = [repository.id, parent, sorted((path, blob.sha256) for path, blob in tree.items())]
        oid = hashlib.sha1(json.dumps(told).encode()).hexdigest()
        repository.commits[oid] = Commit(parent, tree)
        repository.refs[ref] = oid
        return oid

    def post_create(self, request: Request) -> Answer:
        user, told = self.user(request), json.loads(request.body)
        if user is None:
            raise Refusal(401, "", "Invalid username or password.")
        name = f"{told.get('organization') or user}/{told['name']}"
        key = name if told.get("type") == "dataset" else f"models/{name}"
        url = f"{self.endpoint}/{'datasets/' if key == name else ''}{name}"
        if key in self.repositories:
            return as_json({"error": "You already created this repo", "url": url}, 409)
        made = self.repositories[key] = Repository(name, told.get("visibility") == "private")
        self.write(made, None, {".gitattributes": Blob(ATTRIBUTES, False)}, "main")
        return as_json({"url": url, "name": name, "id": name})

    def post_yaml(self, request: Request) -> Answer:
        return as_json({"errors": [], "warnings": []})

    def get_refs(self, request: Request, name: str) -> Answer:
        kinds: dict[str, list[dict[str, str]]] = {"branches": [], "converts": [], "tags": [], "pullRequests": []}
        starts = {"refs/tags/": "tags", "refs/pr/": "pullRequests", "refs/convert/": "converts"}
        for ref, commit in self.readable(request, name).refs.items():
            start = next((start for start in starts if ref.startswith(start)), "")
            told = {
                "name": ref.removeprefix(start),
                "ref": ref if start else f"refs/heads/{ref}",
                "targetCommit": commit,
            }
            kinds[starts.get(start, "branches")].append(told)
        return as_json(kinds)

    def post_tag(self, request: Request, name: str, rev: str) -> Answer:
        repository = self.writable(request, name)
        ref = f"refs/tags/{json.loads(request.body)['tag']}"
        if ref in repository.refs:
            raise Refusal(409, "", "Tag reference exists already.")
        repository.refs[ref] = self.resolve(repository, rev)
        return as_json({"success": True})

    def post_preupload(self, request: Request, name: str, rev: str) -> Answer:
        repository = self.writable(request, name)
        tree = repository.commits[self.resolve(repository, rev)].tree
        files = []
        for told in json.loads(request.body)["files"]:
            is_lfs = told["path"].endswith(LFS_SUFFIXES) or told["size"] > LFS_BYTES
            there = tree.get(told["path"])
            oid = None if there is None else there.sha256 if there.is_lfs else there.git_sha1
            mode = "lfs" if is_lfs else "regular"
            files.append({"path": told["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return as_json({"files": files})

    def post_batch(self, request: Request, name: str) -> Answer:
        self.writable(request, name)
        told = []
        for asked in json.loads(request.body)["objects"]:
            one = {"oid": asked["oid"], "size": asked["size"], "authenticated": True}
            if asked["oid"] not in self.objects:
                # As signed as the links the Hub gives: whoever has it may write.
                href = f"http://localhost:{self.port}/_lfs/{asked['oid']}?X-Signature=signed-link-canary"
                one["actions"] = {"upload": {"href": href, "header": {}}}
            told.append(one)
        return as_json({"transfer": "basic", "objects": told})

    def put_object(self, request: Request, sha256: str) -> Answer:
        if hashlib.sha256(request.body).hexdigest() != sha256:
            raise Refusal(400, "", "sha256 mismatch")
        self.objects[sha256] = request.body
        return Answer()

    def get_xet_token(self, request: Request, name: str, use: str, rev: str) -> Answer:
        (self.writable if use == "write" else self.readable)(request, name)
        if self.xet is None:
            raise Refusal(404, "", "no Xet here: set HF_HUB_DISABLE_XET=1")
        url, expires = f"local://{self.xet}", int(time.time()) + 3600
        headers = {"X-Xet-Cas-Url": url, "X-Xet-Access-Token": "xet", "X-Xet-Token-Expiration": str(expires)}
        return as_json({"casUrl": url, "accessToken": "xet", "exp": expires}, headers=headers)

    def get_linked(self, request: Request, name: str, rev: str, path: str) -> Answer:
        """A file for download; of one in chunks also where to ask for them."""
        answer = self.get_file(request, name, rev, path)
        blob = self.tree(request, name, rev)[path]
        if not isinstance(blob, XetBlob):
            return answer
        kind = name if name.startswith("models/") else f"datasets/{name}"
        route = f"{self.endpoint}/api/{kind}/xet-read-token/{answer.headers['X-Repo-Commit']}"
        told = {"X-Xet-Hash": blob.xet, "X-Xet-Refresh-Route": route}
        return Answer(answer.status, {**answer.headers, **told}, answer.body)

    def post_commit(self, request: Request, name: str, rev: str) -> Answer:
        repository = self.writable(request, name)
        parent = self.resolve(repository, rev)
        lines = [json.loads(line) for line in request.body.splitlines() if line.strip()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        if (wanted := header.get("parentCommit")) and not parent.startswith(wanted):
            raise Refusal(412, "", "A commit has happened since. Please refresh and try again.")
        tree = dict(repository.commits[parent].tree)
        for line in lines:
            self.apply(tree, line["key"], line["value"])
        told: dict[str, Any] = {"success": True}
        ref = rev
        if request.query.get("create_pr") == ["1"]:
            number = 1 + sum(ref.startswith("refs/pr/") for ref in repository.refs)
            ref = f"refs/pr/{number}"
            told["pullRequestUrl"] = f"{self.endpoint}/datasets/{repository.id}/discussions/{number}"
        oid = self.write(repository, parent, tree, ref)
        page = name.removeprefix("models/") if name.startswith("models/") else f"datasets/{name}"
        return as_json(told | {"commitOid": oid, "commitUrl": f"{self.endpoint}/{page}/commit/{oid}"})

    def apply(self, tree: Tree, key: str, value: dict[str, Any]) -> None:
        """One line of a commit."""
        if key == "file":
            tree[value["path"]] = Blob(base64.b64decode(value["content"]), False)
        elif key == "lfsFile" and value["oid"] in self.objects:
            tree[value["path"]] = Blob(self.objects[value["oid"]], True)
        elif key == "lfsFile":
            known = xet_names(self.xet).get(value["oid"]) if self.xet else None
            if known is None:
                raise Refusal(422, "", f"LFS pointer pointed to a file that does not exist: {value['path']}")
            tree[value["path"]] = XetBlob(b"", True, value["oid"], value["size"], known)
        elif key == "deletedFile":
            if tree.pop(value["path"], None) is None:
                raise Refusal(404, "EntryNotFound", "A file with this name doesn't exist")
        elif key != "header":
            raise Refusal(400, "", f"unknown operation {key}")


def xet_names(folder: Path) -> dict[str, str]:
    """sha256 -> Xet's name of every file whose chunks hf_xet put into this folder, read from the shards it wrote."""

    def words(raw: bytes) -> str:
        return "".join(f"{int.from_bytes(raw[at : at + 8], 'little'):016x}" for at in range(0, 32, 8))

    names: dict[str, str] = {}
    for shard in folder.glob("xet/xorbs/shards/*.mdb"):
        raw, at = shard.read_bytes(), 48
        while raw[at : at + 32] != b"\xff" * 32 and at + 48 <= len(raw):
            name, flags = words(raw[at : at + 32]), int.from_bytes(raw[at + 32 : at + 36], "little")
            entries = int.from_bytes(raw[at + 36 : at + 40], "little")
            at += 48 * (1 + entries + (entries if flags & 1 << 31 else 0))
            if flags & 1 << 30:
                names[words(raw[at : at + 32])] = name
                at += 48
    return names


def of_models(route: Callable[..., Answer]) -> Callable[..., Answer]:
    """The same route for a model."""

    def routed(hub: HubDouble, request: Request, name: str, **words: str) -> Answer:
        return route(hub, request, f"models/{name}", **words)

    return routed


_BY_REPO: list[tuple[tuple[str, ...], str, Callable[..., Answer]]] = [
    (("GET",), r"/refs", UploadDouble.get_refs),
    (("POST",), r"/tag/(?P<rev>[^/]+)", UploadDouble.post_tag),
    (("POST",), r"/preupload/(?P<rev>[^/]+)", UploadDouble.post_preupload),
    (("POST",), r"/commit/(?P<rev>[^/]+)", UploadDouble.post_commit),
    (("GET",), r"/xet-(?P<use>read|write)-token/(?P<rev>[^/]+)", UploadDouble.get_xet_token),
]
MODEL, MODEL_PAGE = r"/api/models/(?P<name>[^/]+/[^/]+)", r"/(?!datasets/)(?P<name>[^/]+/[^/]+)"
_MINE: list[tuple[tuple[str, ...], re.Pattern[str], Callable[..., Answer]]] = [
    (("POST",), re.compile(r"/api/repos/create"), UploadDouble.post_create),
    (("POST",), re.compile(r"/api/validate-yaml"), UploadDouble.post_yaml),
    (("PUT",), re.compile(r"/_lfs/(?P<sha256>[0-9a-f]{64})"), UploadDouble.put_object),
    (("POST",), re.compile(PAGE + r"\.git/info/lfs/objects/batch"), UploadDouble.post_batch),
    (("POST",), re.compile(MODEL_PAGE + r"\.git/info/lfs/objects/batch"), of_models(UploadDouble.post_batch)),
    (("GET", "HEAD"), re.compile(PAGE + r"/resolve/(?P<rev>[^/]+)/(?P<path>.+)"), UploadDouble.get_linked),
    (
        ("GET", "HEAD"),
        re.compile(MODEL_PAGE + r"/resolve/(?P<rev>[^/]+)/(?P<path>.+)"),
        of_models(UploadDouble.get_linked),
    ),
    *((methods, re.compile(REPO + tail), route) for methods, tail, route in _BY_REPO),
    *((methods, re.compile(MODEL + tail), of_models(route)) for methods, tail, route in _BY_REPO),
    *(
        (methods, re.compile(pattern.pattern.replace(REPO, MODEL)), of_models(route))
        for methods, pattern, route in list(ROUTES)
        if pattern.pattern.startswith(REPO)
    ),
]
