"""A text file as UTF-8 bytes, whatever its encoding, unpacked, in chunks of bounded size.

Bytes that do not decode pass through (or become 0xFF, which no UTF-8 holds), so that the row they stand in can be
told bad by itself; a file most of whose rows are so is refused as a whole.
"""

from __future__ import annotations

import codecs
import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa

from pipeline.errors import FormatError
from pipeline.layouts.rows import CHUNK_BYTES, MAX_ROW_BYTES, Bools, Int64s
from pipeline.source import MAX_RATIO, unpacks_too_far

_BOM = codecs.BOM_UTF8
_UNDECODABLE = "m3e-undecodable"
_GZIP = b"\x1f\x8b"
#: So many bytes beyond ASCII that read as UTF-8 are no accident in a GBK file.
_TELLING_BYTES = 32


def _mark(fault: UnicodeError) -> tuple[str, int]:
    # One byte at a time: a codec may count the ASCII byte that ended the broken sequence as part of it.
    return "\udcff", cast(UnicodeDecodeError, fault).start + 1


codecs.register_error(_UNDECODABLE, _mark)


def utf8_chunks(path: Path, encoding: str, place: str) -> Iterator[bytes]:
    """The content of `path` (plain or gzip, told by its first bytes) as UTF-8; FormatError for a broken file."""
    decoder = None if encoding.startswith("utf-8") else codecs.getincrementaldecoder(encoding)(_UNDECODABLE)
    first = True
    for chunk in _raw_chunks(path, place):
        if first:
            chunk = _opening(chunk, encoding, place)
            first = False
        if decoder is not None:
            chunk = decoder.decode(chunk).encode("utf-8", "surrogateescape")
        yield chunk
    if decoder is not None and (rest := decoder.decode(b"", True)):
        yield rest.encode("utf-8", "surrogateescape")


def _raw_chunks(path: Path, place: str) -> Iterator[bytes]:
    with path.open("rb") as plain:
        packed = plain.read(2) == _GZIP
        plain.seek(0)
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=plain)) if packed else plain
        size, count = os.fstat(plain.fileno()).st_size, 0
        try:
            while chunk := stream.read(CHUNK_BYTES):
                count += len(chunk)
                if packed and unpacks_too_far(size, count):
                    raise unpacked_too_far(place)
                yield chunk
        except EOFError:
            raise FormatError(place, "the gzip stream ends early", "fetch the file again") from None
        except (gzip.BadGzipFile, zlib.error) as fault:
            raise FormatError(place, f"the gzip stream is damaged ({fault})", "fetch the file again") from None


def _opening(chunk: bytes, encoding: str, place: str) -> bytes:
    if encoding == "utf-8-sig":
        return chunk.removeprefix(_BOM)
    if encoding == "utf-8":
        if chunk.startswith(_BOM):
            raise FormatError(place, "the file opens with a byte-order mark", "declare encoding: utf-8-sig")
        return chunk
    beyond = len(chunk) - len(chunk.translate(None, bytes(range(0x80, 0x100))))
    if beyond >= _TELLING_BYTES:
        try:
            codecs.getincrementaldecoder("utf-8")().decode(chunk)
        except UnicodeDecodeError:
            return chunk
        raise FormatError(place, f"declared encoding {encoding}, but from byte 0 it reads as UTF-8", "declare utf-8")
    return chunk


def whole_lines(chunks: Iterable[bytes], place: str) -> Iterator[bytes]:
    """The same bytes, cut after line feeds only."""
    parts: list[bytes] = []
    held = 0
    for chunk in chunks:
        cut = chunk.rfind(b"\n") + 1
        if not cut:
            parts.append(chunk)
            held += len(chunk)
            if held > MAX_ROW_BYTES:
                raise too_long(place)
            continue
        yield b"".join((*parts, chunk[:cut]))
        parts, held = [chunk[cut:]], len(chunk) - cut
    if rest := b"".join(parts):
        yield rest


def unpacked_too_far(place: str) -> FormatError:
    """The error for a file that unpacks to more than any honest one."""
    cause = f"it unpacks to more than {MAX_RATIO} times its size: an attack, not text"
    return FormatError(place, cause, "look at the file; fetch it again, or use another source")


def too_long(place: str) -> FormatError:
    """The error for a row that does not end within MAX_ROW_BYTES."""
    cause = f"a row does not end within {MAX_ROW_BYTES >> 20} MiB"
    return FormatError(place, cause, "check layout, path and quote of the part")


def decodes(data: bytes, starts: Int64s, ends: Int64s) -> Bools:
    """Which of the rows `data[start:end]` are UTF-8; one pass where all are."""
    good = np.ones(len(starts), dtype=np.bool_)
    spans = [(0, len(starts))]
    while spans:  # halves of what does not decode, down to rows
        low, high = spans.pop()
        if low == high:
            continue
        if is_utf8(memoryview(data)[starts[low] : ends[high - 1]]):
            continue
        if high - low == 1:
            good[low] = False
        else:
            middle = (low + high) // 2
            spans += [(low, middle), (middle, high)]
    return good


def is_utf8(data: bytes | memoryview) -> bool:
    """Is it UTF-8 as Python has it? Arrow's check is ten times as fast as decoding.

    >>> is_utf8("文".encode()), is_utf8(b"\\xff"), is_utf8(b"\\xed\\xa0\\x80")
    (True, False, False)
    """
    offsets = pa.array([0, len(data)], pa.int32()).buffers()[1]
    try:
        pa.Array.from_buffers(pa.binary(), 1, [None, offsets, pa.py_buffer(data)]).cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True


def undecodable(row: bytes, encoding: str) -> str:
    """The reason for a row that does not decode."""
    try:
        row.decode()
    except UnicodeDecodeError as fault:
        return f"not {encoding}: character {len(row[: fault.start].decode())} of the row does not decode"
    raise ValueError("the row decodes")


def refuse_wrong_encoding(good: Bools, data: bytes, starts: Int64s, ends: Int64s, encoding: str, place: str) -> None:
    """FormatError when the first rows of a file show that its encoding is declared wrongly.

    A single stray row is a bad row; more than half of the rows beyond ASCII (and ten at least, or all) are not.
    """
    bad = len(good) - int(good.sum())
    if not bad:
        return
    beyond = sum(1 for low, high in zip(starts, ends, strict=True) if not data[low:high].isascii())
    if bad == len(good) or (bad >= 10 and bad * 2 > beyond):
        row = int(np.flatnonzero(~good)[0])
        cause = f"declared encoding {encoding}, but {bad} of its first {len(good)} rows do not decode"
        where = f"the first is row {row}, in the line that begins {int(starts[row])} bytes into the text"
        raise FormatError(place, f"{cause}; {where}", "declare the encoding the file has")
