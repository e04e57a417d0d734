"""What the Hub's refusals mean, in our own words.

Exceptions of huggingface_hub hold the request with its `authorization` header, and their messages hold signed URLs:
pickled by a task runner they would carry the token to disk (measured with Prefect 3.8). So every call into the library
goes through `ask`, and nothing of such an exception but its kind and its status code gets past it.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from functools import cache
from typing import TypeVar
from urllib.parse import urlsplit

import stamina

from pipeline.errors import NetworkError, SourceError

Answer = TypeVar("Answer")

#: How often a call is tried in all; waits start at half a second, double, and have a second of jitter.
ATTEMPTS = 5
TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
#: Each step of a request may take this long; a server that accepts and then falls silent must not stop a build.
TIMEOUT_S = 30.0


class _WithoutQueries(logging.Filter):
    """Cuts the query off every URL: links to blobs are signed, and the library logs them when a transfer breaks."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = re.sub(r"(https?://[^\s?]+)\?[^\s:,)']+", r"\1", record.getMessage()), ()
        return True


for _logger in ("huggingface_hub.file_download", "huggingface_hub.utils._http"):
    logging.getLogger(_logger).addFilter(_WithoutQueries())


def ask(corpus: str, repo: str, what: str, call: Callable[[], Answer], *, is_download: bool = False) -> Answer:
    """The answer of `call`, which speaks to the Hub about `what` of `repo`; repeated while the failure is transient.

    Raises NetworkError after ATTEMPTS transient failures and SourceError for refusals; errors of this disk (full,
    read-only) pass through as OSError.
    """
    guard_client()
    for attempt in stamina.retry_context(NetworkError, ATTEMPTS, timeout=None, wait_initial=0.5, wait_max=10):
        with attempt:
            return _ask_once(corpus, repo, what, call, is_download)
    raise AssertionError("retry_context ends by returning or raising")


@cache
def guard_client() -> None:
    """Let huggingface_hub speak over a guarded transport: https, and no addresses of our own network.

    Trusted are the Hub's own host (HF_ENDPOINT) and, for a mirror inside a private network, those its redirects lead to
    as M3E_HUB_HOSTS names them, with commas between.
    """
    import httpx2
    from huggingface_hub import constants, set_client_factory
    from huggingface_hub.utils._http import hf_request_event_hook

    from pipeline.fetch.guard import Guarded

    named = [urlsplit(constants.ENDPOINT).hostname or "", *os.environ.get("M3E_HUB_HOSTS", "").split(",")]
    trusted = {name.strip().lower() for name in named} - {""}

    def client() -> httpx2.Client:
        hooks = {"request": [hf_request_event_hook]}
        return httpx2.Client(transport=Guarded(None, trusted), event_hooks=hooks, follow_redirects=True, timeout=None)

    set_client_factory(client)


def _ask_once(corpus: str, repo: str, what: str, call: Callable[[], Answer], is_download: bool) -> Answer:
    try:
        return call()
    except Exception as error:
        is_network = isinstance(error, ConnectionError | TimeoutError)
        if isinstance(error, OSError) and error.errno is not None and not is_network:
            raise
        told = explain(corpus, repo, what, error, is_download=is_download)
    # Outside the except block, where `from None` would still leave the original in __context__.
    raise told


def explain(corpus: str, repo: str, what: str, error: Exception, *, is_download: bool = False) -> SourceError:
    """Our error for one of theirs: NetworkError where waiting may help, else SourceError with its cure."""
    import httpx2
    from huggingface_hub import errors

    from pipeline.fetch.guard import Refused

    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        # The HEAD request before a download failed: its own failure says why, and it says nothing of the blob's URL.
        error, is_download = error.__cause__, False
    match error:
        case errors.OfflineModeIsEnabled():
            cause = f"{what} of {repo} is not in the store, and HF_HUB_OFFLINE forbids to ask the Hub"
            return SourceError(corpus, cause, "run once without HF_HUB_OFFLINE and with source.revision set")
        case Refused():
            cause = f"{what} of {repo} is not asked for: {error}"
            return SourceError(corpus, cause, "check HF_ENDPOINT; name the hosts of a private mirror in M3E_HUB_HOSTS")
        case errors.GatedRepoError():
            cause = f"the dataset {repo} is gated: its readers must accept its terms first"
            return SourceError(corpus, cause, "accept them on its page, then set HF_TOKEN to a token of that account")
        case errors.DisabledRepoError():
            return SourceError(corpus, f"the Hub has disabled the dataset {repo}", "use another copy of the corpus")
        case errors.RepositoryNotFoundError():
            cause = f"there is no dataset {repo}, or it is private"
            return SourceError(corpus, cause, "mend source.repo, or set HF_TOKEN to a token that may read it")
        case errors.RevisionNotFoundError():
            cause = f"{what} of {repo}: no such commit"
            return SourceError(corpus, cause, f"mend source.revision, or run: m3e lock {corpus}")
        case errors.EntryNotFoundError():
            return SourceError(corpus, f"{what} of {repo} is missing", f"mend the pattern, or run: m3e lock {corpus}")
        case errors.HfHubHTTPError():
            return _explain_status(corpus, repo, what, error.response.status_code, is_download)
        case httpx2.HTTPError():
            return _unreachable(corpus, repo, what, f"the connection failed ({type(error).__name__})")
        case errors.FileMetadataError() | ValueError() | KeyError() | TypeError():
            cause = f"{what} of {repo}: the answer is not a Hub's ({type(error).__name__})"
            return SourceError(corpus, cause, "check source.repo, HF_ENDPOINT and your proxy")
        case _:
            return _unreachable(corpus, repo, what, f"the transfer broke off ({type(error).__name__})")


def _explain_status(corpus: str, repo: str, what: str, status: int, is_download: bool) -> SourceError:
    if status in TRANSIENT or status > 504:
        return _unreachable(corpus, repo, what, f"the Hub answered {status}")
    if status == 403 and is_download:
        # Links to blobs are signed and expire; the next attempt resolves a new one.
        return _unreachable(corpus, repo, what, "the download link was refused (403)")
    if status in (401, 403):
        cause = f"{what} of {repo}: the Hub refuses access ({status})"
        return SourceError(corpus, cause, "set HF_TOKEN to a valid token that may read it, or unset it")
    return SourceError(corpus, f"{what} of {repo}: the Hub answered {status}", "check source.repo and HF_ENDPOINT")


def _unreachable(corpus: str, repo: str, what: str, why: str) -> NetworkError:
    cure = "check the network and HF_ENDPOINT, then run again; finished files are kept"
    return NetworkError(corpus, f"{what} of {repo}: {why}, {ATTEMPTS} times", cure)
