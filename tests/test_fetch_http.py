"""Fetch over http: the right bytes or a typed error, whatever the server does; never wrong bytes."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stamina
from werkzeug.serving import WSGIRequestHandler

from pipeline.errors import NetworkError, SourceError
from pipeline.fetch import Fetched, Unfetched, Wanted, fetch
from pipeline.manifest.corpus import HttpSource
from pipeline.manifest.lock import LockedFile, LockedSource
from pipeline.source import LockMismatch
from pipeline.store import Store
from tests.http_double import FileServer, Reply

OLD = b"old:" + os.urandom(200_000)
NEW = b"new:" + os.urandom(200_000)
NAME = "d/train.bin"


@pytest.fixture(autouse=True)
def waits_are_short(server: FileServer) -> Iterator[None]:
    server.files[NAME] = OLD
    stamina.set_testing(True, attempts=9, cap=True)
    yield
    stamina.set_testing(False)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def get(server: FileServer, store: Path, *names: str, checked: bytes | None = None, **told: Any) -> Fetched:
    names = names or (NAME,)
    sums = {names[0]: f"sha256:{sha256(checked)}"} if checked is not None else told.pop("checksums", {})
    source = HttpSource(kind="http", base=told.pop("base", server.base), checksums=sums)
    return fetch("toy", source, [Wanted(0, "train", names)], store, Store(store / "s"), **told)


def content(fetched: Fetched) -> bytes:
    (file,) = fetched.files
    found = file.path.read_bytes()
    assert (file.sha256, file.bytes) == (sha256(found), len(found))
    return found


def test_files_are_loaded_once_and_kept_by_content(server: FileServer, tmp_path: Path) -> None:
    server.files |= {"d/中 文#1.txt": b"a", "d/x-10.txt": b"b", "d/x-2.txt": b"b"}
    names = ("d/x-10.txt", "d/x-2.txt", "d/中 文#1.txt")
    first = get(server, tmp_path, *names, base=server.base + "/")
    assert [(f.name, f.path.read_bytes()) for f in first.files] == [
        ("d/x-2.txt", b"b"),
        ("d/x-10.txt", b"b"),
        ("d/中 文#1.txt", b"a"),
    ]
    assert len({f.path for f in first.files}) == 2
    assert len(server.requests) == 3
    assert get(server, tmp_path, *names, base=server.base + "/", offline=True) == first
    assert get(server, tmp_path, *names, base=server.base) == first
    assert len(server.requests) == 3
    assert not os.access(first.files[0].path, os.W_OK) or os.geteuid() == 0
    with pytest.raises(Unfetched):
        get(server, tmp_path, NAME, offline=True)
    assert len(server.requests) == 3


def test_known_content_is_taken_from_another_address(server: FileServer, tmp_path: Path) -> None:
    server.files["mirror.bin"] = OLD
    get(server, tmp_path)
    assert content(get(server, tmp_path, "mirror.bin", checked=OLD)) == OLD
    assert len(server.requests) == 1


CHANGE = "the file changes on the server"
FAULTS: dict[str, tuple[list[Reply], bytes, list[str | None]]] = {
    "cut once": ([Reply(cut=1000)], OLD, [None, "bytes=1000-"]),
    "cut five times": (
        [Reply(cut=n) for n in (1000, 10, 10, 10, 10)],
        OLD,
        [None, *(f"bytes={n}-" for n in (1000, 1010, 1020, 1030, 1040))],
    ),
    "cut at once": ([Reply(cut=0), Reply(cut=0)], OLD, [None, None, None]),
    "range ignored": ([Reply(cut=1000), Reply(ignore_range=True)], OLD, [None, "bytes=1000-"]),
    "same-size corruption": ([Reply(corrupt=True)], OLD, [None, None]),
    "corruption in a resumed part": ([Reply(cut=1000, corrupt=True)], OLD, [None, "bytes=1000-", None]),
    "longer than it is": (
        [Reply(headers={"Content-Length": str(len(OLD) + 9)})],
        OLD,
        [None, f"bytes={len(OLD)}-", None],
    ),
    "told too short": ([Reply(headers={"Content-Length": "1000"})], OLD, [None, None]),
    "429": ([Reply(status=429, headers={"Retry-After": "0"})], OLD, [None, None]),
    "503 and 408": ([Reply(status=503), Reply(status=408)], OLD, [None, None, None]),
    "503 in between": ([Reply(cut=1000), Reply(status=503)], OLD, [None, "bytes=1000-", "bytes=1000-"]),
    "416": ([Reply(cut=1000), Reply(status=416)], OLD, [None, "bytes=1000-", None]),
    "another place": (
        [Reply(cut=1000), Reply(headers={"Content-Range": f"bytes 7-{len(OLD) - 1}/{len(OLD)}"})],
        OLD,
        [None, "bytes=1000-", None],
    ),
    "another length": (
        [Reply(cut=1000), Reply(headers={"Content-Range": f"bytes 1000-{len(OLD)}/{len(OLD) + 1}"})],
        OLD,
        [None, "bytes=1000-", None],
    ),
    "an answer cut and corrupt, then honest": (
        [Reply(cut=5, corrupt=True), Reply(corrupt=True)],
        OLD,
        [None, "bytes=5-", None],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_passing_faults_are_survived_with_the_right_bytes(server: FileServer, tmp_path: Path, fault: str) -> None:
    replies, expected, ranges = FAULTS[fault]
    server.replies += [Reply(**vars(reply)) for reply in replies]
    assert content(get(server, tmp_path, checked=OLD)) == expected
    assert server.ranges() == ranges
    assert not list((tmp_path / "s/downloads/partial").iterdir())


@pytest.mark.parametrize("ignore_if_range", [False, True])
@pytest.mark.parametrize("is_checked", [False, True])
def test_a_file_that_changes_in_between_is_never_joined(
    server: FileServer, tmp_path: Path, ignore_if_range: bool, is_checked: bool
) -> None:
    def change() -> None:
        server.files[NAME] = NEW

    server.replies += [Reply(cut=1000), Reply(before=change, ignore_if_range=ignore_if_range)]
    assert content(get(server, tmp_path, checked=NEW if is_checked else None)) == NEW
    assert server.requests[1][1]["if-range"] == f'"{hashlib.md5(OLD).hexdigest()}"'


def test_without_an_etag_nothing_is_resumed(server: FileServer, tmp_path: Path) -> None:
    server.has_etag = False
    dated = {"Last-Modified": "Mon, 23 Nov 2026 06:00:00 GMT"}
    server.replies += [Reply(cut=1000), Reply(cut=1000, headers=dated), Reply(headers=dated)]
    assert content(get(server, tmp_path)) == OLD
    assert server.ranges() == [None, None, None]
    server.replies += [Reply(cut=1000, headers=dated), Reply(headers=dated)]
    assert content(get(server, tmp_path / "checked", checked=OLD)) == OLD
    assert server.ranges()[3:] == [None, "bytes=1000-"]


@pytest.mark.parametrize(
    ("reply", "kind", "told"),
    [
        (Reply(corrupt=True), SourceError, "'d/train.bin' has sha256 {got}, but the manifest says {want}"),
        (Reply(cut=0), NetworkError, "/d/train.bin: the connection failed (RemoteProtocolError), 5 times"),
        (Reply(status=503), NetworkError, "/d/train.bin: the server answered 503, 5 times"),
        (Reply(status=429, headers={"Retry-After": "3600"}), NetworkError, "answered 429 and asks to wait 3,600 sec"),
        (Reply(status=403), SourceError, "the server refuses access (403)"),
        (Reply(status=404), SourceError, "there is no such file (404)"),
        (Reply(status=204), SourceError, "the server answered 204"),
        (Reply(status=302, headers={"Location": "/d/train.bin"}), SourceError, "more than 5 redirects"),
        (Reply(body=b"\n<!DOCTYPE html><p>log in"), SourceError, "a web page came instead of the file"),
        (Reply(headers={"Content-Encoding": "gzip"}), SourceError, "the server packs the file on its way"),
        (Reply(headers={"Content-Length": str(len(OLD) + 9)}, ignore_range=True), NetworkError, "5 times"),
        (Reply(headers={"Content-Length": "1000"}), SourceError, "but the manifest says {want}"),
    ],
    ids=lambda value: None if isinstance(value, str | type) else f"{value.status}",
)
def test_faults_that_stay_are_typed_errors(
    server: FileServer, tmp_path: Path, reply: Reply, kind: type[SourceError], told: str
) -> None:
    server.always = reply
    with pytest.raises(SourceError) as caught:
        get(server, tmp_path, checked=OLD, base=server.base.replace("//", "//ann:secret@"))
    assert type(caught.value) is kind
    got = sha256(bytes([OLD[0] ^ 1]) + OLD[1:])
    assert told.format(got=got, want=sha256(OLD)) in str(caught.value)
    assert b"secret" not in pickle.dumps(caught.value) and caught.value.__context__ is None
    assert not list((tmp_path / "s/downloads/blobs").iterdir())


def test_an_expired_link_is_asked_for_anew(server: FileServer, tmp_path: Path) -> None:
    server.files["signed"] = OLD
    moved = Reply(status=302, headers={"Location": "/signed?signature=canary"})
    server.replies += [moved, Reply(status=403), moved]
    assert content(get(server, tmp_path)) == OLD
    assert [path for path, _ in server.requests] == [NAME, "signed", NAME, "signed"]
    server.always, server.requests = moved, []
    server.replies += [moved, Reply(status=403)] * 5
    with pytest.raises(NetworkError, match=r"the link it redirects to was refused \(403\), 5 times") as caught:
        get(server, tmp_path / "again")
    assert "canary" not in str(caught.value)


def test_a_length_that_nobody_tells_needs_a_checksum(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WSGIRequestHandler, "protocol_version", "HTTP/1.0")  # the end of the connection is the file's
    server.always = Reply(headers={"Content-Length": ""})
    with pytest.raises(SourceError, match="the server does not tell the length"):
        get(server, tmp_path)
    assert content(get(server, tmp_path, checked=OLD)) == OLD


def test_a_file_in_chunks_tells_its_own_end(server: FileServer, tmp_path: Path) -> None:
    server.always = Reply(headers={"Content-Length": ""})
    assert content(get(server, tmp_path)) == OLD


def test_retry_after_is_waited_for(server: FileServer, tmp_path: Path) -> None:
    stamina.set_testing(False)
    server.replies.append(Reply(status=429, headers={"Retry-After": "1"}))
    began = time.monotonic()
    assert content(get(server, tmp_path)) == OLD
    assert time.monotonic() - began >= 1


@pytest.mark.parametrize("is_checked", [True, False])
def test_what_a_killed_process_left_is_used_only_where_a_checksum_judges_it(
    server: FileServer, tmp_path: Path, is_checked: bool
) -> None:
    server.always = Reply(cut=0)
    server.replies.append(Reply(cut=5000))
    with pytest.raises(NetworkError):
        get(server, tmp_path, checked=OLD if is_checked else None)
    (partial,) = (tmp_path / "s/downloads/partial").glob("*/content")
    assert partial.read_bytes() == OLD[:5000]
    server.always, server.requests = None, []
    assert content(get(server, tmp_path, checked=OLD if is_checked else None)) == OLD
    assert server.ranges() == ["bytes=5000-" if is_checked else None]


def test_sums_of_manifest_and_lock_are_held(server: FileServer, tmp_path: Path) -> None:
    md5 = {NAME: f"md5:{hashlib.md5(OLD).hexdigest()}"}
    assert content(get(server, tmp_path, checksums=md5)) == OLD
    other = LockedSource(
        kind="http", place=server.base, files=[LockedFile(name=NAME, bytes=len(NEW), sha256=sha256(NEW))]
    )
    with pytest.raises(LockMismatch, match=f"sha256 {sha256(OLD)}, but the lock says {sha256(NEW)}.*run: m3e lock toy"):
        get(server, tmp_path, locked=other)
    server.files[NAME] = NEW
    assert content(get(server, tmp_path, locked=other)) == NEW
    with pytest.raises(
        SourceError, match=rf"md5 {hashlib.md5(NEW).hexdigest()}, but the manifest says {md5[NAME][4:]}"
    ):
        get(server, tmp_path, checksums=md5)
    with pytest.raises(SourceError, match=r"'d/\*' has wildcards, but .* cannot be listed"):
        get(server, tmp_path, "d/*")


def test_a_proxy_of_the_environment_is_asked(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.base)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("no_proxy", "other.example")
    assert content(get(server, tmp_path, base="http://localhost:9")) == OLD
    ((path, headers),) = server.requests
    assert (path, headers["host"]) == (NAME, "localhost:9")


def test_no_server_at_all(tmp_path: Path, server: FileServer) -> None:
    with pytest.raises(NetworkError, match=re.escape("the connection failed (ConnectError), 5 times")):
        get(server, tmp_path, base="http://127.0.0.1:1/x?token=canary")
