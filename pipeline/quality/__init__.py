"""Quality: which records a trainer would rather not see. Marks them; `assemble` removes.

Every rule has an action in the recipe: `drop`, `flag` or `off`. A record's `reason` is the first dropping rule that hits
it, in the order of `RULES`; its `flags` are all flagging rules that do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.manifest.settings import QualityConfig
from pipeline.normalize import match_key
from pipeline.quality.corpus_rules import CorpusCounts
from pipeline.quality.rules import SIDES, row_rules
from pipeline.record import MARK_SCHEMA, ROW_GROUP_ROWS, shard_name
from pipeline.shards import write_parquet

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
    counts = CorpusCounts(config)
    counting = config.template_opening != "off" or config.hub_positive != "off"
    details: list[npt.NDArray[np.uint32]] = []
    shard_rows = []
    for shard in shards:
        before = sum(map(len, details))
        for batch in _batches(shard):
            keys = {side: match_key(batch[side], code=side in code_sides) for side in SIDES}
            details.append(_packed(row_rules(batch, keys, config, code_sides), batch.height))
            if counting:
                counts.add(keys["text"], keys["text_pos"])
        shard_rows.append(sum(map(len, details)) - before)
    packed = np.concatenate(details) if details else np.zeros(0, np.uint32)
    if config.template_opening != "off":
        packed |= counts.shared_openings().astype(np.uint32) * _bits("template_opening", "text")
    if config.hub_positive != "off":
        packed |= counts.hub_positives().astype(np.uint32) * _bits("hub_positive", "text_pos")

    start = 0
    for index, rows in enumerate(shard_rows):
        write_parquet(out / shard_name("marks", index), _marks(packed[start : start + rows], dropping, flagging))
        start += rows
    hit = {rule: (packed >> np.uint32(2 * RULES.index(rule))) & np.uint32(3) != 0 for rule in RULES}
    left = np.ones(len(packed), np.bool_)
    dropped = {}
    for rule in dropping:
        dropped[rule] = int((hit[rule] & left).sum())
        left &= ~hit[rule]
    return {"records": len(packed), "dropped": dropped, "flagged": {rule: int(hit[rule].sum()) for rule in flagging}}


def _batches(shard: Path) -> Iterator[pl.DataFrame]:
    with pq.ParquetFile(shard) as file:
        for batch in file.iter_batches(batch_size=ROW_GROUP_ROWS, columns=list(SIDES), use_threads=False):
            yield pl.DataFrame(pa.Table.from_batches([batch]))


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
