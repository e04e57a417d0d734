"""What the Hub says to a publisher, in our own words.

As in `pipeline.fetch.hub_errors`: exceptions of huggingface_hub carry the request with its token, so nothing of them but
their kind and status code gets past `ask`. A failed commit is `Unanswered` (it may have taken effect) or `Overtaken`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import stamina

from pipeline.errors import PublishError

# Also cuts signed links out of what the library logs.
from pipeline.fetch.hub_errors import ATTEMPTS, TRANSIENT

Answer = TypeVar("Answer")


class Unanswered(PublishError):
    """The network or the Hub failed: whether the request took effect is not known."""

    transient = True


class Overtaken(PublishError):
    """The repository is no longer at the commit this push was planned for."""


class Absent(PublishError):
    """There is no such repository, or this token may not see it."""


def ask(repo: str, what: str, call: Callable[[], Answer], *, attempts: int = ATTEMPTS) -> Answer:
    """The answer of `call`, a request that may be repeated; tried up to `attempts` times while the failure is transient."""
    for attempt in stamina.retry_context(Unanswered, attempts, timeout=None, wait_initial=0.5, wait_max=10):
        with attempt:
            return ask_once(repo, what, call)
    raise AssertionError("retry_context ends by returning or raising")


def ask_once(repo: str, what: str, call: Callable[[], Answer]) -> Answer:
    """The answer of `call`; raises PublishError (Unanswered, Overtaken, Absent) or OSError of this disk."""
    try:
        return call()
    except Exception as error:
        is_network = isinstance(error, ConnectionError | TimeoutError)
        if isinstance(error, OSError) and error.errno is not None and not is_network:
            raise
        told = explain(repo, what, error)
    # Outside the except block, where `from None` would still leave the original in __context__.
    raise told


def explain(repo: str, what: str, error: BaseException) -> PublishError:
    """Our error for one of theirs."""
    from huggingface_hub import errors

    while isinstance(error, RuntimeError) and error.__cause__ is not None:  # the library wraps a failed upload
        error = error.__cause__
    match error:
        case errors.RepositoryNotFoundError():
            cure = "check --repo, and that HF_TOKEN belongs to an account that may write there"
            return Absent(repo, f"{what}: there is no such repository, or this token may not see it", cure)
        case errors.HfHubHTTPError():
            return _status(repo, what, error.response.status_code)
        case errors.HFValidationError():
            return PublishError(repo, "that is no name of a repository", "give --repo ORGANISATION/NAME")
        case errors.OfflineModeIsEnabled():
            return PublishError(repo, f"{what}: HF_HUB_OFFLINE forbids to ask the Hub", "unset HF_HUB_OFFLINE")
        case ValueError() | KeyError() | TypeError():
            cause = f"{what}: the answer is not a Hub's ({type(error).__name__})"
            return PublishError(repo, cause, "check HF_ENDPOINT and your proxy")
        case _:
            return _unanswered(repo, what, f"the connection failed ({type(error).__name__})")


def _status(repo: str, what: str, status: int) -> PublishError:
    if status in TRANSIENT or status > 504:
        return _unanswered(repo, what, f"the Hub answered {status}")
    if status in (409, 412):
        cause = f"{what}: the repository has changed meanwhile ({status})"
        return Overtaken(repo, cause, "look at what is there now, then run again")
    if status == 401:
        return PublishError(repo, f"{what}: the Hub does not know this token", "set HF_TOKEN to a valid token")
    if status == 403:
        cure = "set HF_TOKEN to a token that may write to this repository"
        return PublishError(repo, f"{what}: this token may not do that", cure)
    return PublishError(repo, f"{what}: the Hub answered {status}", "check --repo and HF_ENDPOINT, then run again")


def _unanswered(repo: str, what: str, why: str) -> Unanswered:
    cure = "run again: what was uploaded is kept, and no version is committed twice"
    return Unanswered(repo, f"{what}: {why}", cure)
