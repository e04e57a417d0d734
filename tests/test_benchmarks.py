"""The benches run at a tiny size, and the text they measure on is like the text it is made from."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import string_oracle
import xxhash

from benchmarks import (
    candidates,
    convert,
    decontaminate,
    dedupe,
    duplicates,
    encode,
    evaluate,
    match_key,
    measure,
    medi,
    mine,
    mix,
    noop,
    signatures,
    text,
    yardstick,
)
from benchmarks.__main__ import CLAIMS, main
from benchmarks.measure import Table
from pipeline.encode import gpus
from pipeline.normalize import match_key as keys_of


@pytest.fixture(scope="module")
def demo() -> text.Source:
    return text.source(real=False)


@pytest.fixture(scope="module", autouse=True)
def small_source(demo: text.Source) -> Iterable[None]:
    """Every bench of this module walks over the demo corpora alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "source", lambda real=True: demo)
        yield


def ring(source: text.Source) -> str:
    return source.points.tobytes().decode("utf-32-le")


def grams(texts: Iterable[str], n: int) -> Counter[str]:
    return Counter(told[i : i + n] for told in texts for i in range(len(told) - n + 1))


def distance(a: Counter[str], b: Counter[str]) -> float:
    """Total variation: 0 for equal shares, 1 for nothing in common."""
    of_a, of_b = a.total(), b.total()
    return sum(abs(a[gram] / of_a - b[gram] / of_b) for gram in a.keys() | b.keys()) / 2


def frame(source: text.Source, count: int, **more: object) -> pl.DataFrame:
    return pl.concat(text.pairs(source, count, **more))  # type: ignore[arg-type]


def test_the_ring_holds_the_demo_texts_and_no_code(demo: text.Source) -> None:
    told = ring(demo)
    assert "羽毛球比赛采用每球得分制" in told  # passages.json
    assert "充电宝可以带上飞机不" in told  # similar.tsv
    assert "哪些书已经没有库存了？" in told and "SELECT title FROM books WHERE stock = 0" not in told  # sql.jsonl
    assert np.array_equal(np.sort(demo.order), np.arange(len(demo.points)))


def test_a_jump_leads_to_the_same_two_characters_or_where_those_are_rare_to_the_same_one(demo: text.Source) -> None:
    told = ring(demo)
    couples = Counter(told[i - 1] + told[i] for i in range(len(told)))
    for p in range(0, len(told), 97):
        places = demo.order[demo.first[p] : demo.first[p] + demo.size[p]].tolist()
        assert p in places
        common = couples[told[p - 1] + told[p]] >= text.RARE
        assert {told[q] for q in places} == {told[p]}
        assert not common or {told[q - 1] for q in places} == {told[p - 1]}
        assert len(places) == couples[told[p - 1] + told[p]] or not common


@pytest.mark.parametrize("n", [1, 2, 3])
def test_ngrams_come_as_often_as_in_the_source(demo: text.Source, n: int) -> None:
    told = ring(demo)
    expected = grams([told + told[: n - 1]], n)
    texts = frame(demo, 4_000, copies=0.0)
    walked = [*texts["text"], *texts["text_pos"]]
    found = grams(walked, n)
    shuffled = np.random.default_rng(0).permutation(list("".join(walked)))
    # 0.7 million characters: chance alone leaves about 0.01 (n = 1) to 0.1 (n = 3); letters out of order far more.
    assert distance(found, expected) < {1: 0.02, 2: 0.06, 3: 0.4}[n]
    if n > 1:
        assert set(found) <= set(expected) or n == 3
        assert distance(grams(["".join(shuffled)], n), expected) > 2 * distance(found, expected)


def test_lengths_are_those_asked_for(demo: text.Source) -> None:
    texts = frame(demo, 4_000, copies=0.0)
    for side, median in zip(("text", "text_pos"), text.LENGTHS, strict=True):
        lengths = texts[side].str.len_chars()
        assert abs(lengths.median() / median - 1) < 0.05
        assert median // 4 <= lengths.min() and lengths.max() <= 4 * median
        assert lengths.n_unique() > median


def test_nothing_repeats_but_what_is_planted(demo: text.Source) -> None:
    texts = frame(demo, 4_000, copies=0.0)
    assert texts["copy_of"].unique().to_list() == [-1]
    assert texts["text_pos"].n_unique() == 4_000


def test_copies_have_the_share_and_the_similarity_asked_for(demo: text.Source) -> None:
    texts = frame(demo, 4_000)
    copies = texts.with_row_index().filter(pl.col("copy_of") >= 0)
    assert abs(copies.height / 4_000 - text.COPIES) < 0.03
    assert texts["copy_of"].gather(copies["copy_of"].to_list()).max() == -1  # no copy of a copy
    rows = texts.select("text", "text_pos").rows()
    measured = []
    for one, two in ((rows[i], rows[of]) for i, of in copies.select("index", "copy_of").rows()):
        measured.append(tuple(string_oracle.similarity(a, b) for a, b in zip(one, two, strict=True)))
    exact = sum(pair == (1, 1) for pair in measured) / len(measured)
    assert abs(exact - text.EXACT) < 0.06
    edited = [pos for _, pos in measured if pos < 1]
    assert np.mean([text.EDITED[0] - 0.1 <= j <= 1 for j in edited]) > 0.98
    quarters = np.histogram(edited, 4, (text.EDITED[0], 1))[0] / len(edited)
    assert quarters.min() > 0.12
    only_one = np.mean([(a == 1) != (b == 1) for a, b in measured if (a, b) != (1, 1)])
    assert 0.5 < only_one < 0.8


def test_a_pair_depends_on_seed_and_number_alone(demo: text.Source) -> None:
    whole = frame(demo, 300)
    assert whole.equals(frame(demo, 300, batch=7))
    assert not whole.equals(frame(demo, 300, seed=2))


def test_a_source_without_text_is_refused() -> None:
    with pytest.raises(ValueError, match="no text"):
        text.Source.of(["", ""])
    with pytest.raises(ValueError, match="nothing to copy"):
        next(text.pairs(text.Source.of(["甲"]), 1, copies=1.0))


def test_characters_of_every_width_are_written() -> None:
    told = "aé甲😀"
    given = text.Source.of([told])
    found = frame(given, 20, copies=0.0)
    assert set("".join(found["text_pos"])) == {*told, "。"}


def test_signatures(capsys: pytest.CaptureFixture[str]) -> None:
    table = signatures.run(pairs=200, repeats=1)
    assert table.rows[-1].cells[1:2] == ("200 of 200",) and table.rows[-1].holds
    assert [row.bar for row in table.rows[2:3]] == ["800x"]
    assert "update loop" in capsys.readouterr().out


def test_a_wrong_signature_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    right = signatures.signatures

    def wrong(*given: object) -> object:
        made = right(*given)  # type: ignore[arg-type]
        made[0, 5] += 1
        return made

    monkeypatch.setattr(signatures, "signatures", wrong)
    table = signatures.run(pairs=50, repeats=1)
    assert table.rows[-1].cells[0] in table.below


def test_signatures_without_rensa(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rensa", None)
    table = signatures.run(pairs=50, repeats=1)
    assert "rensa is not installed" in table.notes[0]
    assert not any("rensa" in row.cells[0] for row in table.rows)


def test_match_key() -> None:
    table = match_key.run(pairs=200, repeats=1)
    assert table.rows[-1].cells[1] == "50 of 50" and table.rows[-1].holds


def test_dedupe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dedupe, "REPEATS", 1)
    table = dedupe.run(pairs=600)
    rows = {row.cells[0]: row for row in table.rows}
    assert set(dedupe.STEPS.values()) < set(rows)
    assert rows["whole"].bar == "50,000"
    planted = rows["planted pairs found from 0.8 on"]
    assert int(planted.cells[1]) > 20 and planted.holds
    assert all(0 <= float(rows[step].cells[2]) < 1 for step in dedupe.STEPS.values())
    peak = rows["peak memory, MiB"]
    assert peak.holds is None and 50 < float(peak.cells[3].replace(",", "")) < 2_000


def test_bands_of_one_side_are_equal_where_that_side_is() -> None:
    """Two slots that share no number, and entries of them: the first bands follow `one`, the others `two`."""
    parts = np.arange(12, dtype=np.uint32).reshape(2, 6)
    one, two = np.array([0, 0, 1, 0]), np.array([0, 1, 1, 0])
    out = np.empty((6, 4), np.uint32)
    with np.errstate(over="ignore"):
        candidates._one_sided.py_func(parts, np.arange(2, dtype=np.uint64), one, two, 3, out)
    for band, side in enumerate([one, one, one, two, two, two]):
        for i, j in ((0, 1), (0, 2), (1, 2)):
            assert (out[band, i] == out[band, j]) == (side[i] == side[j])
    assert len(np.unique(out[:, 0])) == 6


def test_shards_are_those_of_the_made_pairs(tmp_path: Path, demo: text.Source) -> None:
    dedupe.write_shards(tmp_path, 500, seed=3)
    held = pl.read_parquet(tmp_path / "text-00000.parquet")
    made = frame(demo, 500, seed=3)
    assert held.select("text", "text_pos").equals(made.select("text", "text_pos"))
    assert held["record_id"].to_list() == convert.plain_ids("bench", made.select("text", "text_pos"))
    assert held["record_id"].n_unique() == 500


def test_convert() -> None:
    table = convert.run(pairs=500, repeats=1)
    equal = [row for row in table.rows if "equal ids" in row.cells[0]]
    assert [row.cells[1] for row in equal] == ["500 of 500"] * 2 and not table.below


def test_plain_ids_number_what_repeats() -> None:
    one, two = convert.plain_ids("demo", pl.DataFrame({"q": ["你好"] * 2, "a": ["好"] * 2}))
    assert one == xxhash.xxh3_128_hexdigest("4:demo,6:你好,3:好,0".encode())
    assert two == xxhash.xxh3_128_hexdigest("4:demo,6:你好,3:好,1".encode())


def test_medi() -> None:
    table = medi.run(pairs=300)
    assert table.rows[0].holds
    assert not table.below


def test_mix() -> None:
    table = mix.run(pairs=3_000)
    assert table.rows[0].holds and table.rows[0].cells[1] == "3,000"


def test_evaluate() -> None:
    pytest.importorskip("mteb")
    table = evaluate.run(pairs=200, against=False)
    assert not table.below and len([row for row in table.rows if row.holds]) == 4


def test_encode_tells_the_repeats_apart_and_counts_operations() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("sentence_transformers")
    torch.set_num_threads(1)
    table = encode.run(pairs=12, repeats=1)
    assert table.title.startswith("encode: 34 texts, 24 distinct")
    assert [row.cells[0] for row in table.rows][:2] == ["ours", "sentence-transformers"]
    assert next(row for row in table.rows if row.cells[0] == "largest difference").holds
    from transformers import BertConfig, BertModel

    shape = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32)
    # A layer has four square matrices and two of 8 x 32; 10 tokens meet each, and 10 x 10 pairs meet twice.
    layer = 2 * (4 * 8 * 8 + 2 * 8 * 32) * 10 + 2 * 2 * 8 * 10 * 10
    assert encode.flops(BertModel(shape), np.array([10.0, 10.0])) == 2 * 3 * layer


def test_mine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mine, "CANDIDATES", {32: 2280})
    table = mine.run(pairs=60)
    assert [row.cells[0] for row in table.rows][:2] == [
        "product, 32-d, 2,280 candidates",
        "search, all filters, 32-d, 2,280 candidates",
    ]
    assert any("fill 100%" in note for note in table.notes)
    assert any("on a GPU: not measured" in note for note in table.notes) == (not gpus())


def test_mine_on_a_device() -> None:
    """What a GPU would do, done by the CPU's torch and held against a peak of one operation a second."""
    table = Table("", ("", "", ""))
    mine._on_device(table, "cpu", 20, 400, 32, "this CPU", 1.0, repeats=1)
    assert [row.cells[0] for row in table.rows] == ["product on cpu", "search, all filters on cpu"]
    assert [row.holds for row in table.rows] == [None, True]
    assert table.notes[0].endswith("without Triton")


def test_planted_neighbours_are_the_nearest() -> None:
    queries, candidates = (rows.astype(np.float64) for rows in mine.planted(50, 5_000, 256))
    scores = np.sort(queries @ candidates.T, axis=1)[:, ::-1]
    assert scores[:, mine.NEIGHBOURS - 1].min() > 0.4 > scores[:, mine.NEIGHBOURS].max()


def test_yardstick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yardstick, "slices", lambda pairs: [])
    table = yardstick.run(pairs=40)
    shares = {row.cells[0].split(": ")[1]: float(row.cells[2].rstrip("%")) for row in table.rows}
    # Two of four wordings are hidden: the nearest are those.
    assert shares["the nearest"] > shares["p 0.70"]
    assert shares["the nearest"] == pytest.approx(100 * 2 / 7, abs=6)


def test_decontaminate() -> None:
    table = decontaminate.run(pairs=300, records=200)
    assert [row.cells[0] for row in table.rows] == [
        "index",
        "protect",
        "a corpus of 1 record",
        "a corpus of 200 records",
    ]
    assert all(float(row.cells[1]) > 0 for row in table.rows)


def test_noop() -> None:
    table = noop.run(repeats=1, only="demo-similar")
    assert table.rows[3].cells[1] == "0" and table.rows[3].holds
    assert 0.1 < float(table.rows[1].cells[1]) < float(table.rows[0].cells[1])


def test_written_bytes_are_those_of_new_and_touched_files(tmp_path: Path) -> None:
    (tmp_path / "same").write_bytes(b"123")
    (tmp_path / "replaced").write_bytes(b"1234")
    before = noop._files(tmp_path)
    assert noop.written_bytes(before, noop._files(tmp_path)) == 0
    (tmp_path / "replaced").unlink()
    (tmp_path / "replaced").write_bytes(b"4321")
    (tmp_path / "new").write_bytes(b"12345")
    assert noop.written_bytes(before, noop._files(tmp_path)) == 9


def test_duplicates() -> None:
    table = duplicates.run(pairs=300)
    assert table.rows[-1].holds and table.rows[-1].cells[2:] == ("1.0000", "1.0000")
    assert int(table.rows[-1].cells[1]) > 30


def test_a_missed_and_a_wrong_duplicate_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_found", lambda rows, config: {(0, 1): np.float32(1)})
    table = duplicates.run(pairs=100)
    assert table.below == ["0.8"]
    assert table.rows[-1].cells[2:] == ("0.0000", "0.0000")


def test_bars_that_do_not_hold_are_told_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(match_key, "match_key", lambda texts: keys_of(texts) + "x")
    main(["match_key", "--pairs", "40"])
    assert capsys.readouterr().out.splitlines()[-1] == "0 of 1 bars hold; below: match_key: equal keys"


@pytest.mark.parametrize("wrong", [["mining"], ["--pairs", "5"], ["noop", "--pairs", "5"], ["dedupe", "--pairs", "0"]])
def test_wrong_arguments_end_with_two(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(wrong)
    assert stop.value.code == 2
    assert "error" in capsys.readouterr().err


def test_every_claim_is_documented() -> None:
    told = (measure.ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    assert not [name for name in CLAIMS if f"`{name}`" not in told]


def test_peak_memory_is_that_of_this_process() -> None:
    before = measure.peak_bytes()
    held = np.ones(30 << 20, np.uint8)
    assert measure.peak_bytes() >= before and measure.peak_bytes() > held.nbytes


def test_a_child_is_limited_only_where_it_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLARS_MAX_THREADS", "7")
    assert measure.child_environment()["POLARS_MAX_THREADS"] == "1"
    assert "POLARS_MAX_THREADS" not in measure.child_environment(one_thread=False)
