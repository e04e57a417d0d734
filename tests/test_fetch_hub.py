"""Fetch from the Hub's double: the right bytes of the pinned commit, or a sentence without secrets."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fetch_child import TOKEN, Child, Hub, Job
from tests.hub_double import HubDouble

REPO = "people/pairs"
JSONL = '{"text": "怎么开发票", "text_pos": "如何开具发票"}\n'.encode() * 40
PARQUET = bytes(range(256)) * 400


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HubDouble, Child]]:
    with HubDouble() as double:
        child = Child(double.endpoint, tmp_path_factory.mktemp("child"))
        yield double, child
        child.kill()


@pytest.fixture
def hub(served: tuple[HubDouble, Child], tmp_path: Path) -> Hub:
    double, child = served
    double.reset()
    return Hub(double, child, tmp_path)


def job(revision: str | None, *patterns: str, repo: str = REPO) -> Job:
    return repo, revision, [(0, "train", list(patterns))]


def error(answer: dict[str, Any]) -> tuple[str, str]:
    return answer["error"], answer["shown"][0]


def test_a_pinned_commit_is_fetched_once_while_main_moves_on(hub: Hub) -> None:
    files = {
        "data/train.jsonl": JSONL,
        "data/a-2.parquet": PARQUET,
        "data/a-10.parquet": PARQUET[:999],
        "中 文#?.txt": b"",
    }
    pinned = hub.commit(REPO, {**files, "unwanted.bin": b"unwanted", "entry.json": b"{}"})
    hub.commit(REPO, {"data/train.jsonl": b"moved", "data/a-2.parquet": b"moved"})
    wanted = [(0, "train", ["data/*.parquet", "data/a-2.parquet"]), (0, "dev", ["data/train.jsonl"])]
    wanted += [(1, "train", ["entry.json", "中*"])]
    (first,) = hub.fetch((REPO, pinned, wanted))
    assert first["revision"] == pinned
    assert [(f["part"], f["split"], f["name"]) for f in first["files"]] == [
        (0, "train", "data/a-2.parquet"),
        (0, "train", "data/a-10.parquet"),
        (0, "dev", "data/train.jsonl"),
        (1, "train", "entry.json"),
        (1, "train", "中 文#?.txt"),
    ]
    for file in first["files"]:
        content = {**files, "entry.json": b"{}"}[file["name"]]
        assert Path(file["path"]).read_bytes() == content
        assert (file["sha256"], file["bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
    assert hub.count("unwanted") == 0
    assert hub.count("/_cdn/") == 2

    asked = len(hub.requests)
    assert hub.fetch((REPO, pinned, wanted)) == [first]
    assert hub.fetch((REPO, pinned, wanted), HF_HUB_OFFLINE="1") == [first]
    assert len(hub.requests) == asked


def test_null_means_the_commit_main_has_now(hub: Hub) -> None:
    old = hub.commit(REPO, {"train.jsonl": b"old"})
    (first,) = hub.fetch(job(None, "train.jsonl"))
    new = hub.commit(REPO, {"train.jsonl": b"new"})
    second, again, pinned = hub.fetch(job(None, "*.jsonl"), job(None, "*.jsonl"), job(old, "*.jsonl"))
    assert (first["revision"], second["revision"]) == (old, new)
    assert [Path(a["files"][0]["path"]).read_bytes() for a in (first, second, again, pinned)] == [
        b"old",
        b"new",
        b"new",
        b"old",
    ]
    assert hub.count("/resolve/") == 2


def test_a_long_listing_comes_in_pages(hub: Hub) -> None:
    hub.double.page_size = 7
    commit = hub.commit(REPO, {f"d/{at}.txt": b"%d" % at for at in range(30)})
    (answer,) = hub.fetch(job(commit, "d/1*.txt"))
    assert [f["name"] for f in answer["files"]] == ["d/1.txt", *(f"d/{at}.txt" for at in range(10, 20))]
    assert hub.count("/tree/") == 5


@pytest.mark.parametrize(
    "faults",
    [
        [("/tree/", "status", {"status": 503, "times": 2})],
        [("/resolve/", "status", {"status": 503, "times": 2, "methods": ("HEAD",)})],
        [("/_cdn/|/resolve/", "status", {"status": 503, "times": 2, "methods": ("GET",)})],
        [("/_cdn/", "status", {"status": 429, "headers": {"Retry-After": "0"}})],
        [("/tree/", "status", {"status": 429})],
        [("/_cdn/", "status", {"status": 403})],
        [("/_cdn/", "cut", {}), ("/resolve/.*jsonl", "cut", {"methods": ("GET",)})],
        [("/tree/", "cut", {})],
        [("/_cdn/", "corrupt", {})],
        [("/resolve/.*jsonl", "corrupt", {"methods": ("GET",)})],
        [("/_cdn/", "short", {"after": 1000}), ("/resolve/.*jsonl", "short", {"after": 0, "methods": ("GET",)})],
        [("/tree/", "sleep", {"seconds": 2})],
    ],
    ids=lambda faults: "+".join(
        f"{path.strip('/')}-{action}-{told.get('status', '')}" for path, action, told in faults
    ),
)
def test_passing_faults_are_survived_with_the_right_bytes(
    hub: Hub, faults: list[tuple[str, Any, dict[str, Any]]]
) -> None:
    commit = hub.commit(REPO, {"train.jsonl": JSONL, "train.parquet": PARQUET})
    for path, action, told in faults:
        hub.fault(path, action, **told)
    (answer,) = hub.fetch(job(commit, "train.*"), timeout_s=0.5)
    assert [Path(file["path"]).read_bytes() for file in answer["files"]] == [JSONL, PARQUET], answer
    assert all(fault.times == 0 for fault in hub.double.faults)


def test_an_expired_link_is_resolved_anew(hub: Hub) -> None:
    commit = hub.commit(REPO, {"train.parquet": PARQUET})
    hub.fault("/_cdn/", "status", status=403, times=2)
    hub.fetch(job(commit, "*.parquet"))
    assert hub.count("/resolve/", "HEAD") == 3


def test_a_cut_transfer_goes_on_where_it_stopped(hub: Hub) -> None:
    """And begins again where the server ignores that it asked for the rest only."""
    for action in ("cut", "whole"):
        content = bytes(1000) + os.urandom(12 * 2**20)
        commit = hub.commit(REPO, {"big.bin": content})
        hub.requests.clear()
        hub.fault("/_cdn/", "cut", after=11 * 2**20)
        if action == "whole":
            hub.fault("/_cdn/", "whole")
        (answer,) = hub.fetch(job(commit, "big.bin"))
        assert answer["files"][0]["sha256"] == hashlib.sha256(content).hexdigest()
        asked = [request.headers.get("range") for request in hub.requests if "/_cdn/" in request.path]
        assert asked == [None, f"bytes={10 * 2**20}-"]
    assert all(fault.times == 0 for fault in hub.double.faults)


def test_faults_that_stay_become_sentences_and_leave_nothing_behind(hub: Hub) -> None:
    commit = hub.commit(REPO, {"train.jsonl": JSONL, "train.parquet": PARQUET})
    hub.fault("/_cdn/", "corrupt", times=2)
    hub.fault("/tree/", "status", status=500, times=5)
    listing, corrupt, mended = hub.fetch(*[job(commit, "train.*")] * 3)
    kind, said = error(listing)
    assert (kind, listing["transient"]) == ("NetworkError", True)
    assert said.startswith(f"toy: the listing of commit {commit} of {REPO}: the Hub answered 500, 5 times. Cure: check")
    kind, said = error(corrupt)
    assert (kind, corrupt["transient"]) == ("SourceError", False)
    assert said.startswith(f"toy: 'train.parquet' of {REPO} at commit {commit} arrived twice with a wrong checksum")
    assert mended["files"][1]["sha256"] == hashlib.sha256(PARQUET).hexdigest()
    assert hub.count("/resolve/.*jsonl") == 1


def test_no_server_at_all(hub: Hub) -> None:
    (answer,) = hub.fetch(job("0" * 40, "x"), HF_ENDPOINT="http://127.0.0.1:1")
    kind, said = error(answer)
    assert (kind, answer["transient"]) == ("NetworkError", True)
    assert "the connection failed (ConnectError), 5 times" in said


def test_a_mirror_behind_a_proxy_is_asked(hub: Hub) -> None:
    """Every request, that for the blob too, goes through the proxy of the environment to where HF_ENDPOINT points."""
    commit = hub.commit(REPO, {"train.jsonl": JSONL, "train.parquet": PARQUET})
    told = {"HF_ENDPOINT": "http://mirror.example", "NO_PROXY": "", "no_proxy": ""}
    (answer,) = hub.fetch(job(commit, "train.*"), http_proxy=hub.double.endpoint, **told)
    assert [Path(file["path"]).read_bytes() for file in answer["files"]] == [JSONL, PARQUET]
    hosts = {request.headers["host"] for request in hub.requests}
    assert hosts == {"mirror.example", f"localhost:{hub.double.port}"}


def test_offline_without_the_files_is_a_sentence(hub: Hub) -> None:
    commit = hub.commit(REPO, {"train.jsonl": JSONL, "dev.jsonl": JSONL[:9]})
    hub.fetch(job(commit, "train.jsonl"))
    asked = len(hub.requests)
    other_file, other_commit, moving = hub.fetch(
        job(commit, "dev.jsonl"), job("0" * 40, "train.jsonl"), job(None, "train.jsonl"), HF_HUB_OFFLINE="1"
    )
    for answer in (other_file, other_commit, moving):
        kind, said = error(answer)
        assert (kind, answer["transient"]) == ("SourceError", False)
        assert "HF_HUB_OFFLINE forbids to ask the Hub" in said
    assert "'dev.jsonl' at commit" in error(other_file)[1]
    assert len(hub.requests) == asked


def test_refusals_say_what_to_do_and_keep_the_token_to_themselves(hub: Hub) -> None:
    commit = hub.commit(REPO, {"train.parquet": PARQUET, "default/partial-train/0000.parquet": PARQUET})
    gated = hub.commit("people/gated", {"train.parquet": PARQUET})
    hub.repository("people/gated").readers = {"bob"}
    hub.double.tokens[TOKEN] = "alice"
    hub.fault("/_cdn/", "status", status=403, times=5)
    hub.fault("/tree/4{40}", "status", status=403)
    hub.fault("/tree/5{40}", "status", status=418)
    answers = hub.fetch(
        job(None, "x", repo="people/nothing"),
        job("0" * 40, "x"),
        job(commit, "trian.parquet"),
        job(commit, "default/*/0000.parquet"),
        job(gated, "*", repo="people/gated"),
        job(commit, "train.parquet"),
        job("4" * 40, "x"),
        job("5" * 40, "x"),
        HF_TOKEN=TOKEN,
    )
    told = [
        (
            "SourceError",
            "there is no dataset people/nothing, or it is private. Cure: mend source.repo, or set HF_TOKEN",
        ),
        (
            "SourceError",
            f"the listing of commit {'0' * 40} of {REPO}: no such commit. Cure: mend source.revision",
        ),
        ("SourceError", f"no file matches 'trian.parquet' in {REPO} at {commit}. Cure: mend the pattern; the nearest"),
        ("SourceError", "'default/partial-train/0000.parquet' in"),
        (
            "SourceError",
            "the dataset people/gated is gated: its readers must accept its terms first. Cure: accept",
        ),
        ("NetworkError", f"'train.parquet' at commit {commit} of {REPO}: the download link was refused (403), 5 times"),
        ("SourceError", f"of {REPO}: the Hub refuses access (403). Cure: set HF_TOKEN to a valid token"),
        ("SourceError", f"of {REPO}: the Hub answered 418. Cure: check source.repo"),
    ]
    for answer, (kind, said) in zip(answers, told, strict=True):
        assert error(answer)[0] == kind
        assert said in error(answer)[1]
    assert any(TOKEN in request.headers.get("authorization", "") for request in hub.requests)
    assert not any("authorization" in request.headers for request in hub.requests if "/_cdn/" in request.path)


def test_a_private_dataset_needs_the_token_of_the_environment(hub: Hub) -> None:
    commit = hub.commit(REPO, {"train.parquet": PARQUET})
    hub.repository(REPO).is_private = True
    hub.double.tokens[TOKEN] = "alice"
    (without,) = hub.fetch(job(commit, "*.parquet"))
    (wrong,) = hub.fetch(job(commit, "*.parquet"), HF_TOKEN="hf_wrong")
    (right,) = hub.fetch(job(commit, "*.parquet"), HF_TOKEN=TOKEN)
    assert "there is no dataset people/pairs, or it is private" in error(without)[1]
    assert "the Hub refuses access (401). Cure: set HF_TOKEN to a valid token" in error(wrong)[1]
    assert right["files"][0]["sha256"] == hashlib.sha256(PARQUET).hexdigest()


@pytest.mark.parametrize("path", ["../../escaped.txt", "/escaped.txt", "a//b.txt"])
def test_a_listing_cannot_name_files_outside_the_store(hub: Hub, path: str) -> None:
    commit = hub.commit(REPO, {path: b"escaped", "train.jsonl": JSONL})
    (answer,) = hub.fetch(job(commit, "**"))
    assert "the answer is not a Hub's" in error(answer)[1]
    assert not list(hub.folder.rglob("*escaped*"))


def test_a_killed_fetch_goes_on_with_what_it_had(hub: Hub) -> None:
    commit = hub.commit(REPO, {"a.parquet": PARQUET, "b.parquet": PARQUET[::-1]})
    hub.fault(hashlib.sha256(PARQUET[::-1]).hexdigest(), "sleep", seconds=20)
    child = hub.fresh_child()
    child.send(hub.told(job(commit, "*.parquet")))
    deadline = time.monotonic() + 30
    while hub.count("/_cdn/") < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    child.kill()
    assert not [path for path in (hub.folder / "store/fetch").glob("*/files") if path.parent.suffix != ".tmp"]
    (answer,) = hub.fetch(job(commit, "*.parquet"))
    assert [Path(file["path"]).read_bytes() for file in answer["files"]] == [PARQUET, PARQUET[::-1]]
    assert hub.count(hashlib.sha256(PARQUET).hexdigest()) == 1


def test_a_file_left_wrong_in_the_cache_is_never_trusted(hub: Hub) -> None:
    commit = hub.commit(REPO, {"train.jsonl": JSONL, "train.parquet": PARQUET})
    (first,) = hub.fetch(job(commit, "train.jsonl"))
    for blob in (hub.folder / "store/hub").glob("datasets--*/blobs/*"):
        blob.chmod(0o644)
        blob.write_bytes(JSONL[:-1] + b" ")
    (second,) = hub.fetch(job(commit, "train.*"))
    assert [Path(file["path"]).read_bytes() for file in second["files"]] == [JSONL, PARQUET]
    assert first["files"][0]["sha256"] == second["files"][0]["sha256"] == hashlib.sha256(JSONL).hexdigest()


def test_another_revision_in_the_store_never_stands_in_for_a_hub_that_is_down(hub: Hub) -> None:
    old = hub.commit(REPO, {"train.parquet": PARQUET})
    new = hub.commit(REPO, {"train.parquet": PARQUET[::-1]})
    (first,) = hub.fetch(job(old, "train.parquet"))
    again, other, moving = hub.fetch(
        *(job(revision, "train.parquet") for revision in (old, new, None)), HF_ENDPOINT="http://127.0.0.1:1"
    )
    assert again == first
    for answer in (other, moving):
        assert (error(answer)[0], answer["transient"]) == ("NetworkError", True)


def test_a_transfer_cut_five_times_never_gives_wrong_bytes(hub: Hub) -> None:
    commit = hub.commit(REPO, {"train.parquet": PARQUET})
    hub.fault("/_cdn/", "cut", times=5, after=1000)
    first, second = hub.fetch(*[job(commit, "train.parquet")] * 2)
    if "error" in first:
        assert error(first)[0] == "NetworkError"
    else:
        assert Path(first["files"][0]["path"]).read_bytes() == PARQUET
    assert Path(second["files"][0]["path"]).read_bytes() == PARQUET
