"""The push: plan, gates, blobs, one commit upon the commit that was planned for, then proof and tag.

A reader of the repository sees the old version or the new one. Whatever is cut off is taken up by a second run: blobs
that arrived are not sent again, a commit that took effect is recognised by its content, and equal content is never
committed twice.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pipeline.errors import PublishError, UsageError
from pipeline.fetch.hub_errors import ATTEMPTS
from pipeline.publish.errors import Overtaken, Unanswered
from pipeline.publish.hub import Hub
from pipeline.publish.plan import Plan, Release, Remote, differences, hold_fit, plan_of

#: Seconds before a commit is tried again; doubled each time.
WAIT_S = 0.5


@dataclass(frozen=True)
class Target:
    """Where to and how. `private` None: as the repository is, private where it is new."""

    repo: str
    private: bool | None = None
    as_request: bool = False
    tag: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", self.repo):
            raise UsageError(f"--repo {self.repo}", "that is no repository", "give ORGANISATION/NAME")
        if self.tag is not None and not re.fullmatch(r"[\w][\w.+-]*", self.tag):
            raise UsageError(f"--tag {self.tag}", "that is no tag", "use letters, digits, dots and hyphens")
        if self.tag and self.as_request:
            raise UsageError("--tag with --pr", "a pull request is no version yet", "tag it after it was merged")


@dataclass(frozen=True)
class Pushed:
    """What a push did: `published`, `requested` or `unchanged`. `commit` is where the release now lies."""

    repo: str
    state: str
    plan: Plan
    commit: str
    request: str | None = None
    tag: str | None = None

    @property
    def sentence(self) -> str:
        where = f"{self.repo} at commit {self.commit}" + (f", tag {self.tag}" if self.tag else "")
        if self.state == "unchanged":
            held = f" ({self.request})" if self.request else ""
            return f"Nothing to do: {where} holds this release already{held}."
        if self.request:
            return f"Proposed to {self.repo}: {self.request}."
        return f"Published: {where}."

    def told(self) -> dict[str, Any]:
        return {**vars(self), "plan": self.plan.told()}


class Moved(Exception):
    """The repository is at another commit than the one planned for; `now` is what it holds."""

    def __init__(self, now: Remote) -> None:
        self.now = now


def look(release: Release, target: Target) -> tuple[Plan, Remote]:
    """What a push would do now. Only asks. Raises PublishError where the release does not belong there."""
    hub = Hub(target.repo, release.kind)
    return _planned(release, target, hub.read())


def push(release: Release, target: Target, say: Callable[[str], None]) -> Pushed:
    """Make the repository hold this release and prove it; see the module's head for what holds when it is cut off.

    Raises PublishError: a gate of the repository does not hold (nothing was sent), the Hub refuses or stays silent,
    another version was published meanwhile.
    """
    hub = Hub(target.repo, release.kind)
    if not hub.has_token:
        raise PublishError(target.repo, "HF_TOKEN is not set", "set it to a token that may write there")
    plan, remote = _planned(release, target, hub.read())
    if remote.commit is None:
        hub.make(private=target.private is not False)
        # Read again, also its visibility, before a byte goes up.
        plan, remote = _planned(release, target, hub.read())
        if remote.commit is None:
            cause = "the repository was made but cannot be seen"
            raise PublishError(target.repo, cause, "check that HF_TOKEN may read it, then run again")
    if plan.is_empty:
        return _tagged(hub, target, Pushed(target.repo, "unchanged", plan, remote.commit))
    if target.as_request and (found := _requested(hub, release)):
        return Pushed(target.repo, "unchanged", plan, found[0], found[1])
    commit, request = _committed(hub, release, target, plan, remote, say)
    faults = list(differences(release, plan, hub.files(commit)))
    if faults:
        cause = f"the commit {commit} does not hold what was sent: {', '.join(faults[:5])}"
        raise PublishError(target.repo, cause, "look at it on its page, then run again")
    say(f"every file of commit {commit} is the release's, by its checksum")
    return _tagged(hub, target, Pushed(target.repo, "requested" if request else "published", plan, commit, request))


def _planned(release: Release, target: Target, remote: Remote) -> tuple[Plan, Remote]:
    """Plan and gates of the repository: visibility, licence class, edition, strangers, a tag that would have to move."""
    is_private = remote.private
    if is_private is not None and target.private is not None and is_private != target.private:
        words = {True: "private", False: "public"}
        cause = f"the repository is {words[is_private]}, {words[target.private]} was asked for"
        raise PublishError(target.repo, cause, "change it in its settings, or leave the option out")
    hold_fit(target.repo, release, remote)
    plan = plan_of(release, remote)
    at = remote.tags.get(target.tag or "")
    if at is not None and (at != remote.commit or not plan.is_empty):
        cause = f"the tag {target.tag} is at commit {at}, which is another version, and a tag is never moved"
        raise PublishError(target.repo, cause, "choose another --tag")
    return plan, remote


def _committed(
    hub: Hub, release: Release, target: Target, plan: Plan, remote: Remote, say: Callable[[str], None]
) -> tuple[str, str | None]:
    """Send and commit; plan once more where someone else changed what is none of ours."""
    for is_last in (False, True):
        assert remote.commit is not None
        operations = hub.upload(release, plan, say, as_request=target.as_request)
        try:
            return _commit(hub, release, operations, remote.commit, as_request=target.as_request)
        except Moved as moved:
            now = moved.now
            if now.told != remote.told:
                cause = f"another version was published while this one was under way (commit {now.commit})"
                raise PublishError(target.repo, cause, "look at it, then run again to publish yours upon it") from None
            if is_last:
                cause = "the repository was changed twice while this version was under way; nothing was committed"
                raise PublishError(target.repo, cause, "run again when nobody else writes there") from None
            say(f"the repository moved to {now.commit}, in files that are none of ours: planning once more")
            plan, remote = _planned(release, target, now)
    raise AssertionError("the second round returns or raises")


def _commit(
    hub: Hub, release: Release, operations: list[Any], parent: str, *, as_request: bool
) -> tuple[str, str | None]:
    """The commit, tried again only where the repository shows that it did not take effect."""
    title = f"Publish {release.title}"
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return hub.commit(operations, title, parent, as_request=as_request)
        except (Unanswered, Overtaken) as error:
            # An answer may be lost after the work was done.
            if as_request and (found := _requested(hub, release)):
                return found
            now = hub.read()
            if not as_request and plan_of(release, now).is_empty:
                return str(now.commit), None
            if not as_request and now.commit != parent:
                raise Moved(now) from None
            if attempt == ATTEMPTS:
                raise PublishError(
                    error.place, f"{error.cause}, {ATTEMPTS} times; nothing was committed", error.cure
                ) from None
        time.sleep(WAIT_S * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


def _requested(hub: Hub, release: Release) -> tuple[str, str] | None:
    for ref, remote in hub.requests():
        if remote.commit and plan_of(release, remote).is_empty:
            return remote.commit, f"pull request {ref.rpartition('/')[2]}"
    return None


def _tagged(hub: Hub, target: Target, pushed: Pushed) -> Pushed:
    if target.tag is None:
        return pushed
    for attempt in range(1, ATTEMPTS + 1):
        try:
            hub.tag(target.tag, pushed.commit)
            break
        except (Unanswered, Overtaken) as error:
            at = hub.read().tags.get(target.tag)
            if at == pushed.commit:
                break
            if at is not None:
                cause = f"the tag {target.tag} is at commit {at}, which is another version, and a tag is never moved"
                raise PublishError(target.repo, cause, "choose another --tag") from None
            if attempt == ATTEMPTS:
                raise PublishError(
                    error.place, f"{error.cause}, {ATTEMPTS} times; the version itself is there", error.cure
                ) from None
        time.sleep(WAIT_S * 2**attempt)
    return replace(pushed, tag=target.tag)
