"""Shingles, signatures and bands, against sets of strings, regular expressions and datasketch."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Sequence

import datasketch
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import string_oracle
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import FormatError
from pipeline.minhash import (
    SKETCH,
    Bands,
    Bitmaps,
    Keys,
    Pairs,
    Plan,
    Signer,
    Slots,
    band_parts,
    jaccard,
    permutations,
    rows_per_band,
    signatures,
    slots,
)
from pipeline.minhash.keys import marked

TEXTS = [
    "",
    "a",
    "甲",
    "甲乙",
    "é1",
    "甲乙丙",
    "😀😁😂🤣",
    "hello world, this is ascii text",
    "混合mixed文本😀abcé甲乙",
    "甲" * 50,
    "ab甲😀é" * 40,
    "如何更换花呗绑定的银行卡",
    "\U00010000\U0010ffff\ue000甲",
    "北京市海淀区中关村大街一号院二号楼三层四零五室",
]
# Few letters, so that texts share shingles; every UTF-8 width, digits of two scripts and negations among them.
LETTERS = st.text("甲乙丙aé😀不没12٣𝟘", min_size=0, max_size=30)


def keys_of(texts: Sequence[str]) -> Keys:
    hashes = np.array([xxhash.xxh3_64_intdigest(text.encode()) for text in texts], np.uint64)
    return Keys.of(pl.Series(list(texts), dtype=pl.String), hashes)


def sketch(text: str, k: int, num_perm: int, seed: int) -> datasketch.MinHash:
    """datasketch over the UTF-8 of every shingle; a text shorter than k is its own only shingle."""
    minhash = datasketch.MinHash(num_perm, seed=seed, hashfunc=xxhash.xxh32_intdigest)
    found = [text[i : i + k] for i in range(len(text) - k + 1)] or [text] * bool(text)
    minhash.update_batch([shingle.encode() for shingle in found])
    return minhash


@settings(deadline=None)  # the first call compiles
@given(st.lists(LETTERS, min_size=1, max_size=8))
def test_measures_equal_sets_of_strings(texts: list[str]) -> None:
    keys = keys_of(texts)
    assert keys.chars.tolist() == [len(text) for text in texts]
    assert keys.doubles.tolist() == [len(string_oracle.shingles(t, 2)) if len(t) >= 6 else 0 for t in texts]
    assert keys.triples.tolist() == [len(string_oracle.shingles(t, 3)) if len(t) >= 20 else 0 for t in texts]


@settings(deadline=None)  # the first call compiles
@given(LETTERS, LETTERS)
def test_jaccard_is_that_of_sets_of_strings(a: str, b: str) -> None:
    keys = keys_of([a, b])
    found = jaccard(keys, [0, 1, 0, 1], keys, [1, 0, 0, 1])
    expected = string_oracle.similarity(a, b)
    assert found.tolist() == [expected, expected, 1.0, 1.0]


@settings(deadline=None)  # the first call compiles
@given(LETTERS, LETTERS, LETTERS, LETTERS, st.sampled_from([0.0, 0.5, 0.8]))
def test_jaccard_of_keys_that_begin_alike(start: str, a: str, b: str, c: str, minimum: float) -> None:
    texts = [start + a, start + b, start + a + c, start]
    keys = keys_of(texts)
    at, other = np.divmod(np.arange(16), 4)
    for i, j, found in zip(at, other, jaccard(keys, at, keys, other, minimum), strict=True):
        expected = string_oracle.similarity(texts[i], texts[j])
        assert found == expected or (found == 0 and expected < minimum)


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.text("甲乙丙丁aé😀", max_size=90), min_size=2, max_size=5), st.sampled_from([0.3, 0.6, 0.8]))
def test_bitmaps_leave_out_nobody_who_is_similar(texts: list[str], similarity: float) -> None:
    template = "".join(map(chr, range(0x4E00, 0x4E64)))  # others differ from it, and maps from one another in size
    texts = [*texts, template, *(template + text for text in texts)]
    keys, everyone = keys_of(texts), np.arange(len(texts))
    maps = Bitmaps.of(keys)
    joined = Bitmaps.joined([Bitmaps.of(keys_of(texts[:3])), Bitmaps.of(keys_of(texts[3:]))])
    pairs = Pairs(keys, everyone, everyone[::-1].copy(), everyone % 2 == 0)
    for one in range(len(texts)):
        possible = maps.possible(one, everyone, similarity)
        assert (possible == joined.possible(one, everyone, similarity)).all()
        alike = [string_oracle.similarity(texts[one], text) >= similarity for text in texts]
        assert possible[alike].all()
        text, _, _ = pairs.compare(np.full(len(texts), one), everyone, similarity)
        assert maps.possible_pairs(pairs, one, everyone, similarity)[text > 0].all()


def test_bitmaps_leave_out_nearly_all_that_are_not_similar() -> None:
    letters = np.random.default_rng(1).integers(0x4E00, 0x8E00, (200, 150))
    template = "".join(map(chr, letters[0]))
    texts = [template + "".join(map(chr, row)) for row in letters[1:, :60]]
    keys = keys_of(texts)
    assert max(string_oracle.similarity(texts[0], text) for text in texts[1:]) < 0.6
    assert Bitmaps.of(keys).possible(0, np.arange(1, 199), 0.8).sum() < 4


@pytest.mark.parametrize("long", range(5, 27))
@pytest.mark.parametrize("short", [5, 6, 15, 19, 20, 21])
def test_jaccard_at_every_border_length(short: int, long: int) -> None:
    text = "春眠不觉晓处处闻啼鸟夜来风雨声花落知多少白日依山尽"
    a, b = text[:short], text[1 : 1 + long]
    keys = keys_of([a, b])
    assert jaccard(keys, [0], keys, [1]).tolist() == [string_oracle.similarity(a, b)]


def test_jaccard_between_two_tables_and_in_any_order() -> None:
    texts = [TEXTS[-1][i:] + TEXTS[-3] * (i % 3) for i in range(12)]
    left, right = keys_of(texts[:5]), keys_of(texts[5:])
    pairs = [(i, j) for i in range(5) for j in range(7)]
    pairs = pairs[::2] + pairs[1::2]
    found = jaccard(left, [i for i, _ in pairs], right, [j for _, j in pairs])
    assert found.tolist() == [string_oracle.similarity(texts[i], texts[5 + j]) for i, j in pairs]


def test_a_minimum_changes_nothing_above_it() -> None:
    texts = [TEXTS[-1][: 6 + i] for i in range(16)]
    keys = keys_of(texts)
    at, other = np.divmod(np.arange(256), 16)
    whole, cut = jaccard(keys, at, keys, other), jaccard(keys, at, keys, other, 0.6)
    assert (cut[whole >= 0.6] == whole[whole >= 0.6]).all()
    assert ((cut == whole) | (cut == 0)).all()
    assert (cut == 0).sum() > (whole == 0).sum()


@settings(deadline=None, max_examples=300)
@given(st.text("不没无非未12٣𝟘甲a ", max_size=8), st.text("不没无非未12٣𝟘甲a ", max_size=8))
def test_traits_agree_where_digit_runs_and_negations_do(a: str, b: str) -> None:
    def told(text: str) -> tuple[list[str], list[int]]:
        return re.findall(r"\d+", text), [text.count(word) for word in "不没无非未"]

    keys = keys_of([a, b])
    assert (keys.traits[0] == keys.traits[1]) == (told(a) == told(b))


@pytest.mark.parametrize(("a", "b"), [("12", "1 2"), ("1甲2", "12"), ("小于2", "不大于2"), ("3.5", "35"), ("1", "١")])
def test_traits_part(a: str, b: str) -> None:
    keys = keys_of([a, b])
    assert keys.traits[0] != keys.traits[1]


@pytest.mark.parametrize(("num_perm", "seed"), [(128, 1), (256, 7), (50, 3)])
@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_signatures_are_those_of_datasketch(k: int, num_perm: int, seed: int) -> None:
    keys = keys_of(TEXTS)
    found = signatures(keys, Slots(np.arange(len(TEXTS)), np.full(len(TEXTS), k, np.int8)), num_perm, seed)
    for text, row in zip(TEXTS, found, strict=True):
        assert (sketch(text, k, num_perm, seed).hashvalues == row).all(), text


@settings(deadline=None)  # the first call compiles
@given(
    st.lists(st.text(max_size=40) | st.text("甲乙a1é\u0301😀👩\u200d", max_size=40), min_size=1, max_size=4),
    st.integers(2, 5),
    st.sampled_from([64, 128, 256]),
    st.integers(0, 2**32 - 1),
)
def test_signatures_of_any_text_are_those_of_datasketch(texts: list[str], k: int, num_perm: int, seed: int) -> None:
    found = signatures(keys_of(texts), Slots(np.arange(len(texts)), np.full(len(texts), k, np.int8)), num_perm, seed)
    assert (found == [sketch(text, k, num_perm, seed).hashvalues for text in texts]).all()


def test_permutations_are_those_of_datasketch() -> None:
    drawn = datasketch.MinHash(128, seed=42).permutations
    assert all((mine == theirs).all() for mine, theirs in zip(permutations(128, 42), drawn, strict=True))


def test_signatures_load_into_datasketch() -> None:
    texts = TEXTS[7:]
    found = signatures(keys_of(texts), Slots(np.arange(len(texts)), np.full(len(texts), 3, np.int8)), 128, 1)
    lsh = datasketch.MinHashLSH(num_perm=128, params=(16, 8))
    for i, row in enumerate(found):
        lean = datasketch.LeanMinHash(seed=1, hashvalues=row, scheme="affine32")
        assert lean.jaccard(sketch(texts[i], 3, 128, 1)) == 1
        lsh.insert(i, lean)
    assert [lsh.query(sketch(text, 3, 128, 1)) for text in texts] == [[i] for i in range(len(texts))]


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.text("甲乙丙丁戊", min_size=3, max_size=34), min_size=2, max_size=8, unique=True))
def test_similar_keys_share_a_slot_length(texts: list[str]) -> None:
    keys = keys_of(texts)
    chosen = slots(keys, np.arange(len(texts)), 0.6)
    lengths = {i: set(chosen.k[chosen.at == i].tolist()) for i in range(len(texts))}
    for i, a in enumerate(texts):
        assert lengths[i] in ([{0}] if len(a) < 6 else [{2}] if len(a) < 20 else [{3}, {2, 3}])
        for j, b in enumerate(texts):
            if i != j and string_oracle.similarity(a, b) >= 0.6:
                assert (2 if min(len(a), len(b)) < 20 else 3) in lengths[i] & lengths[j]


def test_long_keys_are_signed_for_short_partners_only_where_these_could_reach_them() -> None:
    keys = keys_of([TEXTS[-1], TEXTS[-1] * 3, "".join(map(chr, range(0x4E00, 0x4E20))), "哈" * 90])
    assert slots(keys, np.arange(4), 0.6).k.tolist() == [2, 2, 2, 3, 3, 3, 3]  # 23, 23 and 1 doubles; 31 are too many


@pytest.mark.parametrize(("num_perm", "similarity"), [(128, 0.36), (128, 0.8), (256, 0.36), (64, 0.64), (16, 0.36)])
def test_bands_have_the_recall_asked_for_and_one_row_more_would_not(num_perm: int, similarity: float) -> None:
    rows = rows_per_band(num_perm, similarity)

    def misses(rows: int) -> float:
        missed = 1.0
        for _ in range(num_perm // rows):
            missed *= 1 - similarity**rows
        return missed

    assert misses(rows) <= 0.001 < min(misses(more) for more in range(rows + 1, num_perm + 1))


def test_parts_agree_exactly_where_length_traits_and_rows_do() -> None:
    base = TEXTS[-1]
    texts = [base, base + "甲", base[1:], base + "1", base + "2", base + "不", "甲乙", "甲丙", base[:8] + base]
    keys = keys_of(texts)
    chosen = slots(keys, np.arange(len(texts)), 0.6)
    multipliers, addends = permutations(64, 1)
    parts = band_parts(keys, chosen, multipliers, addends, 2)
    rows = signatures(keys, chosen, 64, 1)
    for i in range(len(chosen)):
        for j in range(len(chosen)):
            a, b = chosen.at[i], chosen.at[j]
            alike = chosen.k[i] == chosen.k[j] and keys.traits[a] == keys.traits[b]
            for band in range(32):
                same_rows = (rows[i, 2 * band : 2 * band + 2] == rows[j, 2 * band : 2 * band + 2]).all()
                expected = a == b if chosen.k[i] == 0 else alike and same_rows
                assert (parts[band, i] == parts[band, j]) == (expected and chosen.k[i] == chosen.k[j])


def test_bands_in_groups_are_the_same_bands() -> None:
    keys = keys_of(TEXTS)
    chosen = slots(keys, np.arange(len(TEXTS)), 0.6)
    a, b = permutations(100, 1)
    whole = band_parts(keys, chosen, a, b, 3)
    assert whole.shape == (33, len(chosen))
    groups = [band_parts(keys, chosen, a[some], b[some], 3) for some in (slice(60), slice(60, None))]
    assert (np.concatenate(groups) == whole).all()


def test_keys_take_slices_and_another_order() -> None:
    column = pl.Series(TEXTS).slice(4, 6)
    hashes = np.arange(6, dtype=np.uint64)
    keys = Keys.of(column, hashes, np.array([3, 0, 5]))
    assert keys.chars.tolist() == [len(TEXTS[i]) for i in (7, 4, 9)]
    assert keys.hashes.tolist() == [3, 0, 5]
    assert len(Keys.of(pl.Series([], dtype=pl.String), hashes[:0])) == 0


@settings(deadline=None)
@given(st.lists(st.none() | LETTERS, max_size=8), st.integers(0, 3), st.integers(0, 8))
def test_keys_take_any_arrow_layout(texts: list[str | None], low: int, size: int) -> None:
    plain = [text or "" for text in texts[low : low + size]]
    hashes = np.zeros(len(plain), np.uint64)
    expected = Keys.of(pl.Series(plain, dtype=pl.String), hashes)
    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        column = pa.array(texts, kind)
        layouts = [column.slice(low, size), pa.chunked_array([column[:2], column[2:]], kind).slice(low, size)]
        for layout in [*layouts, pl.Series(layouts[1], dtype=pl.String)]:
            found = Keys.of(layout, hashes)
            assert [bytes(found.data[a:b]).decode() for a, b in zip(found.start, found.end, strict=True)] == plain
            assert (found.traits == expected.traits).all() and (found.chars == expected.chars).all()


def test_lone_surrogates_are_refused() -> None:
    offsets, data = pa.py_buffer(np.array([0, 3], np.int64)), pa.py_buffer(b"\xed\xa0\x80")
    with pytest.raises(FormatError, match="lone surrogates"):
        Keys.of(pa.LargeStringArray.from_buffers(1, offsets, data), np.zeros(1, np.uint64))


@settings(deadline=None)  # the first call compiles
@given(
    st.lists(LETTERS, min_size=1, max_size=6, unique=True), st.sampled_from([0.5, 0.6, 0.8]), st.sampled_from([64, 128])
)
def test_one_signing_gives_slots_bands_and_sketch(texts: list[str], least: float, seed: int) -> None:
    keys = keys_of(texts)
    plan = Plan(Bands(2, 20), least, Bands(4, 13), 0.8, seed)
    signer = Signer(plan, len(texts))
    signer.add(keys.data, keys.start, keys.end, keys.hashes)
    signed = signer.signed
    slotted = [slots(keys, np.arange(len(texts)), similarity) for similarity in (least, 0.8)]
    both = [sorted(zip(told.at.tolist(), told.k.tolist(), strict=True)) for told in slotted]
    assert list(zip(signed.at.tolist(), signed.k.tolist(), strict=True)) == both[0]
    assert [told for told, sided in zip(both[0], signed.sided, strict=True) if sided] == [t for t in both[1] if t[1]]
    rows = signatures(keys, Slots(signed.at, signed.k), SKETCH, seed)
    for i in range(len(signed.at)):
        for j in range(i):
            alike = signed.k[i] == signed.k[j] > 0 and keys.traits[signed.at[i]] == keys.traits[signed.at[j]]
            for found, bands in ((signed.pair, plan.pair), (signed.side, plan.side)):
                if signed.k[i] == 0 or signed.k[j] == 0:
                    continue
                for band in range(bands.count):
                    some = slice(band, bands.permutations, bands.count)
                    same = (rows[i, some] == rows[j, some]).all()
                    assert (found[i, band] == found[j, band]) == bool(alike and same)
            if signed.k[i] == signed.k[j] == 0:
                assert (signed.pair[i] != signed.pair[j]).all()  # other keys
            elif signed.k[i] == signed.k[j]:
                agreeing = SKETCH - int(np.bitwise_count(signed.sketch[i] ^ signed.sketch[j]))
                assert agreeing >= (rows[i] == rows[j]).sum()


def test_a_long_key_is_counted_whole_where_a_short_one_asks() -> None:
    long = "".join(map(chr, range(0x4E00, 0x4E90)))
    keys = keys_of([long, long[3:12]])
    found = jaccard(keys, [0, 1, 0], keys, [1, 0, 0])
    assert found.tolist() == [string_oracle.similarity(long, long[3:12])] * 2 + [1.0]
    assert jaccard(keys, [0], keys, [1], 0.3).tolist() == [0.0]


def test_no_digit_is_overlooked() -> None:
    assert marked()[0].tolist() == [c for c in range(sys.maxunicode + 1) if unicodedata.decimal(chr(c), None) == 0]
