"""Members of archives: exactly the declared ones, right bytes; attacks write nothing and end within the caps."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from pipeline.errors import SourceError
from pipeline.fetch import Fetched, Wanted, archive, fetch
from pipeline.manifest.corpus import HttpSource, LocalSource
from pipeline.store import Store
from tests.http_double import FileServer

TRAIN, DEV = '{"question": "训练"}\n'.encode() * 500, b"dev"
BOMB_BYTES = 1 << 28
MEMBERS = {"d/train.json": TRAIN, "d/dev.json": DEV, "d/db_content.json": b"x" * 9, "中文.txt": "中文".encode()}


def get(home: Path, *wanted: Wanted) -> Fetched:
    return fetch("toy", LocalSource(kind="local", root="src"), wanted, home, Store(home / "s"))


def take(home: Path, name: str, member: str = "d/train.json") -> bytes:
    (file,) = get(home, Wanted(0, "train", (f"{name}!{member}",))).files
    return file.path.read_bytes()


def pack(home: Path, name: str, members: list[tuple[str, bytes]]) -> Path:
    path = home / "src" / name
    path.parent.mkdir(exist_ok=True)
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for member, content in members:
                file.writestr(member, content)
        return path
    kind = {"gz": "w:gz", "tgz": "w:gz", "bz2": "w:bz2", "xz": "w:xz", "tar": "w"}[name.rpartition(".")[2]]
    with tarfile.open(path, kind) as file:
        for member, content in members:
            info = tarfile.TarInfo(member)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "A.TGZ".lower(), "a.tar.bz2", "a.tar.xz"])
def test_declared_members_come_out_and_no_other(tmp_path: Path, name: str) -> None:
    path = pack(tmp_path, name, list(MEMBERS.items()))
    (tmp_path / "src/plain-2.json").write_bytes(b"plain")
    wanted = [
        Wanted(1, "train", (f"{name}!中文.txt",)),
        Wanted(0, "train", (f"{name}!d/train.json", "plain-*.json")),
        Wanted(0, "dev", (f"{name}!d/dev.json",)),
    ]
    fetched = get(tmp_path, *wanted)
    assert [(f.part, f.split, f.name, f.path.read_bytes()) for f in fetched.files] == [
        (0, "train", f"{name}!d/train.json", TRAIN),
        (0, "train", "plain-2.json", b"plain"),
        (0, "dev", f"{name}!d/dev.json", DEV),
        (1, "train", f"{name}!中文.txt", "中文".encode()),
    ]
    assert [(f.sha256, f.bytes) for f in fetched.files[:1]] == [(hashlib.sha256(TRAIN).hexdigest(), len(TRAIN))]
    assert [(f.name, f.sha256) for f in fetched.archives] == [(name, hashlib.sha256(path.read_bytes()).hexdigest())]
    kept = [p for p in (tmp_path / "s").rglob("*") if p.is_file() and p.suffix not in (".json", ".lock")]
    assert sorted(p.read_bytes() for p in kept) == sorted([TRAIN, DEV, "中文".encode()])
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "s").rglob("*")}
    assert get(tmp_path, *wanted) == fetched
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "s").rglob("*")} == before


def test_wrong_wishes_are_sentences(tmp_path: Path) -> None:
    pack(tmp_path, "a.zip", list(MEMBERS.items()))
    with pytest.raises(SourceError, match=r"a\.zip has no member 'd/trian\.json'.*nearest names.*'d/train\.json'"):
        take(tmp_path, "a.zip", "d/trian.json")
    for member in ("../up.json", "/etc/passwd", "d/../dev.json", "d//dev.json", ""):
        with pytest.raises(SourceError, match=r"no plain name of a member|not a plain path below the source"):
            take(tmp_path, "a.zip", member)
    with pytest.raises(SourceError, match=r"'a\.zip!d/dev\.json' is wanted by two splits"):
        get(tmp_path, Wanted(0, "train", ("a.zip!d/dev.json",)), Wanted(0, "dev", ("a.zip!d/dev.json",)))
    with pytest.raises(SourceError, match=r"no file matches 'b\.zip'"):
        take(tmp_path, "b.zip")


def test_an_archive_behind_http_is_loaded_and_opened_once(server: FileServer, tmp_path: Path) -> None:
    packed = pack(tmp_path, "a.zip", list(MEMBERS.items())).read_bytes()
    server.files["x/a.zip"] = packed
    sums = {
        "a.zip": f"sha256:{hashlib.sha256(packed).hexdigest()}",
        "a.zip!d/dev.json": f"md5:{hashlib.md5(DEV).hexdigest()}",
    }
    source = HttpSource(kind="http", base=f"{server.base}/x", checksums=sums)
    wanted = [Wanted(0, "train", ("a.zip!d/train.json", "a.zip!d/dev.json"))]
    for _ in range(2):
        fetched = fetch("toy", source, wanted, tmp_path, Store(tmp_path / "s"))
        assert [f.path.read_bytes() for f in fetched.files] == [DEV, TRAIN]
    assert len(server.requests) == 1
    wrong = source.model_copy(update={"checksums": sums | {"a.zip!d/dev.json": "md5:" + "0" * 32}})
    with pytest.raises(SourceError, match=rf"'a\.zip!d/dev\.json' has md5 {hashlib.md5(DEV).hexdigest()}, but"):
        fetch("toy", wrong, wanted, tmp_path, Store(tmp_path / "s"))


def zip_of(*members: tuple[zipfile.ZipInfo | str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for info, content in members:
            file.writestr(info, content)
    return out.getvalue()


def tar_of(*members: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as file:  # type: ignore[call-overload]
        for info, content in members:
            if info.isreg() and not info.size:
                info.size = len(content)
            file.addfile(info, io.BytesIO(content) if content else None)
    return out.getvalue()


def zipped(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def tarred(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@cache
def bomb(name: str = "d/train.json") -> bytes:
    """Zeros as deflate packs them: 1,030 to 1."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9, mtime=0) as file:
        info = tarred(name)
        info.size = BOMB_BYTES
        file.write(info.tobuf())
        for _ in range(BOMB_BYTES >> 24):
            file.write(bytes(1 << 24))
        file.write(bytes(10240))
    return out.getvalue()


@cache
def zip_bomb(claimed: int | None = None) -> bytes:
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = b"".join(packed.compress(bytes(1 << 24)) for _ in range(BOMB_BYTES >> 24)) + packed.flush()
    made = bytearray(zip_of(("d/train.json", b"")))
    start = 30 + len("d/train.json")
    directory, end = made.index(b"PK\1\2"), made.index(b"PK\5\6")
    size = (claimed or BOMB_BYTES).to_bytes(4, "little")
    crc = zlib.crc32(bytes(0)).to_bytes(4, "little")
    sizes = crc + len(body).to_bytes(4, "little") + size
    local, central = bytes(made[:14]) + sizes + bytes(made[26:start]), bytes(made[directory:end])
    local, central = (
        local[:8] + b"\x08\0" + local[10:],
        central[:10] + b"\x08\0" + central[12:16] + sizes + central[28:],
    )
    at = len(local) + len(body)
    tail = bytes(made[end : end + 16]) + at.to_bytes(4, "little") + b"\0\0"
    return local + body + central + tail


def many(count: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for at in range(count):
            file.writestr(zipfile.ZipInfo(f"f{at}"), b"")
        file.writestr("d/train.json", b"right")
    return out.getvalue()


def long_header() -> bytes:
    """A tar file whose first header announces 256 MiB of extended attributes."""
    info = tarred("x", tarfile.XHDTYPE)
    info.size = 1 << 28
    return gzip.compress(info.tobuf() + bytes(1 << 28), 1)


Attack = tuple[str, Callable[[], bytes], str]
REFUSED: dict[str, Attack] = {
    "zip link": ("a.zip", lambda: zip_of((zipped("d/train.json", stat.S_IFLNK | 0o777), b"/etc/passwd")), "is a link"),
    "zip device": ("a.zip", lambda: zip_of((zipped("d/train.json", stat.S_IFBLK | 0o777), b"")), "a device"),
    "zip pipe": ("a.zip", lambda: zip_of((zipped("d/train.json", stat.S_IFIFO | 0o777), b"")), "a device"),
    "zip bomb": ("a.zip", zip_bomb, "unpacks to more than 1000 times its size"),
    "zip bomb that lies": ("a.zip", lambda: zip_bomb(1000), "damaged|more than"),
    "zip cut": ("a.zip", lambda: many(50)[:-30], "it is no zip file, or its end is missing"),
    "zip of nothing": ("a.zip", lambda: b"<html>not found", "it is no zip file"),
    "zip damaged": ("a.zip", lambda: zip_of(("d/train.json", TRAIN)).replace(b"PK\3\4", b"PK\3\5"), "damaged"),
    "tar link": ("a.tgz", lambda: tar_of((tarred("d/train.json", tarfile.SYMTYPE, "/etc/passwd"), b"")), "is a link"),
    "tar hard link": ("a.tgz", lambda: tar_of((tarred("d/train.json", tarfile.LNKTYPE, "x"), b"")), "is a link"),
    "tar device": ("a.tgz", lambda: tar_of((tarred("d/train.json", tarfile.CHRTYPE), b"")), "a device"),
    "tar folder": ("a.tgz", lambda: tar_of((tarred("d/train.json", tarfile.DIRTYPE), b"")), "a folder"),
    "tar bomb": ("a.tgz", bomb, "unpacks to more than"),
    "tar bomb beside the member": ("a.tgz", lambda: bomb("x"), "unpacks to more than"),
    "tar header bomb": ("a.tgz", long_header, "headers are longer|more than the caps"),
    "tar cut": ("a.tgz", lambda: tar_of((tarred("d/train.json"), os.urandom(9999)))[:-2000], "damaged"),
    "tar of nothing": ("a.tgz", lambda: b"no archive", "damaged"),
    "tar without the member": ("a.tar", lambda: tar_of((tarred("x"), b"x"), mode="w"), "has no member 'd/train.json'"),
}
DOUBLED: dict[str, Attack] = {
    "tar": ("a.tgz", lambda: tar_of((tarred("d/train.json"), b"1"), (tarred("./d/train.json"), b"2")), "twice"),
}
IGNORED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "zip slip": ("a.zip", lambda: zip_of(("../../escaped", b"x"), ("d/train.json", b"right"))),
    "zip absolute": ("a.zip", lambda: zip_of(("/tmp/escaped", b"x"), ("d/train.json", b"right"))),
    "zip of 100,000": ("a.zip", lambda: many(100_000)),
    "tar slip": ("a.tgz", lambda: tar_of((tarred("../../escaped"), b"x"), (tarred("d/train.json"), b"right"))),
    "tar absolute": ("a.tgz", lambda: tar_of((tarred("/tmp/escaped"), b"x"), (tarred("d/train.json"), b"right"))),
    "tar link aside": (
        "a.tgz",
        lambda: tar_of((tarred("d", tarfile.SYMTYPE, "/tmp/escaped"), b""), (tarred("d/train.json"), b"right")),
    ),
}


@contextmanager
def nothing_escapes(home: Path) -> Iterator[None]:
    """Whatever happens inside, files appear in the store alone, and soon."""
    began, outside = time.monotonic(), set(home.rglob("*"))
    yield
    new = {path for path in set(home.rglob("*")) - outside if (home / "s") not in (path, *path.parents)}
    assert not new
    assert not [path for path in (home / "s").rglob("*") if "escaped" in path.name or path.is_symlink()]
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("attack", [*REFUSED, *(f"doubled {kind}" for kind in DOUBLED)])
def test_attacks_are_refused_and_leave_nothing(tmp_path: Path, attack: str) -> None:
    name, make, told = REFUSED.get(attack) or DOUBLED[attack.removeprefix("doubled ")]
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / name).write_bytes(make())
    with nothing_escapes(tmp_path), pytest.raises(SourceError, match=told):
        take(tmp_path, name)
    assert not [p for p in (tmp_path / "s").rglob("*") if p.is_file() and p.suffix != ".lock"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_a_doubled_member_is_refused(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a.zip").write_bytes(zip_of(("d/train.json", b"1"), ("d/train.json", b"2")))
    with nothing_escapes(tmp_path), pytest.raises(SourceError, match=r"it holds 'd/train\.json' twice"):
        take(tmp_path, "a.zip")


@pytest.mark.parametrize("attack", IGNORED)
def test_what_was_not_declared_is_never_touched(tmp_path: Path, attack: str) -> None:
    name, make = IGNORED[attack]
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / name).write_bytes(make())
    with nothing_escapes(tmp_path):
        assert take(tmp_path, name) == b"right"
    assert not Path("/tmp/escaped").exists()


def test_numbers_above_the_caps_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(tmp_path, "a.zip", [(f"{at}", b"") for at in range(60)])
    pack(tmp_path, "a.tgz", [(f"{at}", b"") for at in range(60)])
    monkeypatch.setattr(archive, "MAX_MEMBERS", 50)
    for name in ("a.zip", "a.tgz"):
        with pytest.raises(SourceError, match=r"60 members; at most 50|more than 50 members"):
            take(tmp_path, name, "7")
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 1000)
    for name in ("b.zip", "b.tar"):
        pack(tmp_path, name, list(MEMBERS.items()))
        with pytest.raises(SourceError, match=f"unpacks to {len(TRAIN):,} bytes; at most 1,000"):
            take(tmp_path, name)
        assert take(tmp_path, name, "d/dev.json") == DEV


MEASURED = """
import json, resource, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.test_archive import take
from pipeline.errors import SourceError
take(Path({warm!r}), "w.zip", "x")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    told = len(take(Path({home!r}), {name!r}))
except SourceError as error:
    told = str(error)
print(json.dumps([told, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024]))
"""


@pytest.mark.parametrize("attack", ["zip bomb", "tar bomb", "tar header bomb", "big"])
def test_memory_stays_small(tmp_path: Path, attack: str) -> None:
    """150 MiB of real noise, and bombs of 256, under 60 MiB on top of the program."""
    root = str(Path(__file__).resolve().parents[1])
    (tmp_path / "warm").mkdir()
    pack(tmp_path / "warm", "w.zip", [("x", b"x")])
    (tmp_path / "src").mkdir()
    if attack == "big":
        name = "a.tgz"
        noise = os.urandom(1 << 20) * 150
        (tmp_path / "src" / name).write_bytes(gzip.compress(tar_of((tarred("d/train.json"), noise), mode="w"), 1))
    else:
        name, make, _ = REFUSED[attack]
        (tmp_path / "src" / name).write_bytes(make())
    code = MEASURED.format(root=root, warm=str(tmp_path / "warm"), home=str(tmp_path), name=name)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    told, mebibytes = json.loads(done.stdout)
    assert told == 150 << 20 if attack == "big" else isinstance(told, str)
    assert mebibytes < 60 + (150 if attack == "big" else 0)  # `take` reads the member whole
