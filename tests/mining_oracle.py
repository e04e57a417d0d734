"""Hard negatives by brute force: plain dicts and sets for what is banned, float64 for every score, one text at a time."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import polars as pl

from benchmarks.finished import Corpus, Made
from pipeline.manifest.settings import RuleConfig
from pipeline.normalize import key_hash, match_key

FAMILY = 1000


class Oracle:
    """`corpora` are all of the build, `pool` names those that are searched together."""

    def __init__(self, made: Made, corpora: list[Corpus], pool: list[str]):
        self.made, self.corpora, self.pool = made, {c.name: c for c in corpora}, pool
        self.group: dict[int, int] = {}
        for frame in made.evidence.values():
            for k, g in frame.select("text_key", "text_group").iter_rows():
                self.group[k] = g
            for k, g in frame.select("pos_key", "pos_group").iter_rows():
                self.group[k] = g
        self.keys: dict[tuple[str, str, str], int] = {}
        for c in corpora:
            texts = {"text": set(), "text_pos": set()}
            for pair in c.pairs:
                texts["text"].add(pair["text"])
                texts["text_pos"] |= {pair["text_pos"], *pair.get("text_neg", [])}
            for text, other, _ in c.labelled:
                texts["text"].add(text)
                texts["text_pos"].add(other)
            for side, some in texts.items():
                some = sorted(some)
                keys = key_hash(match_key(pl.Series(some, dtype=pl.String), code=side in c.code_sides)).to_list()
                self.keys |= {(c.name, side, t): k for t, k in zip(some, keys, strict=True)}
        self._graph()
        self._candidates()

    def g(self, corpus: str, side: str, text: str) -> int:
        k = self.keys[corpus, side, text]
        return self.group.get(k, k)

    def _graph(self) -> None:
        near: dict[int, set[int]] = defaultdict(set)
        self.partners: dict[int, set[int]] = defaultdict(set)
        clusters: dict[int, set[int]] = defaultdict(set)
        self.clusters_of: dict[int, set[int]] = defaultdict(set)
        for name, c in self.corpora.items():
            pairs = [(self.g(name, "text", p["text"]), self.g(name, "text_pos", p["text_pos"])) for p in c.pairs]
            for (a, b), cluster in zip(pairs, self.made.evidence[name]["cluster"].to_list(), strict=True):
                clusters[cluster] |= {a, b}
                self.clusters_of[a].add(cluster)
                self.clusters_of[b].add(cluster)
            pairs += [(self.g(name, "text", t), self.g(name, "text_pos", o)) for t, o, label in c.labelled if label]
            for a, b in pairs:
                for one, two in ((a, b), (b, a)):
                    self.partners[one].add(two)
                    if c.symmetric:
                        near[one].add(two)
        self.in_cluster = clusters
        self.component: dict[int, set[int]] = {}
        for start in near:
            if start in self.component:
                continue
            seen, todo = {start}, [start]
            while todo:
                for other in near[todo.pop()]:
                    if other not in seen:
                        seen.add(other)
                        todo.append(other)
            for member in seen:
                self.component[member] = seen
        self.family_of: dict[tuple[str, int], set[int]] = defaultdict(set)
        for name in self.pool:
            c = self.corpora[name]
            inside: dict[str, set[int]] = defaultdict(set)
            asks: dict[str, set[int]] = defaultdict(set)
            every: set[int] = set()
            size: dict[str, int] = defaultdict(int)
            for i, p in enumerate(c.pairs):
                if p.get("removed"):
                    continue
                doc = p.get("doc", f"own {i}")
                size[doc] += 1
                asks[doc].add(self.g(name, "text", p["text"]))
                inside[doc].add(self.g(name, "text_pos", p["text_pos"]))
                if c.symmetric:
                    inside[doc].add(self.g(name, "text", p["text"]))
                every |= inside[doc]
            for doc, groups in inside.items():
                if size[doc] > 1 and 1 < len(groups) <= min(FAMILY, max(len(every) // 2, 1)):
                    for g in asks[doc]:
                        self.family_of[g] |= groups

    def known(self, g: int) -> set[int]:
        out = {g} | self.component.get(g, set()) | self.partners[g]
        for cluster in self.clusters_of[g]:
            out |= self.in_cluster[cluster]
        return out

    def _candidates(self) -> None:
        """(pool id, group, key, vector) of each candidate, in id order; ids of every (corpus, text, document)."""
        self.id_of: dict[tuple[str, str, bool], int] = {}
        first = 0
        vectors = []
        for name in self.pool:
            rows = self.made.pools[name]
            for i, (text, document) in enumerate(rows.iter_rows()):
                self.id_of[name, text, document] = first + i
            first += rows.height
            vectors.append(self.made.matrices[name])
        self.vectors = np.concatenate(vectors).astype(np.float64)
        chosen: dict[int, tuple[int, int, int]] = {}
        for name in self.pool:
            c = self.corpora[name]
            for p in c.pairs:
                if p.get("removed"):
                    continue
                for side in ("text_pos", "text") if c.symmetric else ("text_pos",):
                    i = self.find(name, p[side], side == "text_pos")
                    k = self.keys[name, side, p[side]]
                    if k not in chosen or i < chosen[k][0]:
                        chosen[k] = (i, self.group.get(k, k), k)
        self.candidates = sorted(chosen.values())
        self.matrix = self.vectors[[i for i, _, _ in self.candidates]] if self.candidates else np.zeros((0, 1))

    def find(self, corpus: str, text: str, document: bool) -> int:
        return self.id_of.get((corpus, text, document), self.id_of.get((corpus, text, False), -1))

    def offers(self, corpus: str) -> list[dict[int, str]]:
        """For each kept record the ids that are given, and by whom, before bans."""
        c = self.corpora[corpus]
        no: dict[int, set[str]] = defaultdict(set)
        for text, other, label in c.labelled:
            if label is False:
                no[self.keys[corpus, "text", text]].add((other, True))
                if c.symmetric:
                    no[self.keys[corpus, "text_pos", other]].add((text, False))
        out = []
        for p in c.pairs:
            if p.get("removed"):
                continue
            mine = {
                self.find(corpus, n, True): ("shipped", self.g(corpus, "text_pos", n), self.keys[corpus, "text_pos", n])
                for n in p.get("text_neg", [])
            }
            for n, document in no[self.keys[corpus, "text", p["text"]]]:
                side = "text_pos" if document else "text"
                mine[self.find(corpus, n, document)] = ("labelled", self.g(corpus, side, n), self.keys[corpus, side, n])
            out.append(mine)
        return out

    def mean(self, corpus: str) -> float:
        """The cosine of a text and a candidate, on average over all of both."""
        texts = {p["text"] for p in self.corpora[corpus].pairs if not p.get("removed")}
        queries = sorted({self.find(corpus, t, False) for t in texts})
        return float(self.vectors[queries].mean(axis=0) @ self.matrix.mean(axis=0))

    def mine(
        self, corpus: str, rule: RuleConfig, keep: int, mu: float
    ) -> tuple[list[dict], dict[int, list[tuple[int, float, int]]]]:
        """(per kept record what PAIR_SCHEMA says and the negatives chosen (top sampling), candidates of each text)."""
        c = self.corpora[corpus]
        pairs = [p for p in c.pairs if not p.get("removed")]
        offers = self.offers(corpus)
        by_text: dict[str, list[int]] = defaultdict(list)
        for i, p in enumerate(pairs):
            by_text[p["text"]].append(i)
        ids = np.array([i for i, _, _ in self.candidates], np.int64)
        groups, keys = (np.array([c[at] for c in self.candidates], np.uint64) for at in (1, 2))
        records: list[dict] = [{} for _ in pairs]
        stored = {}
        for text, rows in by_text.items():
            q = self.find(corpus, text, False)
            g = self.g(corpus, "text", text)
            banned = self.known(g) | self.family_of[g]
            spelled = {(key, i) for r in rows for i, (_, _, key) in offers[r].items()}
            free = ~np.isin(groups, np.array(list(banned), np.uint64))
            for key, i in spelled:
                free &= (keys != np.uint64(key)) | (ids == i)
            scores = (self.matrix @ self.vectors[q]).astype(np.float32)
            order = np.argsort(-scores, kind="stable")
            order = order[free[order]]
            listed = list(zip(ids[order].tolist(), scores[order].tolist(), range(1, len(order) + 1), strict=True))
            told = set(range(1, min(keep, len(order)) + 1))
            for r in rows:
                pos = self.find(corpus, pairs[r]["text_pos"], not c.symmetric)
                score_pos = np.float32(self.vectors[q] @ self.vectors[pos])
                limit = mu + rule.p * (float(score_pos) - mu)
                if rule.margin is not None:
                    limit = min(limit, float(score_pos) - rule.margin)
                given = sorted(
                    (-np.float32(self.vectors[q] @ self.vectors[i]), i, origin)
                    for i, (origin, group, _) in offers[r].items()
                    if group not in banned
                )
                eligible = [f for f in listed if f[1] <= limit]
                told |= {rank for _, _, rank in eligible[: rule.negatives]}
                taken = {i for _, i, _ in given}
                mined = [
                    f
                    for f in eligible
                    if f[0] not in taken and rule.first <= f[2] and (rule.last is None or f[2] <= rule.last)
                ][: max(rule.negatives - len(given), 0)]
                records[r] = {
                    "text": q,
                    "pos": pos,
                    "score_pos": float(score_pos),
                    "given": [(i, origin, float(-s)) for s, i, origin in given],
                    "chosen": [i for _, i, _ in given][: rule.negatives] + [i for i, _, _ in mined],
                }
            stored[q] = [f for f in listed if f[2] in told]
        return records, stored
