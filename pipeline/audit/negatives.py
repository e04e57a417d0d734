"""False negatives: negatives of a file that say what their text or its positive says, or are a positive of it elsewhere.

Four looks, and a negative is told by the first that finds it: its own positive, its own text, the positives of the same
text in other rows and in the build, and the pairs that the build removed or that people judged a match.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline.decontaminate.sides import negatives as exploded
from pipeline.minhash import Keys, jaccard
from pipeline.normalize import key_hash, match_key

#: Other positives of one text that a negative is compared with beyond equality; equality sees all.
MOST_OTHERS = 64
#: `at` is the record's place, `neg` the negative's (from 0); `holder` names where the other stands, `other` its place or id.
FOUND = {
    "at": pl.UInt32,
    "neg": pl.UInt32,
    "kind": pl.String,
    "holder": pl.String,
    "other": pl.String,
    "similarity": pl.Float32,
}


@dataclass(frozen=True)
class Holder:
    """Records with their classes, shard by shard. The file itself has no name; a corpus of a build has its own."""

    name: str
    text: Sequence[Path]
    classes: Sequence[Path]


def false_negatives(
    holders: Sequence[Holder], removed: Sequence[Path], labelled: Sequence[Path], least: float
) -> Iterator[pl.DataFrame]:
    """Per shard of the file (the first holder) the negatives that are none, in FOUND's columns, each once.

    removed: evidence of a build, which holds the keys of records that it removed too; labelled: its judged pairs.
    least: the true Jaccard from which two match keys say the same, if digits and negations agree as well.
    """
    start = 0
    for text, classes in zip(holders[0].text, holders[0].classes, strict=True):
        frame = pl.read_parquet(text, columns=["text", "text_pos", "text_neg"])
        listed = exploded(frame["text_neg"])
        if listed.height:
            keys = match_key(listed["text"])
            groups = pl.read_parquet(classes, columns=["text_key", "text_group"])[listed["row"]]
            singles = groups.with_columns(
                at=(listed["row"] + start).cast(pl.UInt32), neg=listed["neg"], key=keys, hash=key_hash(keys)
            )
            own = [match_key(frame[side])[listed["row"]] for side in ("text_pos", "text")]
            found = [_own(singles, own, least)]
            singles = _but(singles, found)
            others = _others(holders, singles)
            found.append(_known(singles, others, holders))
            singles = _but(singles, found)
            found.append(_near(singles, others, holders, least))
            singles = _but(singles, found)
            found += [*_removed(singles, removed), *_judged(singles, labelled)]
            whole = pl.concat(found).unique(["at", "neg"], keep="first", maintain_order=True)
            yield whole.sort("at", "neg")
        start += frame.height


def alike(left: pl.Series, right: pl.Series, least: float) -> npt.NDArray[np.float64]:
    """The true Jaccard of match keys side by side; 0 under `least`, or where digits or negations differ.

    >>> right = pl.Series(["如何更换花呗绑定的银行卡", "小于3的数字"])
    >>> alike(pl.Series(["如何更换花呗绑定银行卡", "小于2的数字"]), right, 0.7).tolist()
    [0.75, 0.0]
    """
    both = pl.concat([left, right.rename(left.name)], rechunk=True)
    keys = Keys.of(both, key_hash(both).to_numpy())
    a, b = np.arange(len(left)), np.arange(len(left), 2 * len(left))
    found = jaccard(keys, a, keys, b, least)
    found[(found < least) | (keys.traits[a] != keys.traits[b])] = 0
    return found


def _own(singles: pl.DataFrame, own: Sequence[pl.Series], least: float) -> pl.DataFrame:
    found = []
    for key, kind in zip(own, ("negative_is_positive", "negative_is_text"), strict=True):
        similarity = pl.Series(alike(singles["key"], key, least), dtype=pl.Float32)
        told = singles.select("at", "neg", kind=pl.lit(kind), holder=pl.lit(""), other=pl.col("at").cast(pl.String))
        found.append(told.with_columns(similarity=similarity).filter(pl.col("similarity") > 0))
    return pl.concat(found)


def _but(singles: pl.DataFrame, found: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return singles.join(pl.concat(found), on=["at", "neg"], how="anti", maintain_order="left")


def _others(holders: Sequence[Holder], singles: pl.DataFrame) -> pl.DataFrame:
    """Records that hold one of these texts, or nearly: text_group, pos_key, holder, shard, row, at."""
    wanted = singles.select("text_group").unique()
    found = []
    for number, holder in enumerate(holders):
        start = 0
        for shard, path in enumerate(holder.classes):
            frame = pl.read_parquet(path, columns=["text_group", "pos_key"]).with_row_index("row")
            mine = frame.join(wanted, on="text_group", how="semi", maintain_order="left")
            found.append(
                mine.with_columns(
                    holder=pl.lit(number, pl.UInt16),
                    shard=pl.lit(shard, pl.UInt16),
                    at=(pl.col("row") + start).cast(pl.UInt32),
                )
            )
            start += frame.height
    return pl.concat(found)


def _known(singles: pl.DataFrame, others: pl.DataFrame, holders: Sequence[Holder]) -> pl.DataFrame:
    met = singles.join(others, left_on=["text_group", "hash"], right_on=["text_group", "pos_key"], suffix="_other")
    return _told(met.with_columns(similarity=pl.lit(1.0, pl.Float32)), holders)


def _near(singles: pl.DataFrame, others: pl.DataFrame, holders: Sequence[Holder], least: float) -> pl.DataFrame:
    few = others.unique(["text_group", "pos_key"], keep="first", maintain_order=True)
    few = few.filter(pl.int_range(pl.len()).over("text_group") < MOST_OTHERS)
    met = singles.join(few, on="text_group", suffix="_other")
    met = met.filter((pl.col("holder") != 0) | (pl.col("at") != pl.col("at_other")))
    if not met.height:
        return pl.DataFrame(schema=FOUND)
    texts = []
    for (holder, shard), rows in met.select("holder", "shard", "row").unique().group_by("holder", "shard"):
        path = holders[int(str(holder))].text[int(str(shard))]
        positives = pl.read_parquet(path, columns=["text_pos"])["text_pos"][rows["row"]]
        texts.append(rows.with_columns(pos=match_key(positives)))
    met = met.join(pl.concat(texts), on=["holder", "shard", "row"])
    similarity = pl.Series(alike(met["key"], met["pos"], least), dtype=pl.Float32)
    return _told(met.with_columns(similarity=similarity).filter(pl.col("similarity") > 0), holders)


def _told(met: pl.DataFrame, holders: Sequence[Holder]) -> pl.DataFrame:
    """One line per negative: the file before the build, the most similar first; records of the build by their ids."""
    best = met.sort("at", "neg", "holder", -pl.col("similarity"), "at_other")
    best = best.unique(["at", "neg"], keep="first", maintain_order=True)
    told = [pl.DataFrame(schema=FOUND)]
    for (number, shard), mine in best.group_by("holder", "shard", maintain_order=True):
        holder = holders[int(str(number))]
        other = mine["at_other"].cast(pl.String)
        if holder.name:
            other = pl.read_parquet(holder.text[int(str(shard))], columns=["record_id"])["record_id"][mine["row"]]
        kind, name = pl.lit("negative_is_known_positive"), pl.lit(holder.name)
        told.append(mine.select("at", "neg", kind=kind, holder=name, other=other, similarity="similarity"))
    return pl.concat(told)


def _removed(singles: pl.DataFrame, evidence: Sequence[Path]) -> Iterator[pl.DataFrame]:
    """Pairs of a build, those it removed too, by their keys; their records have an id each."""
    texts = singles["text_key"].unique().implode()
    for path in evidence:
        known = pl.scan_parquet(path).filter(pl.col("text_key").is_in(texts))
        frame = known.select("text_key", "pos_key", "record_id").collect(engine="streaming")
        met = singles.join(frame, left_on=["text_key", "hash"], right_on=["text_key", "pos_key"])
        yield _by_id(met, path.stem, "negative_is_known_positive")


def _judged(singles: pl.DataFrame, labelled: Sequence[Path]) -> Iterator[pl.DataFrame]:
    """Pairs that people judged a match, either way round."""
    for path in labelled:
        frame = pl.scan_parquet(path).filter(pl.col("label")).select("record_id", "text", "other").collect()
        keys = {side: key_hash(match_key(frame[side])) for side in ("text", "other")}
        for one, two in (("text", "other"), ("other", "text")):
            known = pl.DataFrame({"text_key": keys[one], "pos_key": keys[two], "record_id": frame["record_id"]})
            met = singles.join(known, left_on=["text_key", "hash"], right_on=["text_key", "pos_key"])
            yield _by_id(met, path.stem, "negative_is_judged_match")


def _by_id(met: pl.DataFrame, corpus: str, kind: str) -> pl.DataFrame:
    best = met.sort("at", "neg", "record_id").unique(["at", "neg"], keep="first", maintain_order=True)
    told = best.select("at", "neg", kind=pl.lit(kind), holder=pl.lit(corpus), other="record_id")
    return told.with_columns(similarity=pl.lit(1.0, pl.Float32))
