"""Personal data: what is found, what is not, and a build that masks it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.build import build, count
from pipeline.context import context_of
from pipeline.manifest.catalog import read_catalog
from pipeline.personal import MASKS, find_personal, mask_personal, personal_hits
from pipeline.receipt import write_build
from pipeline.runner import Threads
from tests.small import corpus, write_manifests, write_rows
from tests.test_audit import BENCHMARK
from tests.test_build import pairs


def luhn(digits: str) -> str:
    """The digits with their check digit, counted from the left by hand."""
    total = 0
    for place, digit in enumerate(digits):
        value = int(digit) * (2 if (len(digits) - place) % 2 else 1)
        total += value // 10 + value % 10
    return digits + str(-total % 10)


def id_card(first: str) -> str:
    """17 digits with the check character of ISO 7064 MOD 11-2: the remainder of the powers of two."""
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(first)) % 11
    return first + "10X98765432"[total]


FOUND = [
    ("phone", "13812345678"),
    ("phone", "+86 138-1234-5678"),
    ("phone", "008613812345678"),
    ("phone", "１３８１２３４５６７８"),
    ("phone", "010-62345678"),
    ("phone", "(0871)6708559"),
    ("email", "wang.li+a@mail.m3e.com.cn"),
    ("email", "13812345678@163.com"),
    ("id_card", id_card("11010519491231002")),
    ("id_card", id_card("44030719850228123")),
    ("bank_card", luhn("622202123456789")),
    ("bank_card", luhn("621226400001234567")),
    ("bank_card", luhn("453201511283036")),
]
NOT_FOUND = [
    "12812345678",  # no such prefix
    "138123456789",  # twelve digits
    "订单号20138123456781",
    "价格13812345678.50元",
    "id=13812345678",
    "15000000000",  # a sum
    "110105194913310028",  # no such month
    "11010519491231002" + "0",  # wrong check digit
    luhn("622202123456789")[:-1] + "0" if luhn("622202123456789")[-1] != "0" else "6222021234567891",
    "9" * 16,
    "someone@example.com",
    "@weibo",
    "2019-12-31 10:20:30",
    "圆周率3.14159265358979323846",
    "192.168.100.200",
]


@pytest.mark.parametrize(("kind", "value"), FOUND)
def test_valid_values_are_found_where_they_stand(kind: str, value: str) -> None:
    text = f"请联系{value}，谢谢"
    assert [(hit.kind, text[hit.start : hit.end]) for hit in personal_hits(text)] == [(kind, value)]
    assert mask_personal(pl.Series([text])).item() == text.replace(value, MASKS[kind])


@pytest.mark.parametrize("text", NOT_FOUND)
def test_other_numbers_are_left_alone(text: str) -> None:
    assert personal_hits(f"看{text}吧") == []


def test_mixed_rows_and_nulls() -> None:
    texts = pl.Series(["无", None, "a@m3e.cn 和 13812345678", ""])
    assert find_personal(texts).rows() == [(2, "email", 0, 8), (2, "phone", 11, 11)]
    assert mask_personal(texts).to_list() == ["无", None, "[EMAIL] 和 [PHONE]", ""]


@settings(deadline=None)
@given(st.lists(st.text(alphabet="0123456789 -+@.()aX中１", max_size=40), max_size=8))
def test_masking_leaves_nothing_and_all_rows_are_searched(texts: list[str]) -> None:
    series = pl.Series(texts, dtype=pl.String)
    found = find_personal(series)
    assert found["row"].to_list() == [row for row, text in enumerate(texts) for _ in personal_hits(text)]
    masked = mask_personal(series)
    assert find_personal(masked).is_empty()
    assert masked.equals(mask_personal(masked))


def test_a_build_counts_and_masks(tmp_path: Path) -> None:
    """Ids stay, two texts that differ by a number become one, and a benchmark's text with a number is still met."""
    asked = "哪里可以买到这本书请打13812345678问一问"
    exam = {**BENCHMARK, "name": "exam"}
    rows: list[dict[str, Any]] = [
        {"q": f"{pairs()[0]['q']}，电话13812345678", "a": pairs()[0]["a"]},
        {"q": f"{pairs()[0]['q']}，电话13912345679", "a": pairs()[0]["a"]},
        {"q": asked, "a": pairs()[1]["a"]},
        *pairs(2, 5),
    ]
    kept, ids, receipts = {}, {}, {}
    for mask in (False, True):
        recipe = {"name": "small", "decontaminate": {"benchmarks": ["exam"]}, "pii": {"mask": mask}}
        folder = write_manifests(tmp_path / "manifests", [corpus("one")], recipe, [exam])
        write_rows(folder, "one", rows)
        (folder / "files/exam.jsonl").write_text(json.dumps({"q": asked, "p": "在书店里面可以买到这一本"}))
        catalog = read_catalog([folder], shipped=False)
        context = context_of(catalog, catalog.recipe("small"), tmp_path / "store")
        runner = Threads(1)
        try:
            outcome = build(context, runner)
        finally:
            runner.close()
        count(outcome)
        path, _ = write_build(outcome, tmp_path / f"out-{mask}", (), [])
        receipts[mask] = json.loads((path / "build.json").read_bytes())
        kept[mask] = pl.read_parquet(path / "data/one/*.parquet")["text"].to_list()
        ids[mask] = pl.read_parquet(path / "evidence/one.parquet")["record_id"].to_list()
        ledger = pl.read_parquet(path / "ledger/one.parquet")["reason"].to_list()
        assert sorted(ledger) == sorted(["benchmark_query", *(["exact_duplicate"] if mask else [])])
    assert ids[True] == ids[False]
    assert receipts[False]["personal"] == {"one": {"phone": {"records": 2, "labelled": 0, "values": 2}}}
    assert receipts[True]["personal"] == {"one": {}}
    assert (receipts[False]["masked"], receipts[True]["masked"]) == ({"one": {}}, {"one": {"phone": 3}})
    cards = {mask: (tmp_path / f"out-{mask}/small/README.md").read_text("utf-8") for mask in (False, True)}
    assert "| one | phone | 2 | 0 | 2 |" in cards[False]
    assert "before anything else was compared: 3 phone." in cards[True]
    assert "What was kept holds none." in cards[True]
    assert f"{pairs()[0]['q']}，电话[PHONE]" in kept[True]
    assert not any("138" in text for text in kept[True])
