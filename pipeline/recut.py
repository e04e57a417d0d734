"""Hard negatives cut anew: another rule over the candidates that a build with scores keeps, without encoder or store."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.card import render_card
from pipeline.disk import writable
from pipeline.errors import StoreError, UsageError
from pipeline.folder import write_folder
from pipeline.licence import RowTerms
from pipeline.manifest.corpus import Corpus
from pipeline.manifest.settings import MineConfig, RuleConfig, ScoreConfig
from pipeline.report.opened import Build
from pipeline.report.profile import all_leaks, profiles_of
from pipeline.store import Receipt, seal

#: What a receipt says -> the papers that tell people the same (file name -> content).
Papers = Callable[[Mapping[str, Any]], Mapping[str, bytes]]
#: Papers that speak of the cut: made anew, or left out.
OF_THE_CUT = ("README.md",)


@dataclass(frozen=True)
class Cut:
    """A finished re-cut. `before` and `after`: per corpus the receipt of `pipeline.score`."""

    folder: Path
    changed: bool
    rule: RuleConfig
    before: Mapping[str, Receipt]
    after: Mapping[str, Receipt]


def changed_rule(rule: RuleConfig, words: Sequence[str]) -> RuleConfig:
    """A rule with some settings changed, given as `name=value`; `none` takes a bound away, and gives `p` back to mining.

    Raises UsageError for an unknown name, a setting of the search, or a value that the setting cannot have.

    >>> changed_rule(RuleConfig(), ["p=0.9", "negatives=5"]).negatives
    5
    """
    told: dict[str, Any] = rule.model_dump()
    for word in words:
        name, equals, value = word.partition("=")
        if name in MineConfig.model_fields.keys() - told.keys():
            cause = (
                "it is a setting of the search: what it strikes out or leaves behind is not among the stored candidates"
            )
            cure = f"set mine.{name} in the recipe and build it again: the vectors are kept"
            raise UsageError(f"--rule {word}", cause, cure)
        if not equals or name not in told:
            known = ", ".join(told)
            raise UsageError(
                f"--rule {word}", "it names no setting of the rule", f"write name=value, name one of {known}"
            )
        told[name] = None if value == "none" else value
    try:
        return RuleConfig.model_validate(told)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise UsageError(f"--rule {' '.join(words)}", faults, "mend the values named here") from None


def recut(
    build: Build,
    words: Sequence[str],
    out: Path | None = None,
    papers: Papers | None = None,
    page: Callable[[Path], object] | None = None,
) -> Cut:
    """A whole new build in `out` (default: beside the old one) with its negatives cut by a changed rule.

    Its name is the old one's and the words. Everything that the rule does not touch is a hard link. The card
    speaks of the cut: `papers` makes it from the new receipt, and without it it is left out; `page` writes the report. The same
    rule gives the same data, to the byte. Only stored candidates can be taken: where a rule leaves a record short, a new
    build may find more further away; the receipt counts such records. What `mine.both` struck out is no candidate: no
    rule brings it back. Raises UsageError where the build has no scores, or has them of a cross-encoder,
    StoreError where files of it are missing or have another size.
    """
    old = build.receipt
    if "score" not in old:
        cure = "build a recipe with a base, such as m3e-hq-with-score, and give its folder"
        raise UsageError(str(build.folder), "this build has no scores, so there are no candidates to cut from", cure)
    if (judge := old["recipe"]["score"].get("cross_encoder")) is not None:
        cause = f"its calibrated scores are those of the cross-encoder {judge}, which has not seen what a new cut takes"
        cure = f"change rule in the recipe {old['recipe']['name']} and build it again: vectors and candidates are kept"
        raise UsageError(str(build.folder), cause, cure)
    rule = changed_rule(RuleConfig.model_validate(old["recipe"]["rule"]), words)
    _prove_whole(build)
    out = build.folder.resolve().parent if out is None else out
    name = f"{build.folder.resolve().name}.{'+'.join(word.replace('=', '-') for word in words)}"
    work = out / f".{name}.work"
    with writable(out, "cutting the negatives"):
        shutil.rmtree(work, ignore_errors=True)
        try:
            # In the build's order, which JSON does not keep: card and page list the corpora so.
            scored = [corpus for corpus in build.corpora if corpus in old["score"]]
            after = {corpus: _cut(build, corpus, rule, work / corpus) for corpus in scored}
            made = seal(work)
            told = {key: value for key, value in old.items() if key != "files"} | {
                "recipe": old["recipe"] | {"rule": rule.model_dump(mode="json")},
                "licences": old["licences"] | {corpus: one["licences"] for corpus, one in after.items()},
                "score": after,
            }
            links = {n: (build.folder / n, f) for n, f in old["files"].items() if not _is_of_the_cut(n)}
            links |= {f"data/{n}": (work / n, f) for n, f in made.items() if not Path(n).name.startswith("terms-")}
            run = {"steps": [], "text": build.run.get("text", {})}
            locks = Path(tempfile.gettempdir()) / "m3e-locks"
            cards = papers(told) if papers else {}
            changed = write_folder(out / name, locks, links, cards, told, run, page)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return Cut(out / name, changed, rule, old["score"], after)


def papers_of(build: Build, corpora: Sequence[Corpus]) -> Papers:
    """The card of a re-cut; `corpora` are the manifests of all corpora of the build."""

    def write(receipt: Mapping[str, Any]) -> dict[str, bytes]:
        card = render_card(corpora, receipt, build.funnels, leaks=all_leaks(profiles_of(build)))
        return {"README.md": card.encode()}

    return write


def _is_of_the_cut(name: str) -> bool:
    return name.startswith("data/") or name in OF_THE_CUT


def _cut(build: Build, corpus: str, rule: RuleConfig, folder: Path) -> Receipt:
    from pipeline.score import PoolPart, ScoreInput, score

    kept = build.folder / "candidates"

    def part(name: str) -> PoolPart:
        of = {kind: sorted((kept / name).glob(f"{kind}-*.parquet")) for kind in ("pool", "pairs", "terms")}
        return PoolPart(name, of["pool"], build.data(name), of["pairs"], of["terms"])

    old = build.receipt["score"][corpus]
    given = ScoreInput(
        corpus,
        [part(name) for name in old["pool"]],
        sorted((kept / corpus).glob("candidates-*.parquet")),
        [path for path in [build.folder / "labelled" / f"{corpus}.parquet"] if path.is_file()],
        sorted((kept / corpus).glob("labelled-scores.parquet")),
        json.loads((kept / f"{corpus}.json").read_bytes()),
        RowTerms.model_validate(old["miner"]),
    )
    folder.mkdir(parents=True)
    return score(given, folder, rule, ScoreConfig.model_validate(build.receipt["recipe"]["score"]))


def _prove_whole(build: Build) -> None:
    """What is read must be there, in the size that the receipt tells."""
    for name, told in build.receipt["files"].items():
        path = build.folder / name
        if not path.is_file() or path.stat().st_size != told["bytes"]:
            what = "has another size than the build's receipt says" if path.exists() else "is missing"
            raise StoreError(
                str(path), f"this file of the build {what}", "build it again: the store still has its parts"
            )
