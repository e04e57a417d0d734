"""Members of archives by their exact names: `DuSQL.zip!DuSQL/train.json`.

An archive is a stranger's file. Only declared members are read, as streams, under caps; none of its names ever becomes
a path here, so there is nothing to escape from. Links, devices, encrypted and doubled members are refused. Extracted
members are entries of the store: an archive with the same checksum is opened once.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO

from pipeline.errors import SourceError
from pipeline.fetch.match import is_inside, nearest
from pipeline.fetch.order import CHUNK
from pipeline.source import MAX_RATIO, MAX_UNPACKED_BYTES, SourceFile, unpacks_too_far
from pipeline.store import Entry, Receipt, Store, canonical_json

ZIP = (".zip",)
TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
#: One member may have so many bytes.
MAX_MEMBER_BYTES = 64 << 30
MAX_MEMBERS = 250_000
#: The table of contents is read as a whole.
MAX_DIRECTORY_BYTES = 32 << 20
#: Headers between two members of a tar file are held in memory.
MAX_HEADER_BYTES = 4 << 20


class _Refused(Exception):
    """Why an archive is not opened further."""


def split_name(name: str) -> tuple[str, str | None]:
    """An archive and its member; the name itself and None for a plain file.

    >>> split_name("DuSQL.zip!DuSQL/train.json"), split_name("what!.json")
    (('DuSQL.zip', 'DuSQL/train.json'), ('what!.json', None))
    """
    outer, mark, member = name.partition("!")
    return (outer, member) if mark and outer.lower().endswith(ZIP + TAR) else (name, None)


def extract(corpus: str, archive: SourceFile, members: Sequence[str], store: Store) -> dict[str, tuple[Path, str, int]]:
    """Path, sha256 and size of each member.

    Raises SourceError for a member that is absent, doubled or no regular file, a damaged archive, and one that breaks
    a cap.
    """
    wanted = sorted(set(members))
    entry = store.run("fetch", _key(archive.sha256, wanted), lambda folder: _work(corpus, archive, wanted, folder))
    return _told(entry, wanted)


def extracted(archive: SourceFile, members: Sequence[str], store: Store) -> dict[str, tuple[Path, str, int]] | None:
    """The same, where it was done before."""
    wanted = sorted(set(members))
    entry = store.find("fetch", _key(archive.sha256, wanted))
    return _told(entry, wanted) if entry is not None else None


def _key(sha256: str, wanted: Sequence[str]) -> str:
    return hashlib.sha256(canonical_json(["members", sha256, wanted])).hexdigest()[:32]


def _told(entry: Entry, wanted: Sequence[str]) -> dict[str, tuple[Path, str, int]]:
    files = {name: (f"{at}", entry.files[f"{at}"]) for at, name in enumerate(wanted)}
    return {name: (entry.path / at, told["sha256"], told["bytes"]) for name, (at, told) in files.items()}


def _work(corpus: str, archive: SourceFile, wanted: Sequence[str], folder: Path) -> Receipt:
    for member in wanted:
        if not is_inside(member):
            cure = "write the member's name as the archive has it, relative, with '/'"
            raise SourceError(corpus, f"'{member}' is no plain name of a member of {archive.name}", cure)
    targets = {member: folder / f"{at}" for at, member in enumerate(wanted)}
    is_zip = archive.name.lower().endswith(ZIP)
    seen: list[str] = []
    try:
        (_unzip if is_zip else _untar)(archive, targets, seen)
    except _Refused as refusal:
        why = str(refusal)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, struct.error) as error:
        why = f"it is damaged ({type(error).__name__})"
    except OSError as error:
        if error.errno is not None:
            raise
        why = f"it is damaged ({type(error).__name__})"  # gzip and bz2 say so
    except (NotImplementedError, RuntimeError, ValueError):
        why = "it is packed or locked in a way that cannot be read here"
    else:
        missing = [member for member in wanted if not targets[member].exists()]
        if not missing:
            return {"archive": archive.sha256, "members": list(wanted)}
        cause = f"{archive.name} has no member '{missing[0]}'"
        raise SourceError(corpus, cause, nearest(missing[0], seen))
    raise SourceError(corpus, f"{archive.name}: {why}", "look at the archive; fetch it again, or use another source")


def _unzip(archive: SourceFile, targets: Mapping[str, Path], seen: list[str]) -> None:
    _hold_directory(archive.path)
    with zipfile.ZipFile(archive.path) as file:
        infos = file.infolist()
        found: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            if len(seen) < 5000:
                seen.append(info.filename)
            if info.filename in targets:
                if info.filename in found:
                    raise _Refused(f"it holds '{info.filename}' twice")
                found[info.filename] = info
        for name, info in found.items():
            mode = info.external_attr >> 16
            if info.is_dir() or (stat.S_IFMT(mode) and not stat.S_ISREG(mode)):
                raise _Refused(f"'{name}' is a link, a folder or a device")
            if info.flag_bits & 1:
                raise _Refused(f"'{name}' is locked with a password")
            _hold_caps(name, info.file_size, info.compress_size)
            with file.open(info) as member:
                _copy(name, member, targets[name], info.compress_size)


def _hold_directory(path: Path) -> None:
    """Look at the size of a zip file's table of contents before it is read into memory."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - (1 << 16) - 64))
        tail = file.read()
        at = tail.rfind(b"PK\5\6")
        if at < 0 or len(tail) < at + 22:
            raise _Refused("it is no zip file, or its end is missing")
        count, length = struct.unpack("<HI", tail[at + 10 : at + 16])
        # Numbers too large for their field stand in a record of their own, found through its locator.
        if at >= 20 and tail[at - 20 : at - 16] == b"PK\6\7":
            # Versions of zipfile look in either place.
            for place in (struct.unpack("<Q", tail[at - 12 : at - 4])[0], size - len(tail) + at - 76):
                file.seek(min(max(place, 0), size))
                record = file.read(56)
                if record[:4] == b"PK\6\6" and len(record) == 56:
                    count, length = (
                        max(*both) for both in zip((count, length), struct.unpack("<QQ", record[32:48]), strict=True)
                    )
    if count > MAX_MEMBERS or length > MAX_DIRECTORY_BYTES:
        raise _Refused(f"it holds {count:,} members; at most {MAX_MEMBERS:,} are read")


class _Metered:
    """A stream that stops when more is unpacked than the caps, or than the next step may need."""

    def __init__(self, stream: IO[bytes], packed: int) -> None:
        self._stream, self._packed = stream, packed
        self._count, self._until = 0, 0

    def allow(self, count: int) -> None:
        """So many bytes, and no more, until the next call."""
        self._until = self._count + count

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._count += len(data)
        if unpacks_too_far(self._packed, self._count):
            raise _Refused("it unpacks to more than the caps allow")
        if self._count > self._until:
            raise _Refused("its headers are longer than any real ones")
        return data


def _untar(archive: SourceFile, targets: Mapping[str, Path], seen: list[str]) -> None:
    with archive.path.open("rb") as plain, _unpacked(plain, archive.name) as stream:
        meter = _Metered(stream, archive.bytes)
        meter.allow(MAX_HEADER_BYTES)
        # "r|": forwards only, nothing is read twice.
        with tarfile.open(fileobj=meter, mode="r|", bufsize=CHUNK) as file:  # type: ignore[call-overload]
            for _ in range(MAX_MEMBERS):
                meter.allow(MAX_HEADER_BYTES)
                info = file.next()
                if info is None:
                    return
                name = info.name.removeprefix("./")
                file.members = []  # forwards only: nobody looks back
                if len(seen) < 5000:
                    seen.append(name)
                if info.size > MAX_UNPACKED_BYTES or info.size < 0:
                    raise _Refused(f"'{name}' claims {info.size:,} bytes")
                meter.allow(info.size + MAX_HEADER_BYTES)
                if name in targets:
                    _untar_one(file, info, name, targets[name], archive.bytes)
                else:
                    _skip(file, info)
            raise _Refused(f"it holds more than {MAX_MEMBERS:,} members")


def _untar_one(file: tarfile.TarFile, info: tarfile.TarInfo, name: str, target: Path, packed: int) -> None:
    if target.exists():
        raise _Refused(f"it holds '{name}' twice")
    if not info.isreg() or info.issparse():
        raise _Refused(f"'{name}' is a link, a folder or a device")
    _hold_caps(name, info.size, packed)
    member = file.extractfile(info)
    assert member is not None
    with member:
        _copy(name, member, target, packed)


def _skip(file: tarfile.TarFile, info: tarfile.TarInfo) -> None:
    """Read over a member now, under the allowance made for it."""
    if info.isreg() and not info.issparse() and (member := file.extractfile(info)) is not None:
        with member:
            while member.read(CHUNK):
                pass


def _unpacked(plain: BinaryIO, name: str) -> Any:
    lower = name.lower()
    if lower.endswith((".gz", ".tgz")):
        return gzip.GzipFile(fileobj=plain)
    if lower.endswith((".bz2", ".tbz2")):
        return bz2.BZ2File(plain)
    return lzma.LZMAFile(plain) if lower.endswith((".xz", ".txz")) else plain


def _hold_caps(name: str, size: int, packed: int) -> None:
    if size > MAX_MEMBER_BYTES:
        raise _Refused(f"'{name}' unpacks to {size:,} bytes; at most {MAX_MEMBER_BYTES:,} are read")
    if unpacks_too_far(packed, size):
        raise _Refused(f"'{name}' unpacks to more than {MAX_RATIO} times its size: an attack, not text")


def _copy(name: str, member: IO[bytes], target: Path, packed: int) -> None:
    """Stream one member to its place; what it claims in its header is not believed."""
    count = 0
    with target.open("xb") as file:
        while chunk := member.read(CHUNK):
            count += len(chunk)
            _hold_caps(name, count, packed)
            file.write(chunk)
