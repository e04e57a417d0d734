"""Explicit files of a Hub dataset at one commit: listed, matched, downloaded, verified, kept.

huggingface_hub moves the bytes but checks only their number, so each file is compared here with the checksum of the
commit's listing. Listing and verified files become store entries: with a pinned revision a second fetch asks nothing.
`datasets.load_dataset` has no place here: when the Hub is silent it serves another revision than the one asked for
(huggingface/datasets#7928).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock

from pipeline.errors import SourceError
from pipeline.fetch.hub_errors import TIMEOUT_S, ask
from pipeline.fetch.match import choose, is_inside, matches
from pipeline.fetch.order import Order, Unfetched
from pipeline.fetch.transfer import Meter, bars_of
from pipeline.manifest.corpus import HubSource
from pipeline.source import Fetched, SourceFile
from pipeline.store import Receipt, canonical_json

STAGE = "fetch"
LISTING = "listing.json"


@dataclass(frozen=True)
class Listed:
    """A file as a commit lists it. `sha256` is there for LFS files; `git_sha1` is then that of the pointer."""

    name: str
    bytes: int
    git_sha1: str
    sha256: str | None


def fetch_hub(order: Order, source: HubSource) -> Fetched:
    """The wanted files of a dataset at `source.revision`, else at the locked commit, else where `source.ref` is now.

    Raises SourceError when the dataset, the commit or a file is not there, not readable with this token, or arrives
    with a wrong checksum twice; NetworkError when the Hub does not answer.
    """
    corpus, store, repo = order.corpus, order.store, source.repo
    commit = source.revision or (order.locked.commit if order.locked is not None else None)
    if commit is None:
        if order.offline:
            raise Unfetched
        commit = _head(corpus, repo, source.ref)
    listing = _listing(order, repo, commit)
    place = f"{repo} at {commit}"
    wanted = order.wanted
    chosen = choose(corpus, wanted, lambda pattern: [n for n in listing if matches(n, pattern)], lambda: listing, place)
    for _, _, name in chosen:
        # The Hub's parquet conversion names a folder so when it stopped before the last row.
        if any(step.startswith("partial-") for step in name.split("/")[:-1]):
            cause = f"'{name}' in {place} holds only the first part of the rows"
            raise SourceError(corpus, cause, "name the dataset's original files instead")
    files = [listing[name] for name in sorted({name for _, _, name in chosen})]
    if not order.keep:  # git files are listed without a sha256
        listed = {file.name: (Path(file.name), file.sha256, file.bytes) for file in files if file.sha256}
        files = [file for file in files if not file.sha256]
    else:
        listed = {}
    if files:
        key = _key("files", repo, commit, [[file.name, file.sha256 or file.git_sha1] for file in files])
        entry = store.find(STAGE, key)
        if entry is None and order.offline:
            raise Unfetched
        if entry is None:
            entry = store.run(STAGE, key, lambda folder: _keep(order, repo, commit, files, folder))
        for file in files:
            told = entry.files[f"files/{file.name}"]
            listed[file.name] = (entry.path / "files" / file.name, told["sha256"], told["bytes"])
    return Fetched(commit, tuple(SourceFile(part, split, name, *listed[name]) for part, split, name in chosen))


def _key(*told: object) -> str:
    # Not `stage_key`: a commit and its checksums decide these bytes, whatever code fetched them.
    return hashlib.sha256(canonical_json(told)).hexdigest()[:32]


def _head(corpus: str, repo: str, ref: str) -> str:
    def call() -> str:
        from huggingface_hub import HfApi

        info = HfApi().dataset_info(repo, revision=ref, timeout=TIMEOUT_S)
        if info.sha is None:
            raise ValueError
        return info.sha

    return ask(corpus, repo, "the newest commit", call)


def _listing(order: Order, repo: str, commit: str) -> dict[str, Listed]:
    """Every file of a commit by name. A commit never changes, so it is asked once per store."""

    def work(folder: Path) -> Receipt:
        files = _ask_listing(order.corpus, repo, commit)
        (folder / LISTING).write_bytes(canonical_json([asdict(file) for file in files]))
        return {"repo": repo, "commit": commit, "files": len(files)}

    key = _key("listing", repo, commit)
    entry = order.store.find(STAGE, key)
    if entry is None and order.offline:
        raise Unfetched
    entry = entry or order.store.run(STAGE, key, work)
    return {told["name"]: Listed(**told) for told in json.loads((entry.path / LISTING).read_bytes())}


def _ask_listing(corpus: str, repo: str, commit: str) -> list[Listed]:
    files: list[Listed] = []
    query: str | None = "recursive=true"
    while query is not None:
        ask_page = partial(_page, repo, commit, query)
        more, query = ask(corpus, repo, f"the listing of commit {commit}", ask_page)
        files += more
    return sorted(files, key=lambda file: file.name)


def _page(repo: str, commit: str, query: str) -> tuple[list[Listed], str | None]:
    """One page of a listing and the query of the next one."""
    from huggingface_hub import constants
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        build_hf_headers,
        get_session,
        hf_raise_for_status,
    )

    url = f"{constants.ENDPOINT}/api/datasets/{repo}/tree/{commit}?{query}"
    # Not `HfApi.list_repo_tree`: it passes no timeout, and a silent server would hold it for ever.
    answer = get_session().get(url, headers=build_hf_headers(), timeout=TIMEOUT_S)
    hf_raise_for_status(answer)
    files = [_listed(told) for told in answer.json() if told["type"] == "file"]
    # Only its query: a mirror may hand on the Hub's own links, and the token must not follow them elsewhere.
    next_page = answer.links.get("next", {}).get("url")
    return files, urlsplit(next_page).query if next_page else None


def _listed(told: dict[str, Any]) -> Listed:
    if not is_inside(told["path"]):
        raise ValueError("a path that leaves the repository")
    lfs = told.get("lfs")
    return Listed(told["path"], told["size"], told["oid"], lfs["oid"] if lfs else None)


def _keep(order: Order, repo: str, commit: str, files: Sequence[Listed], folder: Path) -> Receipt:
    root = order.store.root
    (root / "hub").mkdir(parents=True, exist_ok=True)
    for file in files:
        target = folder / "files" / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        # One process at a time per content: another one's check must not delete what this one has just loaded.
        with FileLock(root / "locks" / f"hub-{file.sha256 or file.git_sha1}.lock"):
            with Meter(order.listen, order.corpus, file.name, file.bytes) as meter:
                blob = _download(order.corpus, repo, commit, file, root / "hub", meter)
                meter.at(file.bytes)
            try:
                os.link(blob, target)
            except OSError:  # another device, or a file system without hard links
                shutil.copyfile(blob, target)
    return {"repo": repo, "commit": commit, "files": len(files), "bytes": sum(file.bytes for file in files)}


def _download(corpus: str, repo: str, commit: str, file: Listed, cache: Path, meter: Meter) -> Path:
    """The file in huggingface_hub's cache, with the right checksum."""

    def call() -> str:
        from huggingface_hub import hf_hub_download

        return hf_hub_download(
            repo, file.name, repo_type="dataset", revision=commit, cache_dir=cache, tqdm_class=bars_of(meter)
        )

    for _ in range(2):
        pointer = Path(ask(corpus, repo, f"'{file.name}' at commit {commit}", call, is_download=True))
        blob = pointer.resolve()
        if _is_right(blob, file):
            return blob
        # Both: the cache believes a pointer as well as a blob, and either would bring the wrong bytes back.
        blob.unlink(missing_ok=True)
        pointer.unlink(missing_ok=True)
    cause = f"'{file.name}' of {repo} at commit {commit} arrived twice with a wrong checksum"
    raise SourceError(corpus, cause, "check your proxy or mirror (HF_ENDPOINT), then run again")


def _is_right(path: Path, file: Listed) -> bool:
    with path.open("rb") as content:
        if file.sha256 is not None:
            return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256
        size = os.fstat(content.fileno()).st_size
        blob = hashlib.file_digest(content, lambda: hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False))
        return blob.hexdigest() == file.git_sha1
