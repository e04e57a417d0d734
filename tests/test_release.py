"""What of a build may be published: classes by licence, and the refusal of what may not be passed on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.errors import LicenceError
from pipeline.licence import Terms
from pipeline.release import release_of, release_of_build, told_terms
from tests.small import CLOSED, OPEN

SILENT = {**OPEN, "redistribute": "unknown"}
BARRED = {**CLOSED, "redistribute": "forbidden"}


def receipt(**parts: dict[str, tuple[dict[str, Any], int, int]]) -> dict[str, Any]:
    """Corpus -> sub_source -> (terms, records, labelled rows), told as a receipt tells it."""
    return {
        "terms": {
            name: {sub: told_terms(Terms.model_validate(t), n, m) for sub, (t, n, m) in of.items()}
            for name, of in parts.items()
        }
    }


def test_rows_are_grouped_by_licence_and_use_class_and_the_rest_is_held_back() -> None:
    sa = {**OPEN, "spdx": "CC-BY-SA-4.0", "share_alike": True, "attribution": "A"}
    told = receipt(
        one={"": (sa, 10, 0)},
        two={"": (sa | {"attribution": "B"}, 5, 7), "x": (SILENT, 100, 0)},
        three={"": (CLOSED, 3, 0)},
        four={"": (sa | {"commercial": "unknown"}, 4, 0)},
        five={"": (BARRED, 9, 9)},
        six={"": (OPEN, 0, 2)},
    )
    release = release_of(told)
    assert [(c.slug, c.records, c.corpora, c.share_alike) for c in release.classes] == [
        ("cc-by-sa-4.0", 15, ["one", "two"], True),
        ("cc-by-sa-4.0-commercial-unknown", 4, ["four"], True),
        ("cc-by-nc-4.0-commercial-forbidden", 3, ["three"], False),
        ("cc0-1.0", 0, ["six"], False),
    ]
    first = release.classes[0]
    assert (first.parts, first.labelled) == ({("one", ""): 10, ("two", ""): 5}, {("two", ""): 7})
    assert first.attributions == {"A", "B"}
    assert release.held_back == {("five", ""): {"forbidden": 18}, ("two", "x"): {"unknown": 100}}


def test_every_row_of_a_receipt_is_in_one_class_or_held_back() -> None:
    told = receipt(one={"": (OPEN, 1, 0), "x": (BARRED, 2, 0)}, two={"": (CLOSED, 4, 1), "y": (SILENT, 8, 0)})
    release = release_of(told)
    placed = [part for one in release.classes for part in one.parts] + list(release.held_back)
    assert sorted(placed) == [("one", ""), ("one", "x"), ("two", ""), ("two", "y")]


def written(folder: Path, corpus: str, rows: list[dict[str, Any]]) -> None:
    """Rows of a scored build, as far as a release reads them."""
    home = folder / "data" / corpus
    home.mkdir(parents=True)
    negatives = pl.List(pl.Struct({"licence_id": pl.String}))
    pl.DataFrame(
        [{"corpus": corpus, "sub_source": "", **row, "neg": [{"licence_id": n} for n in row["neg"]]} for row in rows],
        schema_overrides={"neg": negatives},
    ).write_parquet(home / "train-00000-of-00001.parquet")


def test_rows_with_mined_negatives_are_judged_one_by_one(tmp_path: Path) -> None:
    free = {"licence_id": "CC0-1.0", "commercial": "allowed", "redistribute": "allowed"}
    sa = {**OPEN, "spdx": "CC-BY-SA-4.0", "share_alike": True, "attribution": "A"}
    written(
        tmp_path,
        "one",
        [
            {**free, "neg": []},
            {**free, "neg": ["CC0-1.0", "CC0-1.0"]},
            {**free, "neg": ["CC-BY-SA-4.0"]},
            {**free, "commercial": "forbidden", "neg": ["CC-BY-SA-4.0", "CC0-1.0"]},
            {**free, "redistribute": "unknown", "neg": ["X"]},
        ],
    )
    told = {**receipt(one={"": (OPEN, 5, 2)}, two={"": (sa, 0, 0)}), "encoders": {}}
    (tmp_path / "build.json").write_text(json.dumps(told))
    release = release_of_build(tmp_path)
    assert [(c.slug, c.records, c.share_alike, sorted(c.attributions)) for c in release.classes] == [
        ("cc0-1.0", 2, False, []),
        ("mixed", 1, True, ["A"]),
        ("mixed-commercial-forbidden", 1, True, ["A"]),
    ]
    assert release.classes[1].licences == {"CC0-1.0", "CC-BY-SA-4.0"}
    assert release.held_back == {("one", ""): {"unknown": 1}}
    with pytest.raises(LicenceError, match="mined negatives"):
        release_of(told)
