"""Whether a build's rows may be used as it says, judged by provenance alone: raw YAML and parquet in, violations out.

Shares no code with the pipeline, so that it can judge it. Every row is followed to the manifest entry of its corpus and
sub-source, and to the text that was converted from that very place; every negative to one shipped by the same entry.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from ruamel.yaml import YAML

Row = dict[str, Any]
HELD = ("data", "labelled")
#: What else a build folder holds: ids, keys and reasons, but no text of records. Quarantined rows are no records.
BESIDE = ("ledger", "evidence", "quarantine")


def violations(build: Path, manifests: Sequence[Path], *, allowed_only: bool) -> list[str]:
    """Every breach in a build folder, as `where: what`. With `allowed_only` each text must be `commercial: allowed`.

    `manifests`: folders with `corpora/*.yaml`; a later one overrides an earlier one.
    """
    told = json.loads((build / "build.json").read_text("utf-8"))
    accepts = bool(told["recipe"].get("accept_generator_terms"))
    entries = {entry["name"]: entry for folder in manifests for entry in _entries(folder)}
    texts = json.loads((build / "run.json").read_text("utf-8"))["text"]
    found = list(_strays(build, set(told["files"])))
    for corpus, shards in texts.items():
        source = _Source([Path(shard) for shard in shards])
        for kind, path in _files(build, corpus):
            for number, row in enumerate(pq.read_table(path).to_pylist()):
                where = f"{path.relative_to(build)}#{number}"
                if row["corpus"] != corpus:
                    found.append(f"{where}: a row of {row['corpus']} under the name of {corpus}")
                    continue
                block = _block(entries.get(corpus), row["sub_source"])
                if block is None:
                    found.append(f"{where}: no manifest entry for {corpus}/{row['sub_source']}")
                    continue
                found += [f"{where}: {fault}" for fault in _row_faults(row, block, accepts, allowed_only)]
                found += [f"{where}: {fault}" for fault in source.faults(kind, row)]
    return found


def _entries(folder: Path) -> Iterator[Row]:
    for path in sorted((folder / "corpora").glob("*.yaml")):
        yield YAML(typ="safe").load(path.read_text("utf-8"))


def _strays(build: Path, listed: set[str]) -> Iterator[str]:
    names = {p.relative_to(build).as_posix() for p in build.rglob("*.parquet")}
    for name in sorted(names - listed):
        yield f"{name}: not in build.json"
    for name in sorted(names):
        if name.split("/")[0] not in HELD + BESIDE:
            yield f"{name}: what is this?"
        elif name.startswith(("ledger/", "evidence/")) and "text" in pq.read_schema(build / name).names:
            yield f"{name}: holds texts"


def _files(build: Path, corpus: str) -> Iterator[tuple[str, Path]]:
    for path in sorted((build / "data" / corpus).glob("*.parquet")):
        yield "text", path
    if (path := build / "labelled" / f"{corpus}.parquet").exists():
        yield "labelled", path


def _block(entry: Row | None, sub_source: str) -> Row | None:
    if entry is None or sub_source not in {part.get("sub_source", "") for part in entry["parts"]}:
        return None
    licence = entry["licence"]
    block: Row = licence.get("sub_sources", {}).get(sub_source, licence)
    return block


def _row_faults(row: Row, block: Row, accepts: bool, allowed_only: bool) -> Iterator[str]:
    generator = block.get("generator")
    limited = generator is not None and generator["terms"] != "open" and not accepts
    use = "unknown" if limited and block["commercial"] == "allowed" else block["commercial"]
    if (row["licence_id"], row["commercial"], row["redistribute"]) != (block["spdx"], use, block["redistribute"]):
        yield "its licence columns are not those of its manifest entry"
    if not allowed_only:
        return
    if use != "allowed":
        yield f"commercial use is {use}"
    own = block.get("basis") == "own"
    if not own and block["confidence"] not in ("medium", "high"):
        yield f"confidence is {block['confidence']}"
    proofs = [one for one in block.get("evidence") or [] if one.get("quote") and one.get("read")]
    if not own and not any(one.get("commit") or one.get("url") or one.get("document") for one in proofs):
        yield "no dated, quoted evidence"


class _Source:
    """What was converted from one corpus: each record and labelled row, and the negatives each sub-source shipped."""

    def __init__(self, shards: Sequence[Path]) -> None:
        self.rows: dict[str, dict[str, tuple[str, ...]]] = {"text": {}, "labelled": {}}
        self.negatives: dict[str, set[str]] = {}
        labelled = sorted(shards[0].parent.glob("labelled-*.parquet")) if shards else []
        for kind, paths in (("text", shards), ("labelled", labelled)):
            for path in paths:
                for row in pq.read_table(path).to_pylist():
                    self.rows[kind][row["record_id"]] = _identity(kind, row)
                    self.negatives.setdefault(row["sub_source"], set()).update(row.get("text_neg") or [])
        self.seen: set[tuple[str, str]] = set()

    def faults(self, kind: str, row: Row) -> Iterator[str]:
        record_id = row["record_id"]
        if self.rows[kind].get(record_id) != _identity(kind, row):
            yield f"{record_id} is not what was read from {row['sub_source'] or 'its corpus'} at {row['row']}"
        if (kind, record_id) in self.seen:
            yield f"{record_id} stands twice"
        self.seen.add((kind, record_id))
        for negative in row.get("text_neg") or []:
            if negative not in self.negatives.get(row["sub_source"], set()):
                yield f"a negative that {row['sub_source'] or 'its corpus'} never shipped"


def _identity(kind: str, row: Row) -> tuple[str, ...]:
    names = ("sub_source", "split", "row", "text", "text_pos" if kind == "text" else "other")
    return tuple(row[name] for name in names)
