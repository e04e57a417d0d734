"""Claim: match keys come by the batch, many times faster than a string at a time, and are the same keys."""

from __future__ import annotations

from benchmarks import text
from benchmarks.measure import REPEATS, Table, cpu_seconds, rate, times
from pipeline.normalize import match_key
from tests.reference_key import reference_key

PAIRS = 20_000
#: The plain way folds one text in so many.
SPARSE = 8


def run(pairs: int = PAIRS, repeats: int = REPEATS) -> Table:
    """Folds both sides of so many pairs, against `unicodedata` and OpenCC row by row."""
    texts = text.both_sides(text.source(), pairs, copies=0.0)
    few = texts.gather_every(SPARSE)
    listed = few.to_list()
    plain = [reference_key(told) for told in listed]
    match_key(texts)
    seconds = cpu_seconds(
        {"ours": lambda: match_key(texts), "plain": lambda: [reference_key(told) for told in listed]}, repeats
    )
    sizes = {"ours": texts, "plain": few}
    table = Table(f"match_key: {len(texts):,} texts", ("", "texts per CPU-s", "MB per CPU-s", "ours is"))
    for side, name in (("ours", "ours"), ("plain", "unicodedata and OpenCC, row by row")):
        column = sizes[side]
        ratio = (seconds["plain"] / len(few)) / (seconds["ours"] / len(texts))
        megabytes = int(column.str.len_bytes().sum()) / 1e6
        told = times(ratio) if side == "plain" else ""
        table.add(name, rate(len(column), seconds[side]), rate(megabytes, seconds[side]), told)
    equal = sum(a == b for a, b in zip(match_key(few).to_list(), plain, strict=True))
    table.add("equal keys", f"{equal:,} of {len(few):,}", "", "", bar="all", holds=equal == len(few))
    return table.show()
