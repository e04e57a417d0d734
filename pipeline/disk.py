"""What the file system refuses, told in sentences: a full disk, a read-only one, missing rights."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import CurationError, StoreError


@contextmanager
def writable(folder: Path, doing: str) -> Iterator[None]:
    """Turn the file system's refusals into sentences, also those that a library tells in its own words."""
    full = "free some space or point --store and --out to a larger disk; finished steps are kept"
    rights = "give yourself the right to write there, or point --store and --out elsewhere"
    in_the_way = "a file stands where a folder is needed; point --store and --out elsewhere"
    cures = {
        errno.ENOSPC: ("the disk is full", full),
        errno.EDQUOT: ("your share of the disk is used up", "free some of your quota; finished steps are kept"),
        errno.EFBIG: ("the disk takes no more of this file", f"raise the limit (ulimit -f), or {full}"),
        errno.EROFS: ("the disk is read-only", "point --store and --out to a folder that can be written"),
        errno.EACCES: ("permission denied", rights),
        errno.EPERM: ("operation not permitted", rights),
        errno.ENOTDIR: ("not a folder", in_the_way),
        errno.EEXIST: ("file exists", in_the_way),
    }
    try:
        yield
    except CurationError:
        raise
    except Exception as error:
        number = _refused_by_disk(error)
        if number not in cures:
            raise
        told, cure = cures[number]
        place = str(getattr(error, "filename", None) or folder)
    else:
        return
    raise StoreError(place, f"{doing}: {told}", cure)


def _refused_by_disk(error: Exception) -> int | None:
    """The number of a refusal; polars, pyarrow and numpy wrap the first two kinds in words."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    said = str(error)
    if told := re.search(r"[Ee]rrno (\d+)|os error (\d+)", said):
        return int(told[1] or told[2])
    # numpy's `tofile` says only how far it came.
    return errno.ENOSPC if re.search(r"^\d+ requested and \d+ written$", said) else None
