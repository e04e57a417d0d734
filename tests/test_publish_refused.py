"""What a push refuses, survives and never tells: gates, faults of the Hub, rivals, tags, tokens."""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Barrier
from typing import Any

import polars as pl
import pytest

from tests.command import started
from tests.hub_double import Blob
from tests.hub_uploads import UploadDouble
from tests.publishing import TOKEN, Publisher, built, manifests_of, rewritten, tokens_below
from tests.test_publish import changes, held, listed, rows_of

REPO = "alice/small"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refused")
    manifests_of(folder / "manifests", 30)
    built(folder / "manifests", folder / "out", folder / "store")
    rewritten(folder / "out/small", folder / "other", lambda frame: frame.with_columns(quality_score=pl.lit(1.0)))
    rewritten(folder / "out/small", folder / "third", lambda frame: frame.with_columns(quality_score=pl.lit(2.0)))
    return folder


@pytest.fixture(scope="module")
def double() -> Iterator[UploadDouble]:
    with UploadDouble() as hub:
        yield hub


@pytest.fixture(scope="module")
def publisher(base: Path, double: UploadDouble) -> Iterator[Publisher]:
    made = Publisher(double, base)
    yield made
    made.close()
    found = tokens_below(base)
    assert found == []


@pytest.fixture
def hub(double: UploadDouble, publisher: Publisher) -> UploadDouble:
    double.reset()
    double.tokens[TOKEN] = "alice"
    return double


def test_the_search_for_tokens_finds_one(tmp_path: Path) -> None:
    for shift in range(3):
        (tmp_path / f"{shift}").write_bytes(base64.b64encode(b"=" * shift + b"auth: " + TOKEN.encode() + b" end"))
    (tmp_path / "plain").write_text(f"x{TOKEN}x")
    (tmp_path / "none").write_text("nothing here")
    assert len(tokens_below(tmp_path)) == 4


FAULTS = {
    "lost": ("/commit/", "lost", {}),
    "lost-502": ("/commit/", "lost", {"status": 502}),
    "409": ("/commit/", "status", {"status": 409}),
    "412": ("/commit/", "status", {"status": 412}),
    "429": ("/commit/", "status", {"status": 429, "headers": {"Retry-After": "0"}}),
    "500": ("/commit/", "status", {"status": 500}),
    "cut": ("/commit/", "cut", {}),
    "made-lost": ("/repos/create", "lost", {}),
    "listing-503": ("/tree/", "status", {"status": 503, "times": 2}),
    "listing-cut": ("/tree/", "cut", {}),
    "tag-lost": ("/tag/", "lost", {}),
    "tag-500": ("/tag/", "status", {"status": 500}),
    "batch-429": ("/objects/batch", "status", {"status": 429, "headers": {"Retry-After": "0"}}),
    "put-lost": ("/_lfs/", "lost", {"methods": ("PUT",)}),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_passing_faults_end_in_one_commit(
    hub: UploadDouble, publisher: Publisher, base: Path, fault: tuple[str, Any, dict[str, Any]]
) -> None:
    hub.fault(fault[0], fault[1], **fault[2])
    done = publisher.push(REPO, base / "out/small", tag="v1")
    assert done.get("pushed", {}).get("state") in ("published", "unchanged"), done
    assert held(hub) == listed(hub)
    assert len(hub.history(REPO)) == 2
    assert hub.repositories[REPO].refs["refs/tags/v1"] == hub.history(REPO)[0]
    assert all(one.times == 0 for one in hub.faults)


def test_faults_that_stay_leave_the_old_version(hub: UploadDouble, publisher: Publisher, base: Path) -> None:
    publisher.push(REPO, base / "out/small")
    old = held(hub)
    for path, status in (("/commit/", 500), ("/commit/", 429), ("/commit/", 403), ("/tree/", 500)):
        hub.faults.clear()
        hub.fault(path, "status", status=status, times=99)
        told = publisher.push(REPO, base / "other")
        assert told["exit"] == 1 and f"{REPO}: " in told["error"] and "Cure: " in told["error"], told
        assert held(hub) == old and len(hub.history(REPO)) == 2
    hub.faults.clear()
    assert publisher.push(REPO, base / "other")["pushed"]["state"] == "published"


def test_of_two_publishers_at_once_one_wins(hub: UploadDouble, publisher: Publisher, base: Path) -> None:
    publisher.push(REPO, base / "out/small", tag="v1")
    hub.fault("/preupload/", "sleep", gate=Barrier(2), times=2)  # both have planned before either commits
    begun = [publisher.start(REPO, base / name) for name in ("other", "third")]
    answers = [publisher.end(*one) for one in begun]
    won = [answer for answer in answers if answer and "pushed" in answer]
    lost = [answer for answer in answers if answer and "error" in answer]
    assert len(won) == len(lost) == 1, answers
    assert (
        f"another version was published while this one was under way (commit {won[0]['pushed']['commit']})"
        in lost[0]["error"]
    )
    assert hub.history(REPO)[0] == won[0]["pushed"]["commit"] and len(hub.history(REPO)) == 3
    assert held(hub) == listed(hub)
    same = [publisher.start("alice/fresh", base / "other") for _ in range(2)]
    told = [publisher.end(*one) for one in same]
    assert all(one and "pushed" in one for one in told), told
    assert len(hub.history("alice/fresh")) == 2


def test_a_bystander_s_commit_is_planned_around_once(hub: UploadDouble, publisher: Publisher, base: Path) -> None:
    publisher.push(REPO, base / "out/small")
    hub.requests.clear()
    hub.fault("/preupload/", "sleep", seconds=1, times=1)
    begun = publisher.start(REPO, base / "other")
    until = time.monotonic() + 30
    while not any("/preupload/" in request.path for request in hub.requests) and time.monotonic() < until:
        time.sleep(0.01)
    with hub.lock:
        repository = hub.repositories[REPO]
        hub.write(repository, repository.refs["main"], {**hub.head(REPO).tree, "LICENSE": Blob(b"mine", False)}, "main")
    told = publisher.end(*begun)
    assert told and told["pushed"]["state"] == "published", told
    assert any("planning once more" in line for line in told["said"])
    assert len(hub.history(REPO)) == 4 and hub.head(REPO).tree["LICENSE"].content == b"mine"


def refusal(publisher: Publisher, hub: UploadDouble, build: Path, **job: Any) -> str:
    """What a refused push says; nothing was made or changed, whatever was asked."""
    hub.requests.clear()
    before = {name: repository.refs.copy() for name, repository in hub.repositories.items()}
    told = publisher.push(REPO, build, **job)
    assert told.get("exit") == 1, told
    assert changes(hub) == [] and {n: r.refs for n, r in hub.repositories.items()} == before
    return str(told["error"])


def spoiled(base: Path, name: str, corpus: str, columns: dict[str, Any]) -> Path:
    """The build with some columns of the first record of a corpus changed, and a receipt that knows the new bytes."""

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        if frame["corpus"][0] != corpus:
            return frame
        first = pl.int_range(pl.len()) == 0
        return frame.with_columns(
            pl.when(first).then(pl.lit(v)).otherwise(pl.col(k)).alias(k) for k, v in columns.items()
        )

    return rewritten(base / "out/small", base / "spoiled" / name, change)


@pytest.mark.parametrize(
    ("name", "corpus", "columns", "said"),
    [
        ("forbidden", "free", {"redistribute": "forbidden"}, "free: 1 rows say redistribute: forbidden"),
        (
            "smuggled",
            "shut",
            {"redistribute": "allowed"},
            "shut: 1 rows say redistribute: allowed, the manifest says forbidden",
        ),
        ("strange", "free", {"corpus": "shut"}, "free: its folder holds rows of shut"),
        ("relabelled", "bound", {"licence_id": "CC0-1.0"}, "are not what funnel and receipt tell: bound"),
        ("freed", "bound", {"commercial": "allowed"}, "are not what funnel and receipt tell: bound"),
    ],
)
def test_a_planted_row_is_refused_before_a_byte(
    hub: UploadDouble, publisher: Publisher, base: Path, name: str, corpus: str, columns: dict[str, Any], said: str
) -> None:
    assert said in refusal(publisher, hub, spoiled(base, name, corpus, columns))


def test_a_build_that_is_not_what_its_receipt_says_is_refused(
    hub: UploadDouble, publisher: Publisher, base: Path
) -> None:
    build = base / "edited"
    shutil.copytree(base / "out/small", build)
    card = build / "README.md"
    card.chmod(0o644)
    card.write_text(card.read_text("utf-8").replace("CC0", "MIT"), "utf-8")
    assert "not what its receipt says: README.md" in refusal(publisher, hub, build)
    shutil.copy(base / "out/small/README.md", card)
    stray = build / "data/free/train-00009-of-00009.parquet"
    shutil.copy(base / "out/small/data/free/train-00000-of-00001.parquet", stray)
    assert f"data that its receipt does not name: data/free/{stray.name}" in refusal(publisher, hub, build)


def test_promises_of_the_recipe_are_held(hub: UploadDouble, publisher: Publisher, base: Path) -> None:
    told = json.loads((base / "out/small/build.json").read_bytes())
    chosen = {"grade": None, "commercial": "allowed", "redistribute": None, "domain": None}
    for name, recipe, said in (
        (
            "commercial",
            told["recipe"] | {"corpora": chosen},
            "bound, parts, shut: the recipe small promises commercial: allowed",
        ),
        (
            "cleared",
            told["recipe"] | {"decontaminate": {**told["recipe"]["decontaminate"], "benchmarks": ["demo"]}},
            "promises to be cleared of DemoExam, which could not be read",
        ),
    ):
        build = rewritten(base / "out/small", base / "promise" / name, lambda frame: frame, recipe=recipe)
        error = refusal(publisher, hub, build)
        assert said.split(": ", 1)[-1] in error, error
        assert name != "commercial" or all(corpus in error for corpus in ("bound", "parts", "shut"))


def test_a_manifest_that_changed_since_or_is_missing_is_refused(
    hub: UploadDouble, publisher: Publisher, base: Path
) -> None:
    changed = base / "changed"
    shutil.copytree(base / "manifests", changed)
    path = changed / "corpora/free.yaml"
    manifest = json.loads(path.read_text("utf-8"))
    manifest["licence"]["redistribute"] = "forbidden"
    path.write_text(json.dumps(manifest), "utf-8")
    error = refusal(publisher, hub, base / "out/small", manifests=changed)
    assert "the manifest says forbidden" in error and error.startswith("free: ")
    empty = base / "empty"
    (empty / "corpora").mkdir(parents=True)
    assert "bound, free, parts, shut: there is no manifest" in refusal(
        publisher, hub, base / "out/small", manifests=empty
    )


def test_a_repository_keeps_its_class_edition_visibility_and_tags(
    hub: UploadDouble, publisher: Publisher, base: Path
) -> None:
    publisher.push(REPO, base / "out/small", tag="v1", private=False)
    assert not hub.repositories[REPO].is_private
    assert "the repository is public, private was asked for" in refusal(
        publisher, hub, base / "out/small", private=True
    )
    assert "edition is all, this release's is 100k" in refusal(publisher, hub, base / "out/small", edition="100k")
    assert "the tag v1 is at commit" in refusal(publisher, hub, base / "other", tag="v1")
    repository, tree = hub.repositories[REPO], dict(hub.head(REPO).tree)
    told = json.loads(tree["release.json"].content) | {"licence_class": "cc0-1.0"}
    told_blob = {"release.json": Blob(json.dumps(told).encode(), False)}
    hub.write(repository, repository.refs["main"], tree | told_blob, "main")
    error = refusal(publisher, hub, base / "out/small")
    assert "licence class is cc0-1.0, this release's is mixed-commercial-forbidden because of bound" in error
    strange = {"data/free/train-extra.parquet": Blob(b"x", True)}
    hub.write(repository, repository.refs["main"], tree | strange, "main")
    assert "1 data file(s) that no release of ours put there" in refusal(publisher, hub, base / "out/small")


def test_a_pull_request_is_made_once(hub: UploadDouble, publisher: Publisher, base: Path) -> None:
    publisher.push(REPO, base / "out/small")
    old = held(hub)
    hub.fault("/commit/", "lost")
    first = publisher.push(REPO, base / "other", pr=True)
    again = publisher.push(REPO, base / "other", pr=True)
    assert first["pushed"]["request"] == again["pushed"]["request"] == "pull request 1", (first, again)
    assert [ref for ref in hub.repositories[REPO].refs if ref.startswith("refs/pr/")] == ["refs/pr/1"]
    assert held(hub) == old and held(hub, ref="refs/pr/1") == listed(hub, ref="refs/pr/1") != old


def test_a_model_goes_without_pickles_and_training_state(hub: UploadDouble, publisher: Publisher, base: Path) -> None:
    folder = base / "model"
    (folder / "checkpoint-10").mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "checkpoint-10/model.safetensors", "optimizer.pt"):
        (folder / name).write_bytes(b"{}")
    (folder / "README.md").write_text("# no head\n")
    told = publisher.push("alice/model", model=folder)
    assert "names no licence" in told["error"] and changes(hub) == []
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    (folder / "pytorch_model.bin").write_bytes(b"x")
    told = publisher.push("alice/model", model=folder)
    assert "pytorch_model.bin: such files run code" in told["error"] and changes(hub) == []
    (folder / "pytorch_model.bin").unlink()
    assert publisher.push("alice/model", model=folder)["pushed"]["state"] == "published"
    assert set(held(hub, "models/alice/model")) == {"config.json", "model.safetensors", "README.md", "release.json"}


def test_the_command_refuses_without_token_or_repository(hub: UploadDouble, base: Path) -> None:
    env = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(base / "hf"), "HF_TOKEN": "", "NO_PROXY": "*"}
    told = ("publish", base / "out/small", "--manifests", base / "manifests", "--store", base / "store")
    done = started(*told, "--repo", REPO, **env)
    assert done.returncode == 1 and "HF_TOKEN is not set. Cure: set it" in done.stderr, done.stderr
    assert changes(hub) == []
    done = started(*told, "--repo", REPO, "--dry-run", **env)
    assert done.returncode == 0 and "Nothing was sent" in done.stdout and "data/parts" in done.stdout, done.stderr
    assert "Only ids and marks, no text, of rows that may not be passed on: parts" in done.stderr
    assert changes(hub) == [] and not hub.repositories
    wrong = started(*told, "--repo", "small", **env)
    assert wrong.returncode == 2 and "give ORGANISATION/NAME" in wrong.stderr


def test_a_wrong_token_is_a_sentence(hub: UploadDouble, base: Path) -> None:
    env = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(base / "hf"), "HF_TOKEN": "hf_wrong", "NO_PROXY": "*"}
    told = ("publish", base / "out/small", "--manifests", base / "manifests", "--store", base / "store")
    done = started(*told, "--repo", REPO, **env)
    assert done.returncode == 1 and "the Hub does not know this token" in done.stderr
    assert "hf_wrong" not in done.stderr + done.stdout and "Traceback" not in done.stderr


@pytest.mark.skipif(
    not (os.environ.get("HF_TOKEN") and os.environ.get("M3E_LIVE_HUB")),
    reason="pushes to the real Hub: set HF_TOKEN and M3E_LIVE_HUB=ORGANISATION/NAME",
)
def test_the_real_hub_takes_a_private_release(base: Path) -> None:
    told = ("publish", base / "out/small", "--manifests", base / "manifests", "--store", base / "store", "--private")
    first = started(*told, "--repo", os.environ["M3E_LIVE_HUB"])
    assert first.returncode == 0, first.stderr
    again = started(*told, "--repo", os.environ["M3E_LIVE_HUB"])
    assert again.returncode == 0 and "Nothing to do" in again.stdout
    assert rows_of(base / "out/small", "free").height
