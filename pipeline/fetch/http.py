"""Files below one address: resumed, retried, checked.

A transfer that breaks goes on where it stopped only when the server proves (ETag, else Last-Modified with a checksum
to come) that the rest belongs to the same file. What cannot be known to be whole is refused: a body without a length
and without a checksum may have been cut anywhere.
"""

from __future__ import annotations

import email.utils
import json
import logging
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import stamina

from pipeline import __version__
from pipeline.errors import NetworkError, SourceError
from pipeline.fetch.downloads import Held, obtain
from pipeline.fetch.hub_errors import ATTEMPTS, TRANSIENT, _WithoutQueries
from pipeline.fetch.named import fetch_named, is_page
from pipeline.fetch.order import Order
from pipeline.fetch.transfer import Meter
from pipeline.manifest.corpus import HttpSource
from pipeline.manifest.lock import without_secrets
from pipeline.source import Fetched

#: Each step of a request may take this long.
TIMEOUT_S = 30.0
#: A row of attempts that brought bytes is followed by another one, so often: long files over bad lines.
ROUNDS = 10
#: A server that asks for a longer pause is not waited for.
MAX_WAIT_S = 120.0
MAX_REDIRECTS = 5

logging.getLogger("httpx2").addFilter(_WithoutQueries())


class Broken(Exception):
    """A transfer that may go better next time; `wait` is what the server asked for."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


@dataclass(frozen=True)
class Target:
    """One file to load: `shown` is its address without secrets; `is_checked` when a checksum will judge the bytes.

    `redirects` are the hosts, beside that of `url`, that may be asked. `at` is told how many bytes are here, and of how
    many.
    """

    corpus: str
    name: str
    url: str
    shown: str
    is_checked: bool
    redirects: tuple[str, ...]
    at: Callable[[int, int | None], None]

    def refused(self, why: str, cure: str = "check source.base and the file's name") -> SourceError:
        return SourceError(self.corpus, f"{self.shown}: {why}", cure)


def fetch_http(order: Order, source: HttpSource) -> Fetched:
    """The wanted files below `source.base`; what was verified once is not asked for again.

    Raises SourceError when a file is refused, is a web page or has a wrong sum twice; NetworkError when the server
    does not answer or the transfer keeps breaking.
    """

    def get(name: str) -> Held:
        url = f"{source.base.rstrip('/')}/{quote(name)}"
        sums = order.sums(name, source.checksums)

        def load(work: Path, meter: Meter) -> Path:
            shown, hosts = without_secrets(url), tuple(source.redirects)
            return download(Target(order.corpus, name, url, shown, bool(sums), hosts, meter.at), work)

        return obtain(order, ("http", url), name, sums, load)

    return fetch_named(order, get, without_secrets(source.base))


def download(target: Target, work: Path) -> Path:
    """Load one file into `work`; returns its path once it is whole."""
    import httpx2

    from pipeline.fetch.guard import Guarded, place

    part = Partial(work)
    if not target.is_checked:
        part.clear()  # another process left it, and nothing would judge the joined bytes
    agent = {"User-Agent": f"m3e-pipeline/{__version__}", "Accept-Encoding": "identity"}
    try:
        own = place(httpx2.URL(target.url))
    except httpx2.InvalidURL:
        own = ""
    if not own:
        raise target.refused("this is no address of the web")
    with httpx2.Client(
        transport=Guarded((own, *target.redirects)),
        timeout=TIMEOUT_S,
        follow_redirects=True,
        max_redirects=MAX_REDIRECTS,
        headers=agent,
    ) as client:
        for _ in range(ROUNDS):
            before = part.have()
            why = _round(client, target, part)
            if why is None:
                return part.path
            if part.have() <= before:
                break
    cure = "check the network, then run again; what was loaded is kept where it can be resumed"
    raise NetworkError(target.corpus, f"{target.shown}: {why}, {ATTEMPTS} times", cure)


class Partial:
    """A file under way and what proves that more bytes belong to it; both survive the process."""

    def __init__(self, work: Path) -> None:
        self.path, self._note = work / "content", work / "from.json"
        told = json.loads(self._note.read_bytes()) if self._note.exists() else {}
        self.validator: list[str] | None = told.get("validator")
        self.total: int | None = told.get("total")

    def have(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def is_whole(self) -> bool:
        return self.total is not None and self.have() == self.total

    def clear(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        self.validator, self.total = None, None

    def begin(self, headers: Mapping[str, str], *, is_checked: bool) -> None:
        """A new file: forget what was there, note what tells it apart."""
        self.clear()
        self.total = int(headers["content-length"]) if headers.get("content-length", "").isdigit() else None
        etag, changed = headers.get("etag", ""), headers.get("last-modified", "")
        if etag and not etag.startswith("W/"):
            self.validator = ["etag", etag]
        elif changed and is_checked:  # a time has seconds only: two versions may share one
            self.validator = ["last-modified", changed]
        self._note.write_text(json.dumps({"validator": self.validator, "total": self.total}))


def _round(client: Any, target: Target, part: Partial) -> str | None:
    """A row of attempts; None when the file is whole, else why the last one broke."""
    try:
        for attempt in stamina.retry_context(_pause, ATTEMPTS, timeout=None, wait_initial=0.5, wait_max=10):
            with attempt:
                _attempt(client, target, part)
    except Broken as error:
        return str(error)
    return None


def _pause(error: Exception) -> bool | float:
    if not isinstance(error, Broken):
        return False
    return True if error.wait is None else error.wait + random.uniform(0, 1)


def _attempt(client: Any, target: Target, part: Partial) -> None:
    import httpx2

    from pipeline.fetch.guard import Refused

    if part.is_whole():
        return
    headers = {}
    if part.have() and part.validator is not None:
        headers = {"Range": f"bytes={part.have()}-", "If-Range": part.validator[1]}
    try:
        with client.stream("GET", target.url, headers=headers) as answer:
            _take(answer, target, part, is_resumed=bool(headers))
            return
    except Refused as refused:
        failure: Exception = target.refused(f"it is not asked: {refused}", refused.cure)
    except httpx2.TooManyRedirects:
        failure = target.refused(f"more than {MAX_REDIRECTS} redirects")
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol):
        failure = target.refused("this is no address of the web")
    except httpx2.HTTPError as error:
        failure = Broken(f"the connection failed ({type(error).__name__})")
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            failure = target.refused("its certificate is not valid", "check your proxy, or use another source")
    # Outside the except block: their errors hold the request.
    raise failure


def _take(answer: Any, target: Target, part: Partial, *, is_resumed: bool) -> None:
    """Write the body of one answer to the partial file, once its head is found right."""
    _judge(answer, target)
    packed = answer.headers.get("content-encoding", "identity") != "identity"
    if answer.is_success and packed and not target.name.endswith((".gz", ".tgz")):
        raise target.refused("the server packs the file on its way, though asked not to", "use another source")
    if is_resumed and answer.status_code == 206:
        _hold_range(answer, part)
    elif answer.status_code == 200:
        _hold_whole(answer, target, part)
    elif answer.status_code in (206, 416):
        part.clear()
        raise Broken(f"the server answered {answer.status_code} to a plain request or an outdated range")
    else:
        raise target.refused(f"the server answered {answer.status_code}")
    with part.path.open("ab") as file:
        for chunk in answer.iter_raw():  # chunks of a fixed size would lose what came before a cut
            file.write(chunk)
            target.at(file.tell(), part.total)
    if part.total is not None and part.have() != part.total:
        told = f"{part.have():,} bytes came instead of {part.total:,}"
        if part.have() > part.total:
            part.clear()
        raise Broken(told)
    part.total = part.have()
    with part.path.open("rb") as file:
        if is_page(file.read(512)) and not target.name.endswith((".html", ".htm")):
            part.clear()
            raise target.refused("a web page came instead of the file", "open the address in a browser")


def _judge(answer: Any, target: Target) -> None:
    """Refusals and requests to wait."""
    status = answer.status_code
    if status in TRANSIENT or status > 504:
        wait = _retry_after(answer.headers.get("retry-after", ""))
        if wait is not None and wait > MAX_WAIT_S:
            cause = f"{target.shown}: the server answered {status} and asks to wait {wait:,.0f} seconds"
            raise NetworkError(target.corpus, cause, "run again later")
        raise Broken(f"the server answered {status}", wait)
    if status == 403 and answer.history:
        raise Broken("the link it redirects to was refused (403)")  # signed links expire: the next try gets a new one
    if status in (401, 403):
        cure = "use another source, or load it in a browser and give it in a source of kind manual"
        raise target.refused(f"the server refuses access ({status})", cure)
    if status in (404, 410):
        raise target.refused(f"there is no such file ({status})")


def _hold_range(answer: Any, part: Partial) -> None:
    """The rest of the same file, from where we stopped, or nothing of it."""
    told = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("content-range", ""))
    assert part.validator is not None
    name, value = part.validator
    is_same = answer.headers.get(name) == value
    if told and is_same and int(told[1]) == part.have() and part.total in (None, int(told[3])):
        part.total = int(told[3])
        return
    part.clear()
    raise Broken("the rest belongs to another version of the file, or to another place in it")


def _hold_whole(answer: Any, target: Target, part: Partial) -> None:
    headers = answer.headers
    part.begin(headers, is_checked=target.is_checked)
    if part.total is None and "chunked" not in headers.get("transfer-encoding", "") and not target.is_checked:
        raise target.refused("the server does not tell the length", "give a checksum in `checksums` of the source")


def _retry_after(told: str) -> float | None:
    """Seconds of a Retry-After header: a number or a date."""
    if told.isdigit():
        return float(told)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(told).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
