"""Duplicates by sets of strings: slow, plain Python, sharing no code with the pipeline, which is judged by it.

Takes match keys, gives every pair that design section 4 calls near-duplicate. `pair_edges` is exact: it leaves out only
pairs that a set-size argument proves too far apart (`test_dedupe` holds it to `every_pair`, which leaves out none).
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import opencc

Record = tuple[str, str, bool, bool]  # text key, text_pos key, symmetric, near
Edge = tuple[float, bool]  # similarity, swapped


def shingles(key: str, k: int) -> set[str]:
    return {key[i : i + k] for i in range(len(key) - k + 1)}


def similarity(a: str, b: str) -> float:
    """Jaccard of two keys; k follows the shorter one."""
    if a == b:
        return 1.0
    shorter = min(len(a), len(b))
    if shorter < 6:
        return 0.0
    k = 2 if shorter < 20 else 3
    one, two = shingles(a, k), shingles(b, k)
    return len(one & two) / len(one | two)


def vetoed(a: str, b: str) -> bool:
    """Do digits or negations differ?"""
    return re.findall(r"\d+", a) != re.findall(r"\d+", b) or any(
        a.count(word) != b.count(word) for word in "不没无非未"
    )


def side(a: str, b: str) -> float:
    return 0.0 if vetoed(a, b) else similarity(a, b)


def edge(a: Record, b: Record, floor: float) -> Edge | None:
    """The edge between two records, or None."""
    both_symmetric, both_near = a[2] and b[2], a[3] and b[3]
    straight = min(side(a[0], b[0]), side(a[1], b[1]))
    crossed = min(side(a[0], b[1]), side(a[1], b[0])) if both_symmetric else 0.0
    if not both_near:
        straight, crossed = float(straight == 1 and a[:2] == b[:2]), float(crossed == 1 and a[:2] == b[1::-1])
    best = max(straight, crossed)
    return (best, crossed > straight) if best >= floor else None


def every_pair(records: Sequence[Record], floor: float) -> dict[tuple[int, int], Edge]:
    """All pairs i < j without any short cut; for a few hundred records."""
    found = {}
    for j, b in enumerate(records):
        for i, a in enumerate(records[:j]):
            if joined := edge(a, b, floor):
                found[i, j] = joined
    return found


def pair_edges(records: Sequence[Record], floor: float) -> dict[tuple[int, int], Edge]:
    """All pairs i < j of records that are exact or near duplicates, with similarity and whether swapped.

    >>> pair_edges([("如何更换花呗绑定银行卡", "甲", True, True), ("甲", "如何更换花呗绑定的银行卡", True, True)], 0.7)
    {(0, 1): (0.75, True)}
    """
    near = similar_keys({key for record in records for key in record[:2]}, floor)
    holders = defaultdict(list)
    for i, record in enumerate(records):
        holders[record[0]].append(i)
    found = {}
    for i, record in enumerate(records):
        like_text, like_pos = near[record[0]], near[record[1]]
        others = {j for key in like_text for j in holders[key] if records[j][1] in like_pos}
        if record[2]:
            others |= {j for key in like_pos for j in holders[key] if records[j][1] in like_text}
        for j in others:
            if i < j and (joined := edge(record, records[j], floor)):
                found[i, j] = joined
    return found


def similar_keys(keys: Iterable[str], floor: float) -> dict[str, set[str]]:
    """For each key the keys that reach `floor` with it (itself too), vetoes heeded.

    Sets with Jaccard >= f share one of the n - ceil(f * n) + 1 rarest shingles of either: only those are indexed.
    """
    listed = sorted(keys)
    near = {key: {key} for key in listed}
    for k in (2, 3):
        sets = {key: shingles(key, k) for key in listed if len(key) >= (6 if k == 2 else 20)}
        if k == 2:  # a partner under 20 characters has at most 18 shingles
            sets = {key: held for key, held in sets.items() if len(key) < 20 or len(held) * floor <= 18.000001}
        counts = Counter(shingle for held in sets.values() for shingle in held)
        index: dict[str, list[str]] = defaultdict(list)
        for key, held in sets.items():
            rarest = sorted(held, key=lambda shingle: (counts[shingle], shingle))
            rarest = rarest[: len(held) - math.ceil(floor * len(held) - 1e-9) + 1]
            others = {other for shingle in rarest for other in index[shingle]}
            for other in others:
                sizes = sorted((len(held), len(sets[other])))
                if sizes[0] >= floor * sizes[1] - 1e-9 and side(key, other) >= floor:
                    near[key].add(other)
                    near[other].add(key)
            for shingle in rarest:
                index[shingle].append(key)
    return near


def components(keys: Iterable[str], threshold: float) -> dict[str, str]:
    """The smallest key of every key's component under `similar_keys`."""
    near = similar_keys(keys, threshold)
    least: dict[str, str] = {}
    for key in sorted(near):
        todo = [key] if key not in least else []
        while todo:
            at = todo.pop()
            if at not in least:
                least[at] = key
                todo += near[at]
    return least


def plant_edits(pairs: Sequence[tuple[str, str]], seed: int) -> list[tuple[str, str]]:
    """A near-copy of every pair: one to three small edits of one or both sides, as people and web pages make them.

    Inserted, deleted and substituted characters, words that change places, other punctuation, traditional or full-width
    writing, and changed digits and added negations, which must be vetoed.
    """
    rng = random.Random(seed)
    traditional = opencc.OpenCC("s2t")
    letters = "".join(text for pair in pairs[:500] for text in pair)[:20_000] or "的一是在了有和人这中大为上个国"

    def edit(text: str) -> str:
        at = rng.randrange(len(text) + 1)
        kind = rng.choice(
            ("insert", "delete", "substitute", "substitute", "swap", "mark", "script", "width", "digit", "not")
        )
        if kind == "insert":
            return text[:at] + rng.choice(letters) + text[at:]
        if kind == "delete":
            return text[:at] + text[at + 1 :] if len(text) > 1 else text
        if kind == "substitute":
            return text[:at] + rng.choice(letters) + text[at + 1 :]
        if kind == "swap":
            return text[:at] + text[at + 2 : at + 4] + text[at : at + 2] + text[at + 4 :]
        if kind == "mark":
            return text.translate({ord("，"): ",", ord("？"): "?", ord("。"): None}) + rng.choice(
                ("！", "?", "。", "……", " ")
            )
        if kind == "script":
            return str(traditional.convert(text))
        if kind == "width":
            return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)
        if kind == "digit":
            return re.sub(r"\d", lambda found: str((int(found[0]) + 1) % 10), text, count=1)
        return text[:at] + "不" + text[at:]

    edited = []
    for text, text_pos in pairs:
        sides = [text, text_pos]
        for _ in range(rng.choice((1, 1, 1, 2, 2, 3))):
            which = rng.randrange(2)
            sides[which] = edit(sides[which])
        edited.append((sides[0], sides[1]))
    return edited
