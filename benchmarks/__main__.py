"""`python -m benchmarks [CLAIM ...] [--pairs N]`: prints a table per claim and, at the end, which bars do not hold."""

from __future__ import annotations

import argparse
import importlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.measure import ONE_THREAD, Table

CLAIMS = (
    "signatures",
    "match_key",
    "dedupe",
    "shapes",
    "candidates",
    "decontaminate",
    "convert",
    "medi",
    "mix",
    "noop",
    "memory",
    "duplicates",
    "survival",
    "encode",
    "mine",
    "yardstick",
    "data_value",
    "evaluate",
)
#: Run only when named: it trains models for about ten minutes.
LONG = ("data_value",)


def main(arguments: Sequence[str] | None = None) -> list[Table]:
    """Runs the named claims, or all that are not LONG. Bars that do not hold are told, not raised: machines differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "claims", nargs="*", metavar="CLAIM", help=f"of: {', '.join(CLAIMS)}; if none, all but {', '.join(LONG)}"
    )
    parser.add_argument("--pairs", type=int, help="another number of pairs for the named claims")
    parser.add_argument("--json", type=Path, help="write the tables to this file as well")
    given = parser.parse_args(arguments)
    if unknown := sorted(set(given.claims) - set(CLAIMS)):
        parser.error(f"no such claim: {', '.join(unknown)}; choose among: {', '.join(CLAIMS)}")
    if given.pairs is not None and (not given.claims or "noop" in given.claims or given.pairs < 1):
        parser.error("--pairs wants a number from 1 on, and claims by name; noop has no size")
    if arguments is None:
        os.environ.update(ONE_THREAD)
    tables = []
    for name in given.claims or [name for name in CLAIMS if name not in LONG]:
        run = importlib.import_module(f"benchmarks.{name}").run
        tables.append(run() if given.pairs is None else run(pairs=given.pairs))
    if given.json:
        given.json.write_text(
            json.dumps([asdict(table) for table in tables], ensure_ascii=False, indent=1) + "\n", "utf-8"
        )
    judged = sum(row.holds is not None for table in tables for row in table.rows)
    below = [f"{table.title.split(':')[0]}: {what}" for table in tables for what in table.below]
    print(f"{judged - len(below)} of {judged} bars hold" + (f"; below: {', '.join(below)}" if below else ""))
    return tables


if __name__ == "__main__":
    main()
