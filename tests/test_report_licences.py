"""`m3e licences`: what it tells of every corpus, on a terminal of 120 columns and for programs."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from ruamel.yaml import YAML

from pipeline.errors import UsageError
from pipeline.manifest.catalog import SHIPPED, read_catalog
from pipeline.report.licences import licence_page, licence_rows, licence_table, stale_problems
from tests.command import python
from tests.small import OPEN, corpus, write_manifests

READ = {"url": "https://a.example/terms", "read": "2001-02-03", "quote": "[free] for all"}


def m3e(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(SHIPPED.parent), "COLUMNS": "120", **env}
    return python("from pipeline.cli import main; main()", *words, env=env)


def shown(what: Any, width: int = 120) -> list[str]:
    console = Console(width=width, record=True, file=open(os.devnull, "w"), color_system=None)  # noqa: SIM115
    with console.file:
        console.print(what)
        return console.export_text().splitlines()


def test_every_block_of_every_manifest_is_told_with_its_evidence() -> None:
    done = m3e("licences", "--json")
    assert done.returncode == 0, done.stderr
    rows = {(row["corpus"], row["sub_source"]): row for row in json.loads(done.stdout)}
    blocks = {}
    for path in (SHIPPED / "corpora").glob("*.yaml"):
        told = YAML(typ="safe").load(path.read_text("utf-8"))
        blocks[told["name"], ""] = told["licence"]
        blocks |= {(told["name"], sub): block for sub, block in told["licence"].get("sub_sources", {}).items()}
    assert rows.keys() == blocks.keys()
    for key, block in blocks.items():
        for name in ("spdx", "commercial", "redistribute", "confidence"):
            assert rows[key][name] == block[name]
        for name in ("underlying", "conflict", "generator", "attribution"):
            assert (rows[key][name] or None) == (block.get(name) or None)
        assert [e["quote"] for e in rows[key]["evidence"]] == [e["quote"] for e in block.get("evidence", [])]
        assert [e["read"] for e in rows[key]["evidence"]] == [str(e["read"]) for e in block.get("evidence", [])]


def test_the_table_fits_120_columns_and_cuts_no_name() -> None:
    rows = licence_rows(read_catalog([]))
    told = shown(licence_table(rows))
    assert max(map(len, told)) <= 120
    text = "\n".join(told)
    for row in rows:
        assert (row["sub_source"] or row["corpus"]) in text
        assert row["spdx"].removeprefix("LicenseRef-") in text
    assert "…" not in "".join(line[:60] for line in told)
    assert "ymcui/cmrc2018 c0eb1b6 LICENCE" in text and "2026-11-23" in text
    assert "but: hub tag cc-by-4.0" in text and "by gpt-4: non-compete" in text


def test_named_corpora_are_told_in_full_with_quotes() -> None:
    done = m3e("licences", "alpaca_gpt4")
    assert "The dataset is CC BY NC 4.0 (allowing only non-commercial use)" in done.stdout
    assert "80cda626ea305004be42426671c66efebbf22144" in done.stdout
    assert "cmrc2018" not in done.stdout
    assert "not legal advice" in done.stdout
    wrong = m3e("licences", "nobody")
    assert (wrong.returncode, "nobody" in wrong.stderr, "Traceback" in wrong.stderr) == (2, True, False)


def test_markup_in_a_quote_is_shown_as_it_is(tmp_path: Path) -> None:
    folder = write_manifests(tmp_path, [corpus("one", licence={**OPEN, "evidence": [READ], "note": "[bold]"})])
    text = "\n".join(shown(licence_page(licence_rows(read_catalog([folder], shipped=False), ["one"]))))
    assert "“[free] for all”" in text and "[bold]" in text


def test_text_of_a_generator_is_told_as_a_recipe_would_take_it(tmp_path: Path) -> None:
    made = {**OPEN, "generator": {"model": "m", "provider": "p", "terms": "non-compete"}}
    folder = write_manifests(tmp_path, [corpus("one", licence=made)])
    (row,) = licence_rows(read_catalog([folder], shipped=False))
    assert (row["commercial"], row["by_default"]["commercial"]) == ("allowed", "unknown")


def test_old_evidence_is_warned_of_but_is_no_fault(tmp_path: Path) -> None:
    folder = write_manifests(tmp_path, [corpus("one", licence={**OPEN, "evidence": [READ]})])
    done = m3e("check", "--manifests", str(folder))
    assert done.returncode == 0
    (warning,) = [line for line in done.stderr.splitlines() if line.startswith("warning")]
    assert "one.yaml:" in warning and "licence.evidence.0.read: was read" in warning and "days ago" in warning
    told = m3e("licences", "--manifests", str(folder))
    assert "1 piece(s) of evidence are over a year old" in told.stderr


def test_the_place_of_old_evidence_is_its_line(tmp_path: Path) -> None:
    fresh = {**READ, "read": "2026-11-23"}
    folder = write_manifests(tmp_path, [corpus("one", licence={**OPEN, "evidence": [fresh, READ]})])
    catalog = read_catalog([folder], shipped=False)
    (told,) = stale_problems(catalog, date(2026, 11, 24))
    line = int(told.split("one.yaml:")[1].split(":")[0])
    assert "2001-02-03" in (folder / "corpora/one.yaml").read_text().splitlines()[line - 1]
    with pytest.raises(UsageError, match="no corpus two"):
        licence_rows(catalog, ["two"])
