"""The stage: from texts to marks, one row group at a time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pipeline.decontaminate.inside import inside
from pipeline.decontaminate.matcher import matches
from pipeline.decontaminate.protected import Protected
from pipeline.decontaminate.sides import HITS, hits, negatives, number
from pipeline.decontaminate.verdicts import Sided, Verdicts, judge
from pipeline.manifest.settings import DecontaminateConfig
from pipeline.minhash import Keys
from pipeline.normalize import match_key
from pipeline.record import MARK_SCHEMA, shard_name
from pipeline.shards import group_writer, read_groups, write_parquet
from pipeline.store import Receipt

Bools = npt.NDArray[np.bool_]

#: The single negatives to take out: `neg` is the place within `text_neg` of row `record_row` of the shard.
NEGATIVES_SCHEMA = pa.schema(
    [
        pa.field("record_row", pa.uint32(), nullable=False),
        pa.field("neg", pa.uint32(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
    ]
)


def decontaminate(
    shards: Sequence[Path],
    labelled: Sequence[Path],
    protected: Path,
    out: Path,
    config: DecontaminateConfig,
    *,
    code_sides: Collection[str] = (),
    instruction_data: bool = False,
) -> Receipt:
    """Mark the records, labelled rows and single negatives of one corpus that hold benchmark text.

    `protected` is the folder that `protect` wrote under the same settings. Written to `out`, one file per input shard and
    positional to it: `marks-*.parquet` and `labelled-marks-*.parquet` in MARK_SCHEMA, `negatives-*.parquet` in
    NEGATIVES_SCHEMA. Sides in `code_sides` are compared for equality only. With `policy: flag` nothing has a reason and
    no negative is named.

    A record that several tasks claim names the most similar in `against` (ties by name) and all of them in `flags`:
    with the query 今天天气怎么样啊 of task Weather, the record (今天天气怎么样啊？, 晴) is marked
    `("benchmark_query", "Weather", 1.0, ["contaminated:Weather"])`.
    """
    comparison = _Comparison(Protected.open(protected), config, code_sides, instruction_data)
    records, rows = _Tally(), _Tally()
    contaminated: Counter[str] = Counter()
    for position, path in enumerate(shards):
        out_of_here = [NEGATIVES_SCHEMA.empty_table()]
        with group_writer(out / shard_name("marks", position), MARK_SCHEMA) as file:
            for start, marks, verdicts in comparison.groups(path, ("text", "text_pos", "text_neg")):
                file.write_table(marks.to_arrow().cast(MARK_SCHEMA))
                records.add(marks, verdicts)
                contaminated.update(verdicts.negatives["task"].to_list())
                if config.policy == "drop":
                    named = verdicts.negatives.with_columns(pl.col("record_row") + start)
                    out_of_here.append(named.to_arrow().cast(NEGATIVES_SCHEMA))
        write_parquet(out / shard_name("negatives", position), pa.concat_tables(out_of_here))
    for position, path in enumerate(labelled):
        with group_writer(out / shard_name("labelled-marks", position), MARK_SCHEMA) as file:
            for _, marks, verdicts in comparison.groups(path, ("text", "other")):
                file.write_table(marks.to_arrow().cast(MARK_SCHEMA))
                rows.add(marks, verdicts)
    return {
        "tasks": comparison.protected.tasks,
        **records.receipt(),
        "negatives": dict(sorted(contaminated.items())),
        "labelled": rows.receipt(),
    }


class _Comparison:
    """One corpus against the texts of all benchmarks."""

    def __init__(
        self,
        protected: Protected,
        config: DecontaminateConfig,
        code_sides: Collection[str],
        instruction_data: bool,
    ) -> None:
        self.protected, self.config = protected, config
        self.instruction_data = instruction_data
        self.is_code = ("text" in code_sides, "text_pos" in code_sides)

    def groups(self, path: Path, columns: Sequence[str]) -> Iterator[tuple[int, pl.DataFrame, Verdicts]]:
        """Of every row group of a shard its first row, its marks and the verdicts they come from."""
        start = 0
        for table in read_groups(path, columns):
            verdicts = self._judge(*pl.DataFrame(table).get_columns())
            yield start, verdicts.marks(table.num_rows, self.config), verdicts
            start += table.num_rows

    def _judge(self, first: pl.Series, second: pl.Series, shipped: pl.Series | None = None) -> Verdicts:
        """Verdicts over the rows of one row group: its two sides and, of records, the lists of negatives."""
        # Benchmarks do not say which of their texts are code, so code is keyed like their texts, not as code.
        keys = [match_key(first), match_key(second)]
        places = negatives(pl.Series([], dtype=pl.List(pl.String)) if shipped is None else shipped)
        distinct, sides = number([*keys, match_key(places["text"])])
        # Negatives are of text_pos' kind.
        is_code = (*self.is_code, self.is_code[1])
        plain = [numbers for numbers, code in zip(sides, is_code, strict=True) if not code]
        measured = _measured(distinct)
        matched = matches(measured, _some(distinct, plain), self.protected.keys, self.protected.all_bands, self.config)
        equal = matched.filter("exact")
        one, two, neg = (hits(side, equal if code else matched) for side, code in zip(sides, is_code, strict=True))
        places = places.select("row", "neg").with_row_index("place")
        neg = neg.rename({"row": "place"}).join(places, on="place").select(*HITS, "neg")
        prompts = [numbers for numbers, code in zip(sides[:2], self.is_code, strict=True) if not code]
        found = self._inside(measured, _some(distinct, prompts), prompts)
        sided = Sided(one, two, self._joined(keys), found, neg)
        return judge(sided, self.protected, self.config)

    def _joined(self, keys: Sequence[pl.Series]) -> pl.DataFrame:
        if any(self.is_code) or self.protected.joined.is_empty():
            return pl.DataFrame(schema=HITS)
        first, second = keys
        distinct, both = number([first + second, second + first])
        every = np.ones(distinct.height, np.bool_)
        bands = self.protected.joined_bands
        matched = matches(_measured(distinct), every, self.protected.keys, bands, self.config)
        return pl.concat([hits(numbers, matched) for numbers in both])

    def _inside(self, keys: Keys, is_prompt: Bools, sides: Sequence[pl.Series]) -> pl.DataFrame:
        if not self.instruction_data:
            return pl.DataFrame(schema=HITS)
        found = inside(keys, np.flatnonzero(is_prompt), self.protected.keys, self.protected.anchors)
        found = found.with_columns(similarity=pl.lit(1.0, pl.Float32), chars=pl.lit(0, pl.UInt32))
        return pl.concat([pl.DataFrame(schema=HITS), *(hits(numbers, found) for numbers in sides)])


def _measured(distinct: pl.DataFrame) -> Keys:
    return Keys.of(distinct["text"], distinct["hash"].to_numpy())


def _some(distinct: pl.DataFrame, sides: Sequence[pl.Series]) -> Bools:
    """Which of the distinct keys stand on one of these sides."""
    mask = np.zeros(distinct.height, np.bool_)
    for numbers in sides:
        mask[numbers.to_numpy()] = True
    return mask


class _Tally:
    """Rows read and removed, and the rows each reason and flag hit per task; a row counts for every task it hits."""

    def __init__(self) -> None:
        self.rows = self.removed = 0
        self.hits: dict[str, Counter[str]] = defaultdict(Counter)
        self.flags: dict[str, Counter[str]] = defaultdict(Counter)

    def add(self, marks: pl.DataFrame, verdicts: Verdicts) -> None:
        self.rows += marks.height
        self.removed += marks.height - marks["reason"].null_count()
        for task, reason, count in verdicts.found.group_by("task", "reason").len().iter_rows():
            self.hits[task][reason] += count
        for task, flag, count in verdicts.flags.group_by("task", "flag").len().iter_rows():
            self.flags[task][flag] += count

    def receipt(self) -> Receipt:
        told = {"hits": self.hits, "flags": self.flags}
        nested = {name: {task: dict(sorted(c.items())) for task, c in sorted(by.items())} for name, by in told.items()}
        return {"rows": self.rows, "removed": self.removed, **nested}
