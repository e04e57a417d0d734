"""The use classes of scored records over whole columns: what `rules.scored_uses` says of one, for all at once."""

from __future__ import annotations

import polars as pl

from pipeline.licence.rules import Policy, under
from pipeline.licence.terms import Terms, UseClass, strictest

_NAMES = [use.value for use in UseClass]


def scored_use(record: pl.Expr, negatives: pl.Expr, miner: UseClass) -> pl.Expr:
    """One use class per record: the strictest of its own, those of its negatives, and the miner's.

    `record`: string column of use classes. `negatives`: list of string, one class per negative; a null class is a
    negative of which nothing is known, `unknown`; a null or empty list has no say. `miner`: from `miner_use`. Gives a
    string column. Any other word than a use class raises polars' InvalidOperationError.

    >>> frame = pl.DataFrame({"own": ["allowed", "allowed"], "negs": [["allowed"], ["allowed", None]]})
    >>> frame.select(use=scored_use(pl.col("own"), pl.col("negs"), UseClass.ALLOWED))["use"].to_list()
    ['allowed', 'unknown']
    """
    worst = negatives.list.eval(_rank(pl.element())).list.max().fill_null(0)
    ranks = pl.max_horizontal(_rank(record), worst, pl.lit(miner.rank, pl.UInt8))
    return ranks.replace_strict(list(range(3)), _NAMES, return_dtype=pl.String)


def miner_use(miner: Terms, policy: Policy, axis: str) -> UseClass:
    """What the miner's terms say on one axis (`commercial`, `redistribute`) under a policy that may accept them.

    >>> m3e = Terms(spdx="NOASSERTION", commercial="forbidden", redistribute="unknown", confidence="high")
    >>> miner_use(m3e, Policy(), "commercial").value, miner_use(m3e, Policy(accept_miner_terms=True), "commercial").value
    ('forbidden', 'allowed')
    """
    return strictest([] if policy.accept_miner_terms else [getattr(under(miner, policy), axis)])


def _rank(classes: pl.Expr) -> pl.Expr:
    return classes.fill_null(UseClass.UNKNOWN.value).replace_strict(_NAMES, list(range(3)), return_dtype=pl.UInt8)
