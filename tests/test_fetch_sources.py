"""Files fetched by hand, Google Drive, and sources in order of trust."""

from __future__ import annotations

import builtins
import hashlib
import importlib
import importlib.util
import json
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.context import context_of
from pipeline.errors import NetworkError, SourceError
from pipeline.fetch import Fetched, Wanted, fetch
from pipeline.fetch.gdrive import explain
from pipeline.manifest.catalog import read_catalog
from pipeline.manifest.corpus import GdriveSource, ManualSource
from pipeline.source import LockMismatch
from pipeline.steps import fetch_step
from pipeline.store import Store
from tests.http_double import FileServer, Reply
from tests.small import corpus, write_manifests, write_rows
from tests.test_build import pairs, run

WANTED = [Wanted(0, "train", ("lawzhidao.csv",))]
DATA = "title,reply\n问,答\n".encode()
QUOTA = (
    '<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head><body><p class="uc-error-caption">'
    'Sorry, you can&#39;t view or download this file at this time.</p><p class="uc-error-subcaption">Too many users have '
    "viewed or downloaded this file recently. Please try accessing the file again later.</p></body></html>"
)


def manual(store: Path, **told: Any) -> Fetched:
    source = ManualSource(kind="manual", get="lawzhidao.csv", url="https://ann:pw@example.org/data?key=1", **told)
    return fetch("lawzhidao", source, WANTED, store, Store(store))


def test_a_file_fetched_by_hand_is_asked_for_in_one_line_and_then_checked(tmp_path: Path) -> None:
    place = tmp_path / "manual/lawzhidao/lawzhidao.csv"
    with pytest.raises(SourceError) as caught:
        manual(tmp_path)
    assert str(caught.value) == (
        "lawzhidao: 'lawzhidao.csv' must be fetched by hand and is not there yet. "
        f"Cure: get lawzhidao.csv from https://example.org/data and put it at {place}"
    )
    place.parent.mkdir(parents=True)
    place.write_bytes(DATA)
    (file,) = manual(tmp_path).files
    assert (file.path, file.sha256, file.bytes) == (place, hashlib.sha256(DATA).hexdigest(), len(DATA))
    right = {"lawzhidao.csv": f"md5:{hashlib.md5(DATA).hexdigest()}"}
    assert manual(tmp_path, sizes={"lawzhidao.csv": len(DATA)}, checksums=right).files == (file,)
    with pytest.raises(SourceError, match=r"has 20 bytes, but the manifest says 1,000.*put it at"):
        manual(tmp_path, sizes={"lawzhidao.csv": 1000})
    place.write_bytes(DATA[:-1] + b" ")
    with pytest.raises(SourceError, match=rf"but the manifest says {hashlib.md5(DATA).hexdigest()}"):
        manual(tmp_path, checksums=right)
    place.write_bytes(QUOTA.encode())
    with pytest.raises(SourceError, match=r"'lawzhidao\.csv', fetched by hand, is a web page"):
        manual(tmp_path)
    place.unlink()
    place.mkdir()
    with pytest.raises(SourceError, match="no regular file"):
        manual(tmp_path)


def drive(store: Path, **told: Any) -> Fetched:
    source = GdriveSource(kind="gdrive", ids={"lawzhidao.csv": "1aBc"}, **told)
    return fetch("toy", source, WANTED, store, Store(store))


BY_HAND = (
    "load https://drive.google.com/file/d/1aBc/view in a browser and give lawzhidao.csv in a source of kind manual"
)


def test_without_gdown_the_error_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name == "gdown":
            raise ModuleNotFoundError("No module named 'gdown'", name="gdown")
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(SourceError, match=f"needs the package gdown. Cure: run: pip install gdown; or {BY_HAND}"):
        drive(tmp_path)


def test_a_name_without_an_id_is_refused(tmp_path: Path) -> None:
    source = GdriveSource(kind="gdrive", ids={"lawzhidao.csx": "1aBc"})
    with pytest.raises(SourceError, match=r"nearest names there are: 'lawzhidao\.csx'"):
        fetch("toy", source, WANTED, tmp_path, Store(tmp_path))


class FileURLRetrievalError(Exception):
    pass


class DownloadError(Exception):
    pass


class ProxyError(OSError):
    pass


class HTTPError(OSError):
    pass


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (FileURLRetrievalError("Failed:\n\n\tToo many users have viewed this file"), SourceError, "its quota"),
        (FileURLRetrievalError("... 'Anyone with the link'"), SourceError, "does not give 'x.zip' to everybody"),
        (FileURLRetrievalError("something new"), SourceError, "gave FileURLRetrievalError instead of 'x.zip'"),
        (DownloadError("Download failed after 4 retries"), NetworkError, "broke off (DownloadError), 5 times"),
        (ConnectionError("http://u:canary@proxy"), NetworkError, "broke off (ConnectionError), 5 times"),
        (ProxyError("HTTPSConnectionPool: Max retries exceeded with url"), NetworkError, "broke off (ProxyError), 5"),
        (HTTPError("500 Server Error"), SourceError, "gave HTTPError instead of 'x.zip'"),
    ],
)
def test_what_drive_says_becomes_a_sentence_with_the_way_by_hand(
    error: Exception, kind: type[SourceError], told: str
) -> None:
    got = explain("toy", "x.zip", error, "by hand")
    assert type(got) is kind and told in str(got) and str(got).endswith("by hand") and "canary" not in str(got)


@pytest.mark.parametrize("answer", [QUOTA.encode(), DATA, b"<html>new page"])
def test_a_page_never_becomes_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    calls = []

    def download(output: str, **told: Any) -> str:
        calls.append(told)
        return str(Path(output).write_bytes(answer))

    monkeypatch.setattr(importlib, "import_module", lambda name: SimpleNamespace(download=download))
    if answer == DATA:
        assert [drive(tmp_path).files[0].path.read_bytes() for _ in range(2)] == [DATA, DATA]
        assert [call["id"] for call in calls] == ["1aBc"]
        return
    with pytest.raises(SourceError, match="its quota.*wait a day" if b"Quota" in answer else "gave a web page instead"):
        drive(tmp_path)
    assert not list((tmp_path / "downloads/blobs").iterdir())


@pytest.mark.skipif(importlib.util.find_spec("gdown") is None, reason="gdown, an extra, is not installed")
def test_gdown_itself_against_a_stand_in_for_drive(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = importlib.import_module("requests")
    real = requests.Session.get

    def to_us(session: Any, url: str, **told: Any) -> Any:
        path = url.partition(".com/")[2]
        answer = real(session, f"{server.base}/{path}", **told)
        answer.url = url
        return answer

    monkeypatch.setattr(requests.Session, "get", to_us)
    confirm = (
        '<form id="download-form" action="https://drive.usercontent.google.com/download">'
        '<input type="hidden" name="id" value="1aBc"/><input type="hidden" name="confirm" value="t"/></form>'
    )
    page = {"Content-Type": "text/html"}
    attached = {"Content-Disposition": 'attachment; filename="x.csv"', "Content-Type": "text/csv"}
    server.files["download"] = DATA
    server.replies += [Reply(status=200, body=confirm.encode(), headers=page), Reply(headers=attached)]
    (file,) = drive(tmp_path).files
    assert file.path.read_bytes() == DATA
    server.replies.append(Reply(status=200, body=QUOTA.encode(), headers=page))
    with pytest.raises(SourceError, match="its quota") as caught:
        drive(tmp_path / "other")
    assert BY_HAND in str(caught.value) and caught.value.__context__ is None
    pickle.dumps(caught.value)
    server.files["uc"], server.always = DATA, Reply(headers=attached)
    server.replies.append(Reply(headers=attached, cut=3))
    (file,) = drive(tmp_path / "cut").files
    assert file.path.read_bytes() == DATA
    wrong = {"lawzhidao.csv": "sha256:" + "0" * 64}
    with pytest.raises(SourceError, match=rf"has sha256 {file.sha256}, but the manifest says 0000"):
        drive(tmp_path / "wrong", checksums=wrong)


def other_part() -> dict[str, Any]:
    """The same records under other names."""
    told: dict[str, Any] = corpus("one")["parts"][0]
    return told | {
        "files": {"train": "copy.jsonl"},
        "columns": {"frage": "string", "antwort": "string"},
        "select": {"text": "frage", "text_pos": "antwort"},
        "sub_source": "",
    }


def two_sources(server: FileServer, **alternate: Any) -> dict[str, Any]:
    return corpus(
        "one",
        source={"kind": "http", "base": f"{server.base}/a"},
        alternates=[{"source": {"kind": "http", "base": f"{server.base}/b"}, **alternate}],
        expect={"rows": 5, "seen": "measured"},
    )


def rows(renamed: bool = False, count: int = 5) -> bytes:
    names = {"q": "frage", "a": "antwort"} if renamed else {"q": "q", "a": "a"}
    told = ({names[key]: text for key, text in pair.items()} for pair in pairs(0, count))
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in told).encode()


def test_the_first_source_that_can_be_had_is_used_and_told(server: FileServer, tmp_path: Path) -> None:
    server.files["b/copy.jsonl"] = rows(renamed=True, count=4)
    told = two_sources(server, parts=[other_part()], expect={"rows": 4, "seen": "measured"})
    folder = write_manifests(tmp_path / "m", [told], {"name": "small"})
    path, _, outcome = run(folder, tmp_path)
    (lock,) = json.loads((path / "build.json").read_bytes())["lock"].values()
    assert not outcome.gaps and outcome.funnels["one"].kept == 4
    assert (lock["kind"], lock["place"], lock["alternate"]) == ("http", f"{server.base}/b", 1)
    assert lock["failed"] == [
        {
            "kind": "http",
            "place": f"{server.base}/a",
            "why": f"{server.base}/a/one.jsonl: there is no such file (404)",
        }
    ]
    server.files["a/one.jsonl"] = rows()
    path, _, outcome = run(folder, tmp_path)
    (lock,) = json.loads((path / "build.json").read_bytes())["lock"].values()
    assert outcome.funnels["one"].kept == 5
    assert lock["alternate"] == 0 and "failed" not in lock


def test_a_manual_alternate_makes_a_gap_with_every_reason(server: FileServer, tmp_path: Path) -> None:
    by_hand = {"kind": "manual", "get": "one.jsonl", "url": "https://example.org/page"}
    told = two_sources(server)
    told["alternates"].append({"source": by_hand})
    folder = write_manifests(tmp_path / "m", [told, corpus("two")], {"name": "small"})
    write_rows(folder, "two", pairs(5, 8))
    _, _, outcome = run(folder, tmp_path)
    (gap,) = outcome.gaps
    assert gap.cause.count("there is no such file (404)") == 2
    assert "none of its 3 sources can be had" in gap.cause and "must be fetched by hand" in gap.cause
    assert f"put it at {tmp_path}/store/manual/one/one.jsonl" in gap.cure
    place = tmp_path / "store/manual/one/one.jsonl"
    place.parent.mkdir(parents=True)
    place.write_bytes(rows())
    path, _, outcome = run(folder, tmp_path)
    assert not outcome.gaps
    lock = json.loads((path / "build.json").read_bytes())["lock"]["one"]
    assert (lock["alternate"], lock["kind"], len(lock["failed"])) == (2, "manual", 2)


def test_one_cache_serves_all_recipes(server: FileServer, tmp_path: Path) -> None:
    server.files["a/one.jsonl"] = rows()
    recipes = [{"name": "small", "corpora": ["one"]}, {"name": "other", "corpora": ["one"], "min_corpora": 1}]
    for told in recipes:
        folder = write_manifests(tmp_path / "m", [two_sources(server)], told)
    catalog = read_catalog([folder], shipped=False)
    contexts = [context_of(catalog, catalog.recipe(told["name"]), tmp_path / "store") for told in recipes]
    first, second = (fetch_step(context, context.corpora[0]) for context in contexts)
    assert first == second and first.files[0].path.read_bytes() == rows()
    assert len(server.requests) == 1


def test_a_wrong_file_by_hand_is_found_by_its_first_record(tmp_path: Path) -> None:
    source = {"kind": "manual", "get": "one.jsonl", "url": "https://example.org/page"}
    folder = write_manifests(tmp_path / "m", [corpus("one", source=source), corpus("two")], {"name": "small"})
    write_rows(folder, "two", pairs(5, 8))
    place = tmp_path / "store/manual/one/one.jsonl"
    place.parent.mkdir(parents=True)
    place.write_bytes(rows(renamed=True))
    _, _, outcome = run(folder, tmp_path)
    (gap,) = outcome.gaps
    assert (gap.corpus, gap.stage) == ("one", "convert") and "column q is in none of" in gap.cause


def test_a_lock_mismatch_is_never_passed_over() -> None:
    from pipeline.fetch.alternates import Choice, first_of

    source = ManualSource(kind="manual", get="x", url="https://example.org")

    def get(choice: Choice) -> Fetched:
        raise LockMismatch("toy", "other bytes", "look")

    with pytest.raises(LockMismatch):
        first_of("toy", [Choice(source, ()), Choice(source, ())], get)
