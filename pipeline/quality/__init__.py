"""Quality: which records a trainer would rather not see. Marks them; `assemble` removes.

Every rule has an action in the recipe: `drop`, `flag` or `off`. A record's `reason` is the first dropping rule that hits
it, in the order of `RULES`; its `flags` are all flagging rules that do.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pipeline.manifest.settings import QualityConfig
from pipeline.normalize import match_key
from pipeline.quality.corpus_rules import CorpusCounts
from pipeline.quality.rules import SIDES, row_rules
from pipeline.record import MARK_SCHEMA, shard_name
from pipeline.shards import count_rows, read_groups, write_parquet

#: The rules in order of precedence; their names are those of `QualityConfig`'s actions.
RULES = (
    "empty_side",
    "equal_sides",
    "too_short",
    "too_long",
    "script_ratio",
    "markup",
    "repetition",
    "refusal",
    "template_opening",
    "hub_positive",
    "generic_title",
)
_DETAILS = ("", "text", "text_pos")


def quality(
    shards: Sequence[Path], out: Path, config: QualityConfig, code_sides: Collection[str] = ()
) -> dict[str, Any]:
    """Write `marks-*.parquet` beside the text shards of one corpus, row by row as they are.

    shards: the corpus' text shards, in order. out: an existing folder. code_sides: sides that hold program code, exempt
    from the rules on script, markup and repetition. Texts are read once, batch by batch; 28 bytes of every record stay
    in memory, for the rules that count over the whole corpus.

    Returns `{"records": 3, "dropped": {"equal_sides": 1}, "flagged": {"markup": 2}}`.
    """
    dropping = [rule for rule in RULES if getattr(config, rule) == "drop"]
    flagging = [rule for rule in RULES if getattr(config, rule) == "flag"]
    shard_rows = [count_rows([shard]) for shard in shards]
    packed = np.empty(sum(shard_rows), np.uint32)
    counting = config.template_opening != "off" or config.hub_positive != "off"
    counts = CorpusCounts(config, len(packed) if counting else 0)
    start = 0
    for shard in shards:
        for group in read_groups(shard, SIDES):
            batch = pl.DataFrame(group)
            keys = {side: match_key(batch[side], code=side in code_sides) for side in SIDES}
            packed[start : start + batch.height] = _packed(row_rules(batch, keys, config, code_sides), batch.height)
            start += batch.height
            if counting:
                counts.add(keys["text"], keys["text_pos"])
    if config.template_opening != "off":
        packed |= counts.shared_openings().astype(np.uint32) * _bits("template_opening", "text")
    if config.hub_positive != "off":
        packed |= counts.hub_positives().astype(np.uint32) * _bits("hub_positive", "text_pos")

    start = 0
    for index, rows in enumerate(shard_rows):
        write_parquet(out / shard_name("marks", index), _marks(packed[start : start + rows], dropping, flagging))
        start += rows
    left = np.ones(len(packed), np.bool_)
    dropped = {}
    for rule in dropping:
        hit = _hit(packed, rule)
        dropped[rule] = int((hit & left).sum())
        left &= ~hit
    flagged = {rule: int(_hit(packed, rule).sum()) for rule in flagging}
    return {"records": len(packed), "dropped": dropped, "flagged": flagged}


def _hit(packed: npt.NDArray[np.uint32], rule: str) -> npt.NDArray[np.bool_]:
    hit: npt.NDArray[np.bool_] = packed & np.uint32(3 << (2 * RULES.index(rule))) != 0
    return hit


def _bits(rule: str, detail: str) -> np.uint32:
    """A rule's two bits: 0 no hit, else 1 + the place of its detail."""
    return np.uint32((1 + _DETAILS.index(detail)) << (2 * RULES.index(rule)))


def _packed(hits: dict[str, dict[str, pl.Series]], rows: int) -> npt.NDArray[np.uint32]:
    """All verdicts on a batch, two bits for each rule; of two sides hit, the first counts."""
    packed = np.zeros(rows, np.uint32)
    for rule, found in hits.items():
        free = np.ones(rows, np.bool_)
        for detail, mask in found.items():
            here = mask.to_numpy() & free
            packed |= here.astype(np.uint32) * _bits(rule, detail)
            free &= ~here
    return packed


def _marks(packed: npt.NDArray[np.uint32], dropping: Sequence[str], flagging: Sequence[str]) -> pa.Table:
    """The mark of each distinct verdict, then taken for every row: there are few of them."""
    verdicts, which = np.unique(packed, return_inverse=True)
    marks = []
    for verdict in verdicts.tolist():
        found = {rule: (verdict >> (2 * place)) & 3 for place, rule in enumerate(RULES)}
        reason = next((rule for rule in dropping if found[rule]), None)
        against = _DETAILS[found[reason] - 1] or None if reason else None
        flags = sorted(rule for rule in flagging if found[rule])
        marks.append({"reason": reason, "against": against, "similarity": None, "flags": flags})
    return pa.Table.from_pylist(marks, schema=MARK_SCHEMA).take(pa.array(which.ravel(), pa.int64()))
