"""The Hub as a publisher meets it: what a repository holds, blobs, one commit, tags.

Every call goes through `errors.ask`. The token comes from HF_TOKEN and nowhere else, and leaves this module only inside
requests; HF_ENDPOINT is honoured.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pipeline.fetch.hub_errors import TIMEOUT_S
from pipeline.publish.errors import Absent, ask, ask_once
from pipeline.publish.plan import RELEASE, Held, Plan, Release, Remote, read_told

MAIN = "main"
#: Files are sent until so many bytes are together: what a cut-off push may have to send again.
BATCH_BYTES = 64 << 20


def batches(paths: Sequence[str], sizes: Sequence[int]) -> Iterator[list[str]]:
    """Neighbours together up to BATCH_BYTES; a larger file alone.

    >>> list(batches(["a", "b", "c"], [10, BATCH_BYTES, 1]))
    [['a'], ['b'], ['c']]
    """
    held: list[str] = []
    total = 0
    for path, size in zip(paths, sizes, strict=True):
        if held and total + size > BATCH_BYTES:
            yield held
            held, total = [], 0
        held.append(path)
        total += size
    if held:
        yield held


class Hub:
    """One repository of the Hub."""

    def __init__(self, repo: str, kind: Literal["dataset", "model"]) -> None:
        # Here, not above: huggingface_hub reads HF_ENDPOINT when it is imported.
        from huggingface_hub import HfApi, set_client_factory
        from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]
        from huggingface_hub.utils._http import default_client_factory

        def client() -> Any:
            made = default_client_factory()
            made.timeout = TIMEOUT_S  # per step of a request; the library's own client may wait for ever
            return made

        set_client_factory(client)
        disable_progress_bars()
        self.repo, self.kind = repo, kind
        self.has_token = bool(os.environ.get("HF_TOKEN", "").strip())
        # `False`, not None: None would fall back to a token file.
        self._api = HfApi(token=os.environ["HF_TOKEN"].strip() if self.has_token else False)

    def __repr__(self) -> str:
        return f"Hub({self.repo!r}, {self.kind!r})"

    def read(self, revision: str = MAIN) -> Remote:
        """What the repository holds at a revision; an empty Remote where there is no such repository."""
        try:
            info = self._ask(
                "its state", lambda: self._api.repo_info(self.repo, repo_type=self.kind, revision=revision)
            )
        except Absent:
            return Remote()
        commit = str(info.sha)
        files = self.files(commit)
        refs = self._ask("its tags", lambda: self._api.list_repo_refs(self.repo, repo_type=self.kind))
        told = read_told(self._content(RELEASE, commit)) if RELEASE in files else {}
        return Remote(commit, bool(info.private), files, {tag.name: tag.target_commit for tag in refs.tags}, told)

    def files(self, commit: str) -> dict[str, Held]:
        """The files of a commit."""
        told: dict[str, Held] = {}
        query: str | None = "recursive=true"
        while query is not None:
            page, query = self._ask("its files", partial(self._page, commit, query))
            for one in page:
                if one["type"] == "file":
                    told[one["path"]] = Held(one["size"], one["oid"], (one.get("lfs") or {}).get("oid"))
        return told

    def make(self, *, private: bool) -> None:
        """Make the repository; one that is there already stays as it is."""
        self._ask(
            "making the repository",
            lambda: self._api.create_repo(self.repo, repo_type=self.kind, private=private, exist_ok=True),
        )

    def upload(self, release: Release, plan: Plan, say: Callable[[str], None], *, as_request: bool) -> list[Any]:
        """Send the content of new and changed files, some at a time; the operations for `commit`. What is there is skipped.

        Nobody sees any of it before the commit.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        operations: list[Any] = []
        paths = (*plan.add, *plan.change)
        for batch in batches(paths, [release.files[path].bytes for path in paths]):
            made = [CommitOperationAdd(path, release.files[path].source) for path in batch]
            for operation in made:
                operation.upload_info.sha256 = bytes.fromhex(release.files[operation.path_in_repo].sha256)
            send = partial(self._api.preupload_lfs_files, self.repo, made, repo_type=self.kind, revision=MAIN)
            # The library repeats failed uploads on its own.
            what = f"sending {batch[0]}"
            ask(self.repo, what, partial(send, create_pr=as_request, free_memory=False), attempts=2)
            operations += made
            say(f"sent {len(operations):,} of {len(paths):,} files, the last {batch[-1]}")
        return [*operations, *(CommitOperationDelete(path, is_folder=False) for path in plan.delete)]

    def commit(self, operations: list[Any], title: str, parent: str, *, as_request: bool) -> tuple[str, str | None]:
        """One commit upon `parent`; its id, and the pull request's address where it became one. Never repeated here."""
        info = ask_once(
            self.repo,
            "the commit",
            lambda: self._api.create_commit(
                self.repo,
                operations,
                commit_message=title,
                repo_type=self.kind,
                revision=MAIN,
                parent_commit=parent,
                create_pr=as_request,
            ),
        )
        return info.oid, info.pr_url

    def requests(self) -> Iterator[tuple[str, Remote]]:
        """Open pull requests that hold a release of ours, newest first."""
        refs = self._ask(
            "its pull requests",
            lambda: self._api.list_repo_refs(self.repo, repo_type=self.kind, include_pull_requests=True),
        )
        numbered = sorted(refs.pull_requests or (), key=lambda ref: -int(ref.name.rpartition("/")[2]))
        for ref in numbered:
            yield ref.ref, self.read(ref.ref)

    def tag(self, name: str, commit: str) -> None:
        """Set a tag that is not there yet. Raises Overtaken where it is."""
        ask_once(
            self.repo,
            f"the tag {name}",
            lambda: self._api.create_tag(self.repo, tag=name, revision=commit, repo_type=self.kind),
        )

    def _ask(self, what: str, call: Callable[[], Any]) -> Any:
        return ask(self.repo, what, call)

    def _page(self, commit: str, query: str) -> tuple[list[dict[str, Any]], str | None]:
        """One page of a listing and the query of the next one."""
        from huggingface_hub.utils import get_session, hf_raise_for_status  # type: ignore[attr-defined]

        # Not `list_repo_tree`, which repeats failures on its own for half a minute each.
        url = f"{self._api.endpoint}/api/{self.kind}s/{self.repo}/tree/{commit}?{query}"
        answer = get_session().get(url, headers=self._api._build_hf_headers(), timeout=TIMEOUT_S)
        hf_raise_for_status(answer)
        # Only its query: the token must not follow a link elsewhere.
        next_page = answer.links.get("next", {}).get("url")
        return answer.json(), urlsplit(next_page).query if next_page else None

    def _content(self, path: str, commit: str) -> bytes:
        def call() -> bytes:
            with tempfile.TemporaryDirectory() as folder:
                return Path(
                    self._api.hf_hub_download(
                        self.repo, path, repo_type=self.kind, revision=commit, local_dir=folder, cache_dir=folder
                    )
                ).read_bytes()

        content: bytes = self._ask(f"'{path}'", call)
        return content
