"""A benchmark's texts as match keys: what training data is compared with, written once per benchmark."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.decontaminate.expressions import check, evaluate, frames, keyed
from pipeline.decontaminate.judgements import Judgements
from pipeline.decontaminate.seen import Seen
from pipeline.errors import CurationError
from pipeline.manifest.benchmark import Benchmark, BenchmarkPairs, BenchmarkPart, BenchmarkTexts
from pipeline.normalize import key_hash
from pipeline.personal import mask_personal
from pipeline.shards import ShardWriter
from pipeline.source import SourceFile
from pipeline.store import Receipt

#: Kinds of the shards of an index.
TEXTS, PAIRS = "texts", "pairs"

#: One row per distinct (role, joined, key): `joined` tells whether text + text_pos is compared as well, `hash` is the
#: key's xxh3-64, `locator` where it stands first.
TEXTS_SCHEMA = pa.schema(
    [
        ("role", pa.string()),
        ("key", pa.large_string()),
        ("joined", pa.bool_()),
        ("hash", pa.uint64()),
        ("locator", pa.string()),
    ]
)
#: One row per distinct (key_a, key_b): two texts the benchmark judges together.
PAIRS_SCHEMA = pa.schema(
    [
        ("key_a", pa.large_string()),
        ("key_b", pa.large_string()),
        ("hash_a", pa.uint64()),
        ("hash_b", pa.uint64()),
        ("locator", pa.string()),
    ]
)


def index(benchmark: Benchmark, files: Sequence[SourceFile], out: Path, *, mask: bool = False) -> Receipt:
    """Read a benchmark and write its distinct texts and pairs as match keys to `out`: `texts-*` and `pairs-*.parquet`.

    A list-valued expression explodes (two of the same length explode side by side); its locators are `name#row/n`.
    Texts without any character are left out and counted. Where parts judge texts by their ids, a query that no
    judgement names is left out and counted, a passage found relevant becomes a positive, and every query makes a pair
    with each of its positives. Files are read in batches; held are the judgements, the judged queries and 8 bytes per
    distinct text. With `mask` personal data is masked first, as in the records that are compared.

    Raises FormatError for a malformed row or a null text: a benchmark row that is skipped is a leak that nobody sees.
    Raises CurationError for a wrong expression, where there is no text at all, and where no judgement finds its texts.

    A part with `texts: [{role: query, text: question}]` and the row `{"question": "故宫在哪？"}` gives the row
    `("query", "故宫在哪", False, hash, "dev.json#0")`.
    """
    check(benchmark)
    judgements = Judgements(benchmark, files) if any(part.judges for part in benchmark.parts) else None
    with ShardWriter(out, TEXTS, TEXTS_SCHEMA) as texts, ShardWriter(out, PAIRS, PAIRS_SCHEMA) as pairs:
        reading = _Reading(benchmark, judgements, texts, pairs, mask=mask)
        # Queries before documents: a document is paired with its query as it passes by.
        for first in (True, False):
            for file in files:
                part = benchmark.parts[file.part]
                wanted = [entry for entry in part.texts if first == (entry.id is not None and entry.role == "query")]
                reading.read(file, part, wanted, [] if first else part.pairs)
    if not texts.rows and not pairs.rows:
        cause = f"its {reading.rows} rows give no text, so it protects nothing"
        raise CurationError(f"benchmark {benchmark.name}", cause, "mend its splits or the `where` of its texts")
    return {
        "benchmark": benchmark.name,
        "task": benchmark.task,
        "rows": reading.rows,
        "read": reading.values,
        "empty": reading.empty,
        "texts": dict(sorted(reading.roles.items())),
        "pairs": pairs.rows,
        **({"judged": judgements.receipt()} if judgements is not None else {}),
    }


class _Reading:
    """The way of every batch into the two files, each distinct text and pair once."""

    def __init__(
        self,
        benchmark: Benchmark,
        judgements: Judgements | None,
        texts: ShardWriter,
        pairs: ShardWriter,
        *,
        mask: bool,
    ) -> None:
        self._benchmark, self._judgements, self._mask = benchmark, judgements, mask
        self._texts, self._pairs = texts, pairs
        self._seen: dict[tuple[str, bool] | None, Seen] = defaultdict(Seen)
        self.roles: Counter[str] = Counter()
        self.rows = self.values = self.empty = 0

    def read(
        self, file: SourceFile, part: BenchmarkPart, wanted: Sequence[BenchmarkTexts], pairs: Sequence[BenchmarkPairs]
    ) -> None:
        if not wanted and not pairs:
            return
        for frame in frames(self._benchmark, file, part):
            self.rows += frame.height
            for entry in wanted:
                columns = {"key": entry.text} | ({} if entry.id is None else {"id": entry.id})
                found = self._keyed(evaluate(self._benchmark, frame, file, columns, entry.where), "key")
                self._write_texts(self._with_roles(found, entry), entry.joined)
            for pair in pairs:
                columns = {"key_a": pair.text, "key_b": pair.other}
                self._write_pairs(
                    self._keyed(evaluate(self._benchmark, frame, file, columns, pair.where), "key_a", "key_b")
                )

    def _keyed(self, found: pl.DataFrame, *columns: str) -> pl.DataFrame:
        if self._mask:
            found = found.with_columns(mask_personal(found[column]) for column in columns)
        kept = keyed(found, *columns)
        self.values, self.empty = self.values + found.height, self.empty + found.height - kept.height
        return kept

    def _with_roles(self, found: pl.DataFrame, entry: BenchmarkTexts) -> pl.DataFrame:
        if self._judgements is None or entry.id is None:
            return found.with_columns(role=pl.lit(entry.role))
        if entry.role == "query":
            return self._judgements.queries(found).with_columns(role=pl.lit("query"))
        found, pairs = self._judgements.documents(found)
        self._write_pairs(pairs)
        return found

    def _write_texts(self, found: pl.DataFrame, joined: bool) -> None:
        for (role,), same in found.group_by("role", maintain_order=True):
            hashed = same.with_columns(hash=key_hash(same["key"]), joined=pl.lit(joined))
            new = hashed.filter(self._seen[str(role), joined].new(hashed["hash"].to_numpy()))
            self.roles[str(role)] += new.height
            self._texts.write(new.select(TEXTS_SCHEMA.names).to_arrow())

    def _write_pairs(self, found: pl.DataFrame) -> None:
        hashed = found.with_columns(hash_a=key_hash(found["key_a"]), hash_b=key_hash(found["key_b"]))
        # One number for the two: odd multiplier, so that (a, b) and (b, a) differ.
        both = hashed["hash_a"].to_numpy() * np.uint64(0x9E3779B97F4A7C15) + hashed["hash_b"].to_numpy()
        new = hashed.filter(self._seen[None].new(both))
        self._pairs.write(new.select(PAIRS_SCHEMA.names).to_arrow())
