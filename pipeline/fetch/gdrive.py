"""Files of Google Drive by id, through gdown, which knows its pages of confirmation.

Drive answers with a web page when a file is too popular, private or gone. Such a page never becomes a file: it is
recognised, and the error names the way by hand. gdown is an extra: corpora that have another source do without it.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from pipeline.errors import NetworkError, SourceError
from pipeline.fetch.downloads import Held, obtain
from pipeline.fetch.named import fetch_named, is_page
from pipeline.fetch.order import Order
from pipeline.fetch.transfer import Meter
from pipeline.manifest.corpus import GdriveSource
from pipeline.source import Fetched

TIMEOUT_S = 30.0
#: New tries of one transfer, on top of the first; gdown waits between them, longer each time, with jitter.
RETRIES = 4
#: Words of Drive's pages and of gdown's reports of them, in lower case.
_QUOTA = ("too many users", "quota", "many accesses", "exceeded")
_CLOSED = ("permission", "access denied", "sign in", "anyone with the link")


def fetch_gdrive(order: Order, source: GdriveSource) -> Fetched:
    """The wanted files, each under the id that `source.ids` gives its name.

    Raises SourceError when gdown is not installed, Drive refuses, or the sums are wrong; NetworkError when the
    connection fails.
    """

    def get(name: str) -> Held:
        file_id = source.ids[name]
        sums = order.sums(name, source.checksums)

        def load(work: Path, meter: Meter) -> Path:
            return _load(order, name, file_id, work, bool(sums), meter)

        return obtain(order, ("gdrive", file_id), name, sums, load)

    return fetch_named(order, get, "the ids of this source", source.ids)


def _load(order: Order, name: str, file_id: str, work: Path, is_checked: bool, meter: Meter) -> Path:
    by_hand = _by_hand(order, name, file_id)
    gdown = _gdown(order.corpus, by_hand)
    target = work / "content"
    target.unlink(missing_ok=True)
    if not is_checked:  # gdown would go on with what another process left, and nothing would judge the joined bytes
        for path in work.iterdir():
            path.unlink()
    try:
        gdown.download(
            id=file_id,
            output=str(target),
            quiet=True,
            resume=True,
            use_cookies=False,
            timeout=TIMEOUT_S,
            retries=RETRIES,
            progress=meter.at,
        )
    except Exception as error:
        # Errors of requests are OSErrors without a number; those of this disk have one.
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
            raise
        told = explain(order.corpus, name, error, by_hand)
    else:
        with target.open("rb") as file:
            head = file.read(1 << 16)
        if not is_page(head):
            return target
        target.unlink()
        told = explain(order.corpus, name, SourceError("", head.decode("utf-8", "replace"), ""), by_hand)
    # Outside the except block: their errors hold the request.
    raise told


def _gdown(corpus: str, by_hand: str) -> Any:
    try:
        return importlib.import_module("gdown")
    except ModuleNotFoundError as error:
        if error.name != "gdown":
            raise
    raise SourceError(corpus, "Google Drive needs the package gdown", f"run: pip install gdown; or {by_hand}")


def explain(corpus: str, name: str, error: Exception, by_hand: str) -> SourceError:
    """Our error for what gdown raised or Drive answered instead of a file."""
    said, kind = str(error).lower(), type(error).__name__
    # First: what requests says of a failed connection holds "max retries exceeded", and is no page of Drive.
    if kind == "DownloadError" or (isinstance(error, OSError) and kind != "HTTPError"):
        cause = f"the transfer of '{name}' from Google Drive broke off ({kind}), {RETRIES + 1} times"
        return NetworkError(corpus, cause, f"check the network, then run again; or {by_hand}")
    if any(word in said for word in _QUOTA):
        cause = f"Google Drive says that too many people loaded '{name}' lately (its quota)"
        return SourceError(corpus, cause, f"wait a day, or {by_hand}")
    if any(word in said for word in _CLOSED):
        return SourceError(corpus, f"Google Drive does not give '{name}' to everybody", by_hand)
    told = "a web page" if isinstance(error, SourceError) else kind
    return SourceError(corpus, f"Google Drive gave {told} instead of '{name}'", by_hand)


def _by_hand(order: Order, name: str, file_id: str) -> str:
    page = f"https://drive.google.com/file/d/{file_id}/view"
    return f"load {page} in a browser and give {name} in a source of kind manual or local"
