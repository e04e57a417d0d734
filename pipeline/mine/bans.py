"""What may never be a negative of a text, in lists small enough to be made for one block of texts at a time.

Everything is said of near-duplicate groups of texts, so what holds for a text holds for its near copies. Banned for a text:

    its component   all groups reachable over matches (records and labelled matches of symmetric corpora); always itself
    its partners    the positives of the text, the texts whose positive it is, labelled matches, in any corpus
    its clusters    both sides of the near-duplicates of its pairs
    its families    the passages of the documents its records come from

Removed records count like kept ones: that a pair was a duplicate does not make its positive a negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.mine.csr import Csr, Ints, positions
from pipeline.mine.texts import Hashes, Known, Records, keys_of, read_evidence

#: A document family of more texts than this, or of more than half of a corpus' texts, says nothing of their likeness.
FAMILY = 1000
_LOW = np.uint64(0xFFFFFFFF)


class Groups:
    """The group of each of some match keys, as the evidence of any corpus has it; a key's own where none has.

    >>> Groups(np.array([7, 3], np.uint64)).of(np.array([3, 7, 3], np.uint64)).tolist()
    [3, 7, 3]
    """

    def __init__(self, wanted: Hashes) -> None:
        self._keys = np.unique(wanted)
        self._groups = self._keys.copy()

    def learn(self, keys: Hashes, groups: Hashes) -> None:
        at, there = positions(self._keys, keys)
        self._groups[at[there]] = groups[there]

    def of(self, keys: Hashes) -> Hashes:
        return self._groups[positions(self._keys, keys)[0]]


@dataclass(frozen=True)
class Judged:
    """Labelled matches of a corpus, as groups."""

    symmetric: bool
    text: Hashes
    other: Hashes


def matches(known: Known) -> tuple[Hashes, Hashes]:
    """Match keys of both texts of a corpus' labelled matches."""
    frame = pl.concat(
        [pl.DataFrame(schema={"text": pl.String, "other": pl.String})]
        + [
            pl.read_parquet(path, columns=["text", "other", "label"]).filter("label").select("text", "other")
            for path in known.labelled
        ]
    )
    return keys_of(frame["text"], known.code_sides, "text"), keys_of(frame["other"], known.code_sides, "text_pos")


class Bans:
    """Relations between dense numbers of groups; `number` gives them.

    queries: the groups of the texts to be searched for. targets: the groups of all that may be found or is given.
    records: those of the searched corpora, with whether they are symmetric; only their documents are families.
    """

    def __init__(
        self,
        known: Sequence[Known],
        judged: Sequence[Judged],
        records: Sequence[tuple[bool, Records]],
        queries: Hashes,
        targets: Hashes,
    ) -> None:
        parts = [np.unique(queries), np.unique(targets)]
        parts += [np.unique(np.concatenate([j.text, j.other])) for j in judged]
        for each in known:
            evidence = read_evidence(each.evidence)
            parts.append(
                np.unique(np.concatenate([evidence["text_group"].to_numpy(), evidence["pos_group"].to_numpy()]))
            )
        self._names = np.unique(np.concatenate(parts))
        n = len(self._names)
        self._asked, self._found = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        self._asked[self.number(queries)] = True
        self._found[self.number(targets)] = True

        edges: list[tuple[Ints, Ints]] = []
        pairs: list[tuple[Ints, Ints]] = []
        clusters: list[tuple[Hashes, Ints, Ints]] = []
        for each in known:
            evidence = read_evidence(each.evidence)
            a, b = (self.number(evidence[side].to_numpy()) for side in ("text_group", "pos_group"))
            self._join(a, b, each.symmetric, edges, pairs)
            touched = self._asked[a] | self._asked[b] | self._found[a] | self._found[b]
            clusters.append((evidence["cluster"].to_numpy()[touched], a[touched], b[touched]))
        for judgement in judged:
            self._join(self.number(judgement.text), self.number(judgement.other), judgement.symmetric, edges, pairs)
        self._component = _components(edges, n)
        found = np.flatnonzero(self._found)
        self._members = Csr.of(self._component[found], found, int(self._component.max(initial=-1)) + 1)
        self._partners = Csr.of(*_flat(pairs), n)
        self._of_cluster, self._in_cluster = self._clusters(clusters)
        self.ignored = 0
        self._of_family, self._in_family = self._families(records)

    def __len__(self) -> int:
        return len(self._names)

    def number(self, groups: Hashes) -> Ints:
        """Dense numbers of groups that were named at the start."""
        return positions(self._names, groups)[0]

    def known(self, at: Ints) -> tuple[Ints, Ints]:
        """(position in `at`, target group) of all that the texts of these groups belong with: families left out."""
        owner, members = self._members.rows(self._component[at])
        one, partners = self._partners.rows(at)
        two, twins = _over(self._of_cluster, self._in_cluster, at)
        return np.concatenate([owner, one, two]), np.concatenate([members, partners, twins])

    def families(self, at: Ints) -> tuple[Ints, Ints]:
        """(position in `at`, target group) of the passages of their documents."""
        return _over(self._of_family, self._in_family, at)

    def cost(self, at: Ints, weights: Ints) -> Ints:
        """How many (text, candidate) pairs `known` and `families` lead to, counted as often as they are met; `weights`
        are the candidates of each group."""
        cost = self._members.sums(weights)[self._component[at]] + self._partners.sums(weights)[at]
        for of, within in ((self._of_cluster, self._in_cluster), (self._of_family, self._in_family)):
            cost = cost + of.sums(within.sums(weights))[at]
        return cost

    def _join(
        self, a: Ints, b: Ints, symmetric: bool, edges: list[tuple[Ints, Ints]], pairs: list[tuple[Ints, Ints]]
    ) -> None:
        if symmetric:
            edges.append((a, b))  # the component holds its pairs
            return
        for one, two in ((a, b), (b, a)):
            of_use = self._asked[one] & self._found[two]
            pairs.append((one[of_use], two[of_use]))

    def _clusters(self, parts: list[tuple[Hashes, Ints, Ints]]) -> tuple[Csr, Csr]:
        cluster = np.concatenate([np.zeros(0, np.uint64), *(part[0] for part in parts)])
        _, number, size = np.unique(cluster, return_inverse=True, return_counts=True)
        several = size[number] > 1  # a pair that is its whole cluster adds nothing to its sides
        number = number[several]
        a, b = (np.concatenate([np.zeros(0, np.int64), *(part[i] for part in parts)])[several] for i in (1, 2))
        return self._two_way(np.concatenate([a, b]), np.concatenate([number, number]), np.concatenate([a, b]))

    def _families(self, records: Sequence[tuple[bool, Records]]) -> tuple[Csr, Csr]:
        asks, inside, documents, within = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [], []
        first = 0
        for symmetric, of in records:
            text, pos = self.number(of.text_group), self.number(of.pos_group)
            names, document, size = np.unique(of.doc_group, return_inverse=True, return_counts=True)
            rows, sides_of = (np.tile(document, 2), np.concatenate([pos, text])) if symmetric else (document, pos)
            held = Csr.of(rows, sides_of, len(names))
            sides = len(np.unique(held.items))
            several = (size > 1) & (held.sizes > 1)
            usable = several & (held.sizes <= min(FAMILY, max(sides // 2, 1)))
            self.ignored += int((several & ~usable).sum())
            mine = usable[document]
            asks.append(text[mine])
            documents.append(first + document[mine])
            rows, groups = held.rows(np.flatnonzero(usable))
            within.append(first + np.flatnonzero(usable)[rows])
            inside.append(groups)
            first += len(names)
        return self._two_way(
            np.concatenate(asks),
            np.concatenate([asks[0], *documents]),
            np.concatenate(inside),
            np.concatenate([inside[0], *within]),
        )

    def _two_way(self, asked: Ints, labels: Ints, found: Ints, found_labels: Ints | None = None) -> tuple[Csr, Csr]:
        """group -> labels for those that are asked, label -> groups for those that can be found."""
        found_labels = labels if found_labels is None else found_labels
        n = int(max(labels.max(initial=-1), found_labels.max(initial=-1))) + 1
        use, can = self._asked[asked], self._found[found]
        return Csr.of(asked[use], labels[use], len(self._names)), Csr.of(found_labels[can], found[can], n)


def _over(of: Csr, within: Csr, at: Ints) -> tuple[Ints, Ints]:
    owner, labels = of.rows(at)
    again, groups = within.rows(labels)
    return owner[again], groups


def _components(edges: list[tuple[Ints, Ints]], n: int) -> Ints:
    a, b = _flat(edges)
    graph = coo_array((np.ones(len(a), np.bool_), (a, b)), shape=(n, n))
    component: Ints = connected_components(graph, directed=False)[1].astype(np.int64)
    return component


def _flat(pairs: list[tuple[Ints, Ints]]) -> tuple[Ints, Ints]:
    nothing = np.zeros(0, np.int64)
    return np.concatenate([nothing, *(a for a, _ in pairs)]), np.concatenate([nothing, *(b for _, b in pairs)])
