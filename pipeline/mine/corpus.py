"""One corpus against its candidates: pairs and candidates in, lists of negatives out; block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.manifest.settings import RuleConfig
from pipeline.mine.bans import Bans
from pipeline.mine.both import lowest
from pipeline.mine.csr import Csr, Ints
from pipeline.mine.findings import Nearest
from pipeline.mine.given import within
from pipeline.mine.rule import Found, Scores, limits
from pipeline.mine.search import ROWS, Veto, Wanted, spans
from pipeline.mine.side import Side
from pipeline.mine.texts import Hashes, Ids, Records
from pipeline.mine.yardstick import Hidden

#: (text, candidate) pairs of bans held at a time.
BANS = 1 << 24
#: Records of such texts, each with a limit of its own.
LIMITS = 1 << 13
#: Random pairs drawn for their quantiles.
RANDOM = 20_000


@dataclass(frozen=True)
class Queries:
    """The distinct texts of a corpus' records, in pool order, and what belongs to each.

    of_record: the row of each record's text. records: the records of each row. groups, candidate_groups: dense numbers.
    by_group: the candidates of each group. twins: candidates that are another spelling of a given negative.
    """

    ids: Ids
    of_record: Ints
    records: Csr
    groups: Ints
    bans: Bans
    by_group: Csr
    twins: Csr

    @classmethod
    def of(
        cls, records: Records, groups: Hashes, bans: Bans, candidate_groups: Ints, twins: tuple[Ints, Ints]
    ) -> Queries:
        ids, of_record = np.unique(records.text, return_inverse=True)
        order = np.argsort(of_record, kind="stable")
        by_group = Csr.of(candidate_groups, np.arange(len(candidate_groups)), len(bans))
        row, place = twins
        return cls(
            ids,
            of_record,
            Csr.sorted(of_record[order], order, len(ids)),
            bans.number(groups[ids]),
            bans,
            by_group,
            Csr.of(of_record[row], place, len(ids)),
        )

    def blocks(self) -> Iterator[tuple[Ints, tuple[Ints, Ints]]]:
        """(rows, their banned groups as (position in rows, group)) of blocks whose bans fit into memory."""
        cost = self.bans.cost(self.groups, self.by_group.sizes) + self.records.sizes * (BANS // LIMITS)
        for lo, hi in spans(cost, ROWS, BANS):
            rows = np.arange(lo, hi)
            yield rows, self.banned(rows)

    def banned(self, rows: Ints) -> tuple[Ints, Ints]:
        known, families = self.bans.known(self.groups[rows]), self.bans.families(self.groups[rows])
        return np.concatenate([known[0], families[0]]), np.concatenate([known[1], families[1]])

    def spread(self, rows: Ints, banned: tuple[Ints, Ints]) -> Csr:
        """The banned candidates of each of `rows`."""
        owner, groups = banned
        again, places = self.by_group.rows(groups)
        twin, twins = self.twins.rows(rows)
        return Csr.of(np.concatenate([owner[again], twin]), np.concatenate([places, twins]), len(rows))

    def hidden(self, pos_groups: Hashes, most: int, seed: int) -> Hidden:
        """Up to `most` texts with matches to hide, drawn by `seed`: the positive of the first record is shown."""
        rows, bans, matches = [np.zeros(0, np.int64)], [], []
        left = most
        order = np.random.default_rng(seed).permutation(len(self.ids))
        cost = self.bans.cost(self.groups[order], self.by_group.sizes)
        for lo, hi in spans(cost, ROWS, BANS) if most else ():
            some = order[lo:hi]
            shown = self.bans.number(pos_groups[self.records.items[self.records.offsets[some]]])
            owner, groups = self.bans.known(self.groups[some])
            hide = (groups != self.groups[some][owner]) & (groups != shown[owner])
            families = self.bans.families(self.groups[some])
            hide &= ~within(families, owner, groups)
            again, places = self.by_group.rows(groups[hide])
            known = Csr.of(owner[hide][again], places, len(some))
            taken = np.flatnonzero(known.sizes)[:left]
            left -= len(taken)
            rows.append(some[taken])
            matches.append(known.some(taken))
            at = np.arange(len(some))
            own = np.concatenate([at, at, families[0]]), np.concatenate([self.groups[some], shown, families[1]])
            bans.append(self.spread(some, own).some(taken))
            if not left:
                break
        at = np.concatenate(rows)
        return Hidden(at, self.records.items[self.records.offsets[at]], _stacked(bans), _stacked(matches))


def wanted(queries: Queries, score_pos: Scores, rule: RuleConfig, mu: float, keep: int) -> Wanted:
    """Candidates for every rank the rule may ask for, and each distinct limit of a text's records."""
    if rule.first > keep:
        keep = rule.first - 1 + rule.negatives
    limit = limits(score_pos, rule, mu)
    order = np.lexsort((limit, queries.of_record))
    row, limit = queries.of_record[order], limit[order]
    new = np.ones(len(row), np.bool_)
    new[1:] = (row[1:] != row[:-1]) | (limit[1:] != limit[:-1])
    offsets = Csr.sorted(row[new], row[new], len(queries.ids)).offsets
    return Wanted(keep, rule.negatives, offsets, limit[new])


def veto(queries: Side, candidates: Side, of_record: Ints, score_pos: Scores, rule: RuleConfig) -> Veto:
    """The other encoder's limit for each text: the lowest of its records', by its own mean and the same p."""
    mu = float(queries.mean() @ candidates.mean())
    records = limits(score_pos, rule.model_copy(update={"margin": None}), mu)
    return Veto(queries, candidates, lowest(of_record, records, len(queries)))


def paired(vectors: Side, left: Ids, right: Ids) -> Scores:
    """float32 cosines of rows `left[i]` and `right[i]`."""
    out = np.empty(len(left), np.float32)
    for lo in range(0, len(left), 1 << 14):
        some = slice(lo, lo + (1 << 14))
        out[some] = vectors.cosines(vectors.take(left[some].astype(np.int64)), right[some].astype(np.int64)[:, None])[
            :, 0
        ]
    return out


def found(queries: Queries, candidates: Ids, near: Nearest) -> Found:
    return Found(queries.ids[near.rows], near.offsets, candidates[near.at], near.scores, near.ranks)


def random_scores(queries: Side, candidates: Side, seed: int) -> npt.NDArray[np.float32]:
    """Cosines of texts and candidates drawn at random."""
    draw = np.random.default_rng(seed)
    n = RANDOM if len(queries) and len(candidates) else 0
    left, right = draw.integers(0, max(len(queries), 1), n), draw.integers(0, max(len(candidates), 1), n)
    return candidates.cosines(queries.take(left), right[:, None])[:, 0] if n else np.zeros(0, np.float32)


def _stacked(lists: list[Csr]) -> Csr:
    sizes = np.concatenate([np.zeros(0, np.int64), *(each.sizes for each in lists)])
    items = np.concatenate([np.zeros(0, np.int64), *(each.items for each in lists)])
    return Csr(np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]), items)
