"""Small made-up corpora as real files with real manifests, for tests that build."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LICENCES = """\
licences:
  CC0-1.0: {name: CC0, commercial: allowed, redistribute: allowed, attribution: false, share_alike: false}
  CC-BY-NC-4.0: {name: CC BY-NC 4.0, commercial: forbidden, redistribute: allowed, attribution: true, share_alike: false}
"""

OPEN = {"spdx": "CC0-1.0", "commercial": "allowed", "redistribute": "allowed", "confidence": "high", "basis": "own"}
CLOSED = {**OPEN, "spdx": "CC-BY-NC-4.0", "commercial": "forbidden"}


def corpus(name: str, **changes: Any) -> dict[str, Any]:
    """A manifest as plain data: one jsonl file `<name>.jsonl` with columns q and a."""
    told: dict[str, Any] = {
        "name": name,
        "title": name,
        "domain": "百科",
        "task": "问答",
        "prompt": "问答",
        "grade": "优",
        "source": {"kind": "local", "root": "../files"},
        "parts": [
            {
                "files": {"train": f"{name}.jsonl"},
                "layout": "jsonl",
                "columns": {"q": "string", "a": "string"},
                "select": {"text": "q", "text_pos": "a"},
            }
        ],
        "licence": OPEN,
    }
    return told | changes


def write_manifests(
    folder: Path,
    corpora: list[dict[str, Any]],
    recipe: dict[str, Any] | None = None,
    benchmarks: list[dict[str, Any]] = [],
) -> Path:
    """Write manifests (JSON is YAML) below `folder` and give the folder back."""
    for kind, manifests in (("corpora", corpora), ("benchmarks", benchmarks), ("recipes", [recipe] if recipe else [])):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for told in manifests:
            (folder / kind / f"{told['name']}.yaml").write_text(json.dumps(told, ensure_ascii=False, indent=1), "utf-8")
    (folder / "files").mkdir(exist_ok=True)
    (folder / "licences.yaml").write_text(LICENCES, "utf-8")
    return folder


def write_rows(folder: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    path = folder / "files" / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path
