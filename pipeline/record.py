"""The record (one pair) and everything about its shape: schemas of shards, marks and ledger, and its identity.

The schemas are contracts between stages; `docs/design.md` section 3 tells them in words.
"""

from __future__ import annotations

import pyarrow as pa

ROW_GROUP_ROWS = 65_536
#: Stages hold one shard at a time, so this is what bounds their memory.
SHARD_ROWS = 4 * ROW_GROUP_ROWS

#: Written once by `convert`, one parquet shard of at most SHARD_ROWS rows each.
TEXT_SCHEMA = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("corpus", pa.string(), nullable=False),
        pa.field("sub_source", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("row", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("text_pos", pa.string(), nullable=False),
        pa.field("text_neg", pa.list_(pa.string()), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("prompt_pos", pa.string(), nullable=False),
        pa.field("score", pa.float32()),
        pa.field("doc_group", pa.uint64(), nullable=False),
        pa.field("quality_score", pa.float32()),
    ]
)

#: Labelled matches and non-matches (LCQMC label 0, OCNLI contradiction ...): no positives, so not records.
LABELLED_SCHEMA = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("corpus", pa.string(), nullable=False),
        pa.field("sub_source", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("row", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("other", pa.string(), nullable=False),
        pa.field("label", pa.bool_()),
        pa.field("score", pa.float32()),
    ]
)

#: Rows that could not be read as declared; `raw` holds at most RAW_BYTES bytes of them.
QUARANTINE_SCHEMA = pa.schema(
    [
        pa.field("corpus", pa.string(), nullable=False),
        pa.field("sub_source", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("row", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("raw", pa.string(), nullable=False),
    ]
)
RAW_BYTES = 4096

#: A stage's verdict on each record, positional: row i of marks shard s speaks of row i of text shard s.
#: `reason` is null where the stage would keep the record; `against` names the benchmark or rule detail.
MARK_SCHEMA = pa.schema(
    [
        pa.field("reason", pa.string()),
        pa.field("against", pa.string()),
        pa.field("similarity", pa.float32()),
        pa.field("flags", pa.list_(pa.string()), nullable=False),
    ]
)

#: Consistency gives no verdict: `resolve` holds `rank` against the recipe, so a change there ranks nothing again. `rank`
#: is that of the positive among the texts of its corpus (1 is the nearest), `score` the cosine of the pair.
CONSISTENCY_SCHEMA = pa.schema([*MARK_SCHEMA, pa.field("rank", pa.int32()), pa.field("score", pa.float32())])

#: Why each removed record was removed; one row per removed record.
LEDGER_SCHEMA = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("corpus", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("duplicate_of", pa.string()),
        pa.field("benchmark", pa.string()),
        pa.field("similarity", pa.float32()),
    ]
)


#: Classes that met in buckets too large to compare all by all, with their match keys; sorted by crowd and class.
CROWD_SCHEMA = pa.schema(
    [
        pa.field("crowd", pa.uint64(), nullable=False),
        pa.field("class_id", pa.uint64(), nullable=False),
        pa.field("symmetric", pa.bool_(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("text_pos", pa.large_string(), nullable=False),
    ]
)


def shard_name(kind: str, index: int) -> str:
    """File name of a shard inside a stage's folder.

    >>> shard_name("text", 3)
    'text-00003.parquet'
    """
    return f"{kind}-{index:05d}.parquet"


#: What becomes of each record, positional like marks. `cluster` is the near-duplicate component of the pair, `also_in`
#: names the other corpora that held a copy of a kept record.
DECISION_SCHEMA = pa.schema(
    [
        pa.field("keep", pa.bool_(), nullable=False),
        pa.field("stage", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("duplicate_of", pa.string()),
        pa.field("benchmark", pa.string()),
        pa.field("similarity", pa.float32()),
        pa.field("cluster", pa.uint64(), nullable=False),
        pa.field("also_in", pa.list_(pa.string()), nullable=False),
    ]
)

#: A finished record: the text shard's columns, the groups dedupe found and the terms the manifest gives.
DATA_SCHEMA = pa.schema(
    [
        *TEXT_SCHEMA,
        pa.field("text_group", pa.uint64(), nullable=False),
        pa.field("pos_group", pa.uint64(), nullable=False),
        pa.field("cluster", pa.uint64(), nullable=False),
        pa.field("also_in", pa.list_(pa.string()), nullable=False),
        pa.field("licence_id", pa.string(), nullable=False),
        pa.field("commercial", pa.string(), nullable=False),
        pa.field("redistribute", pa.string(), nullable=False),
    ]
)

LABELLED_DATA_SCHEMA = pa.schema(
    [
        *LABELLED_SCHEMA,
        pa.field("licence_id", pa.string(), nullable=False),
        pa.field("commercial", pa.string(), nullable=False),
        pa.field("redistribute", pa.string(), nullable=False),
    ]
)

#: One row per converted record, removed ones too: its keys (xxh3-64 of the match keys), groups and flags. `class_id`
#: is what `evidence/edges.parquet` joins.
EVIDENCE_SCHEMA = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("kept", pa.bool_(), nullable=False),
        pa.field("class_id", pa.uint64(), nullable=False),
        pa.field("text_key", pa.uint64(), nullable=False),
        pa.field("pos_key", pa.uint64(), nullable=False),
        pa.field("text_group", pa.uint64(), nullable=False),
        pa.field("pos_group", pa.uint64(), nullable=False),
        pa.field("cluster", pa.uint64(), nullable=False),
        pa.field("flags", pa.list_(pa.string()), nullable=False),
    ]
)

#: The distinct texts of a corpus, to be encoded once each. `document`: encoded as a text_pos is, where the encoder has
#: another prompt for that side. In shards by the leading bits of xxh3-64 of the text, so that a change touches few.
POOL_SCHEMA = pa.schema(
    [pa.field("text", pa.string(), nullable=False), pa.field("document", pa.bool_(), nullable=False)]
)

#: A negative that came with the record (`shipped`), was judged no match (`labelled`) or was found (`mined`).
GIVEN_TYPE = pa.struct(
    [
        pa.field("id", pa.uint32(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
    ]
)

#: Positional to the data shards: where both sides lie in the pool (shards one after another), their cosine, and the
#: negatives that need no search, with theirs.
PAIR_SCHEMA = pa.schema(
    [
        pa.field("text", pa.uint32(), nullable=False),
        pa.field("pos", pa.uint32(), nullable=False),
        pa.field("score_pos", pa.float32(), nullable=False),
        pa.field("given", pa.list_(GIVEN_TYPE), nullable=False),
    ]
)

#: One row per distinct text of the records, in pool order: the nearest texts that may be negatives, before any rule,
#: nearest first, ties by id; `rank` counts from 1 among all that may be. After the first `keep` may stand further ones
#: that the recipe's rule finds eligible, where the first hold too few.
CANDIDATE_SCHEMA = pa.schema(
    [
        pa.field("text", pa.uint32(), nullable=False),
        pa.field("ids", pa.list_(pa.uint32()), nullable=False),
        pa.field("scores", pa.list_(pa.float32()), nullable=False),
        pa.field("ranks", pa.list_(pa.int32()), nullable=False),
    ]
)

#: A negative as it is shipped. `record_id` is the freest kept record that holds the text, null when none does.
NEGATIVE_TYPE = pa.struct(
    [
        pa.field("record_id", pa.string()),
        pa.field("corpus", pa.string(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("calibrated", pa.float32()),
        pa.field("rank", pa.int32()),
        pa.field("licence_id", pa.string(), nullable=False),
    ]
)

#: A record of a build with scores.
SCORED_SCHEMA = pa.schema(
    [
        *DATA_SCHEMA,
        pa.field("score_pos", pa.float32(), nullable=False),
        pa.field("calibrated_pos", pa.float32()),
        pa.field("neg", pa.list_(NEGATIVE_TYPE), nullable=False),
    ]
)
