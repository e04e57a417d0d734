"""The papers of a dataset: its card (README.md, as the Hugging Face Hub reads it) and its attributions.

Both say only what the manifests and the counts say, so that the same build gives the same bytes: no date of making, no
path of this machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import jinja2

from pipeline.ledger import STAGES, Funnel, Leak, masked_values, personal_rows, total
from pipeline.licence import Evidence, UseClass
from pipeline.manifest.corpus import Corpus
from pipeline.release import parts_of
from pipeline.rendering import environment
from pipeline.views import LEAN, PUBLISHED_SCORED, Measured, View, dataset_info, views_of

#: Licence ids that the Hub knows; it wants everything else as `other` with a name.
HUB_LICENCES = frozenset(
    [f"cc-by{kind}-{version}" for kind in ("", "-nc", "-nc-sa", "-nc-nd") for version in ("3.0", "4.0")]
    + ["cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-sa-2.0"]
    + ["cc-by-nd-4.0", "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "gpl-3.0", "lgpl-3.0", "unlicense", "wtfpl"]
    + ["cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "odc-by", "odbl", "pddl"]
)
SIZES = ((10**3, "1K"), (10**4, "10K"), (10**5, "100K"), (10**6, "1M"), (10**7, "10M"), (10**8, "100M"), (10**9, "1B"))
TASKS = ["sentence-similarity", "text-retrieval", "feature-extraction"]
TAGS = ["sentence-transformers", "embedding", "text-pairs", "deduplicated"]
#: Column of the record -> its meaning, in the order of the card; a test holds it to the schema.
COLUMNS = {
    "text": "the anchor: a question, a title, the first sentence",
    "text_pos": "its positive: an answer, a body, a sentence that says the same",
    "text_neg": "negatives that the corpus ships with this very pair; mostly empty",
    "prompt": "the task prompt of `text`; empty where the corpus has none",
    "prompt_pos": "the task prompt of `text_pos`; empty where the corpus has none",
    "score": "gold similarity of the pair, where the corpus has one",
    "quality_score": "the corpus' own signal (votes, stars), where it has one",
    "text_group": "near-duplicate group of `text`: records of one group must not meet as in-batch negatives",
    "pos_group": "near-duplicate group of `text_pos`, likewise",
    "cluster": "near-duplicate group of the pair",
    "also_in": "other corpora that held a copy of the pair, as it is or nearly; the freest copy is kept",
    "doc_group": "the source document or passage family",
    "corpus": "the corpus it is from",
    "sub_source": "the part of the corpus, where parts have licences of their own",
    "split": "the split of the corpus it is from",
    "row": "where in the source: `file#row`, with `/n` where one row gives several pairs",
    "record_id": "32 hex digits, the same in every build of the same source",
    "licence_id": "SPDX id of the text's licence, or a LicenseRef",
    "commercial": "may the text be used commercially: allowed, unknown, forbidden",
    "redistribute": "may the text be passed on: allowed, unknown, forbidden",
}
#: Columns that a build with scores has besides.
SCORED = {
    "score_pos": "cosine of the pair by the encoder",
    "calibrated_pos": "how near they are, between 0 and 1, comparable within the corpus; gold where people judged",
    "neg": "hard negatives: the text, who holds it, where it is from, its cosine, calibrated score, rank and licence",
}
#: Columns that such a build gets when it is published, so that views can take them.
FLAT = {
    "negative": "text of the first negative",
    "label": "how much nearer the positive is than `negative`, in cosine",
}
#: Columns of the funnel: reasons of dedupe stand alone, other stages are summed.
DUPLICATES = {"exact_duplicate": "exact", "near_duplicate": "near", "swapped_duplicate": "swapped"}
STAGE_NAMES = {"decontaminate": "leaked", "dedupe": "other duplicates"}


@dataclass(frozen=True)
class Loss:
    """One column of a funnel: what one stage, or one reason of dedupe, removed."""

    key: str
    name: str
    stage: str
    reasons: frozenset[str] | None = None

    def of(self, funnel: Funnel) -> int:
        told = funnel.removed.get(self.stage, {})
        return sum(n for reason, n in told.items() if self.reasons is None or reason in self.reasons)


def losses_of(funnels: Sequence[Funnel]) -> list[Loss]:
    """The columns that these funnels need, in the order the stages are applied; they add up to all removals.

    >>> f = Funnel("bq", 4, 4, 0, 0, 4, 2, {"dedupe": {"near_duplicate": 1}, "quality": {"too_short": 1}})
    >>> [loss.name for loss in losses_of([f])]
    ['quality', 'near']
    """
    found: list[Loss] = []
    for stage in dict.fromkeys([*STAGES, *sorted({stage for f in funnels for stage in f.removed})]):
        if stage == "dedupe":
            reasons = {reason for f in funnels for reason in f.removed.get(stage, {})}
            found += [Loss(name, name, stage, frozenset({r})) for r, name in DUPLICATES.items() if r in reasons]
            if rest := reasons - set(DUPLICATES):
                found.append(Loss("dedupe", STAGE_NAMES[stage], stage, frozenset(rest)))
        elif any(f.at(stage) for f in funnels):
            found.append(Loss(stage, STAGE_NAMES.get(stage, stage), stage))
    return found


@dataclass(frozen=True)
class Share:
    """So many records under one licence and use class."""

    licence: str
    commercial: str
    records: int


@dataclass(frozen=True)
class Copy:
    """What a copy made for one Hub repository holds of a build.

    `rows` per corpus (corpora of 0 are named but get no view), `withheld`: records per corpus of which only ids and
    marks are passed on, `labelled`: corpora with labelled rows, `edition`: its size where it is a cut.
    """

    repo: str
    rows: Mapping[str, int]
    withheld: Mapping[str, int]
    labelled: Sequence[str]
    files: Sequence[Measured]
    scored: bool = False
    edition: str | None = None
    tags: Sequence[str] = ()


def licence_mix(receipt: Mapping[str, Any], corpora: Iterable[str] | None = None) -> list[Share]:
    """Records per licence and use class over all (or these) corpora of a receipt, most first."""
    wanted = None if corpora is None else set(corpora)
    mix: dict[tuple[str, str], int] = {}
    for corpus, told in receipt["licences"].items():
        for name, records in told.items():
            licence, use = re.fullmatch(r"(.*) \((\w+)\)", name).groups()  # type: ignore[union-attr]
            if wanted is None or corpus in wanted:
                mix[licence, use] = mix.get((licence, use), 0) + records
    return [Share(*key, n) for key, n in sorted(mix.items(), key=lambda kv: (-kv[1], kv[0])) if n]


#: Column -> its meaning, in the order of the table.
YARDSTICK = {
    "corpus": "",
    "records": "records of the build",
    "negatives": "all of them: shipped, labelled and mined",
    "fill": "share of the negatives asked for that are there",
    "hardness": "0: as far as a random pair, 1: as near as the positive",
    "first rank": "median rank of the first mined negative among all that may be one",
    "false": "share of negatives that are known matches, where all matches but one were hidden from the search",
    "judged": "negatives on which that share rests",
}


def yardstick_rows(receipt: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How good the negatives are: a row per corpus of a build with scores; None where there is nothing to measure."""
    rows = []
    for corpus, score in receipt.get("score", {}).items():
        hidden = receipt["mine"][corpus]["yardstick"]["hidden"]
        told = (
            corpus,
            score["records"],
            sum(score["negatives"].values()),
            score["fill"],
            score["hardness"],
            score["median_first_rank"],
            hidden["false_per_negative"],
            hidden["negatives"],
        )
        rows.append(dict(zip(YARDSTICK, told, strict=True)))
    return rows


def render_card(
    corpora: Sequence[Corpus],
    receipt: Mapping[str, Any],
    funnels: Sequence[Funnel],
    *,
    leaks: Sequence[Leak] = (),
    copy: Copy | None = None,
) -> str:
    """README.md of a build: YAML for the Hub, then what the dataset is, where it comes from and what it lacks.

    `leaks`: benchmark text by task and role. `copy`: what a copy made for the Hub holds of the build.
    """
    held = dict(copy.rows) if copy else {f.corpus: f.kept for f in funnels}
    kept = [c for c in corpora if held.get(c.name)]
    mix = licence_mix(receipt, [c.name for c in kept])
    recipe, records = receipt["recipe"], sum(held.values())
    views = views_of([c.name for c in kept], copy.labelled if copy else (), scored=copy is not None and copy.scored)
    meanings = COLUMNS | (SCORED if "score" in receipt else {}) | (FLAT if copy and copy.scored else {})
    told = {
        "yaml": _front_matter(kept, records, receipt, mix, copy, views),
        "recipe": recipe,
        "receipt": receipt,
        "repo": copy.repo if copy else f"ORG/{recipe['name']}",
        "kept": kept,
        "held": held,
        "records": records,
        "copy": copy,
        "funnels": funnels,
        "total": total(funnels),
        "losses": losses_of(funnels),
        "empty": [f.corpus for f in funnels if not f.kept],
        "mix": mix,
        "uses": [(use, sum(s.records for s in mix if s.commercial == use)) for use in UseClass],
        "decontaminated": _dropped_leaks(receipt),
        "parts": list(parts_of(kept)),
        "leaks": list(leaks),
        "lean": LEAN,
        "yardstick": yardstick_rows(receipt),
        "columns": [(name, str(PUBLISHED_SCORED.field(name).type), told) for name, told in meanings.items()],
        "weak": [c.name for c in kept if c.weak],
        "personal": personal_rows(receipt),
        "masked": masked_values(receipt),
        "command": rebuild_command(receipt),
    }
    return templates().get_template("card.md.jinja").render(told)


def render_attribution(corpora: Sequence[Corpus]) -> str:
    """ATTRIBUTION.md: whom to name for what, under which terms, and where each term was read, in its own words."""
    return templates().get_template("attribution.md.jinja").render(parts=list(parts_of(corpora)))


def place_of(evidence: Evidence) -> str:
    """Where a term was read: repository at a commit, address, or document.

    >>> place_of(Evidence(document="License.pdf", read="2026-01-01", quote="..."))
    'License.pdf'
    """
    repo = f"{evidence.repo}@{evidence.commit}" if evidence.repo else None
    return ", ".join(part for part in (repo, evidence.url, evidence.document, evidence.file) if part)


def rebuild_command(receipt: Mapping[str, Any]) -> str:
    """The one command that makes this build again.

    >>> rebuild_command({"recipe": {"name": "demo"}, "only": ["a", "b"], "sample": 10})
    'm3e build demo --only a,b --sample 10'
    """
    only = f" --only {','.join(receipt['only'])}" if receipt.get("only") else ""
    sample = f" --sample {receipt['sample']}" if receipt.get("sample") is not None else ""
    return f"m3e build {receipt['recipe']['name']}{only}{sample}"


def _front_matter(
    kept: Sequence[Corpus],
    records: int,
    receipt: Mapping[str, Any],
    mix: Sequence[Share],
    copy: Copy | None,
    views: Sequence[View],
) -> str:
    # Here, not above: huggingface_hub reads HF_ENDPOINT when it is imported, and costs a tenth of a second.
    from huggingface_hub import DatasetCardData

    english = any(corpus.script == "none" for corpus in kept)
    chinese = any(corpus.script != "none" for corpus in kept)
    languages = ["zh"] * chinese + ["en"] * english
    data = DatasetCardData(
        pretty_name=receipt["recipe"]["name"],
        language=languages or None,
        size_categories=size_category(records),
        task_categories=TASKS,
        tags=[*TAGS, *(["decontaminated"] if _dropped_leaks(receipt) else []), *(copy.tags if copy else ())],
        configs=[view.config(is_default=view is views[0]) for view in views] or None,
        dataset_info=dataset_info(views, copy.files) if copy else None,
        **_licence({share.licence for share in mix}, copy.repo if copy else None),
    )
    return data.to_yaml(line_break="\n")


def _dropped_leaks(receipt: Mapping[str, Any]) -> bool:
    return bool(receipt["benchmarks"]) and receipt["recipe"]["decontaminate"]["policy"] == "drop"


def _licence(licences: set[str], repo: str | None) -> dict[str, Any]:
    """The Hub's licence keys: one licence if it holds for every record, else `other`."""
    one = next(iter(licences)) if len(licences) == 1 else None
    if one and one.lower() in HUB_LICENCES:
        return {"license": one.lower()}
    if one == "NOASSERTION" or not licences:
        return {"license": "unknown"}
    told = {
        "license": "other",
        "license_name": re.sub(r"[^a-z0-9.-]+", "-", one.lower()) if one else "mixed-per-corpus",
    }
    # The Hub takes LICENSE, LICENSE.md or a full address here; the address is known only with the repository.
    if repo:
        told["license_link"] = f"https://huggingface.co/datasets/{repo}/blob/main/ATTRIBUTION.md"
    return told


def size_category(records: int) -> str:
    """The Hub's word for a size.

    >>> size_category(749), size_category(1000), size_category(22_000_000)
    ('n<1K', '1K<n<10K', '10M<n<100M')
    """
    if records < SIZES[0][0]:
        return "n<1K"
    for (low, name), (high, higher) in pairwise(SIZES):
        if low <= records < high:
            return f"{name}<n<{higher}"
    return "n>1B"


@cache
def templates() -> jinja2.Environment:
    """The templates of our papers in Markdown; `cell` keeps foreign text inside its cell."""
    return environment(
        html=False,
        place=place_of,
        n=lambda count: f"{count:,}",
        cell=lambda text: " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;"),
        quoted=lambda text: "\n".join(f"> {line}".rstrip() for line in str(text).splitlines()),
    )
