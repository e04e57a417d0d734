"""Pairs and candidates as tables, and as they lie on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.mine.given import of_rows
from pipeline.mine.rule import ORIGINS, Found, Given, Scores
from pipeline.mine.texts import Records
from pipeline.record import CANDIDATE_SCHEMA, PAIR_SCHEMA, shard_name
from pipeline.shards import write_parquet


def write_pairs(folder: Path, records: Records, score_pos: Scores, given: Given) -> None:
    first = 0
    for shard, rows in enumerate(records.shards):
        some = slice(first, first + rows)
        lists = of_rows(given, np.arange(first, first + rows))
        origins = pa.DictionaryArray.from_arrays(lists.origins, list(ORIGINS)).dictionary_decode()
        struct = PAIR_SCHEMA.field("given").type.value_type
        items = pa.StructArray.from_arrays([lists.ids, origins, lists.scores], fields=list(struct))
        column = pa.ListArray.from_arrays(lists.offsets.astype(np.int32), items)
        columns = [pa.array(records.text[some]), pa.array(records.pos[some]), pa.array(score_pos[some]), column]
        write_parquet(folder / shard_name("pairs", shard), pa.table(columns, schema=PAIR_SCHEMA))
        first += rows


def candidate_table(found: Found) -> pa.Table:
    offsets = pa.array(found.offsets.astype(np.int32))
    lists = [pa.ListArray.from_arrays(offsets, pa.array(column)) for column in (found.ids, found.scores, found.ranks)]
    return pa.table([pa.array(found.text), *lists], names=CANDIDATE_SCHEMA.names)
