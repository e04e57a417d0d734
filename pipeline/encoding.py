"""The steps that turn texts into vectors, shared by the graphs that need them: consistency in a build, scores upon one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Protocol

from pipeline.code import code_hash, loaded
from pipeline.cost import measured_entry
from pipeline.manifest.encoder import EncoderManifest, PackageModel
from pipeline.store import Entry, Receipt, Store, stage_key
from pipeline.weights import EncoderIdentity, identify

Encoders = Mapping[str, tuple[EncoderManifest, Path]]


class Encoded(Protocol):
    """How far the texts of one shard are encoded (`pipeline.encode.Progress`, told without importing it)."""

    @property
    def texts(self) -> int: ...
    @property
    def of(self) -> int: ...
    @property
    def texts_per_second(self) -> float: ...
    @property
    def tokens_per_second(self) -> float: ...
    @property
    def left(self) -> float: ...


#: Hears how far the texts of a corpus are; in flows it goes to other processes, so it must be picklable there.
Listener = Callable[[str, Encoded], None]


def silent(_: str, __: Encoded) -> None:
    """Listens to nothing."""


class EncodingContext(Protocol):
    """What these steps need of a context: encoders by name with the folder of their manifest, the store, a listener."""

    @property
    def encoders(self) -> Encoders: ...
    @property
    def store(self) -> Store: ...
    @property
    def rehearsal(self) -> bool: ...
    @property
    def encoded(self) -> Listener: ...

    def entry(
        self, stage: str, module: str, config: object, inputs: Sequence[str], work: Callable[[Path], Receipt]
    ) -> Entry: ...


def identify_step(context: EncodingContext, encoder: str) -> EncoderIdentity:
    """What addresses an encoder's vectors; a Hub model is downloaded, in a rehearsal it must be here already."""
    manifest, home = context.encoders[encoder]
    return identify(manifest, home, _cache(context), offline=context.rehearsal)


def pool_entry(
    context: EncodingContext,
    data: Sequence[Path],
    labelled: Sequence[Path],
    told: Sequence[str],
    *,
    symmetric: bool,
    identities: Sequence[EncoderIdentity],
) -> Entry:
    """The distinct texts of these files, which `told` tells apart: each once, or once per side where the corpus has two
    kinds of text and an encoder tells them apart."""
    one_side = symmetric or all(i.prompts.text == i.prompts.text_pos for i in identities)

    def work(out: Path) -> Receipt:
        from pipeline.encode import pool

        return pool(data, labelled, out, one_side=one_side)

    return context.entry("pool", "pipeline.encode.pool", {"one_side": one_side}, told, work)


def encode_step(
    context: EncodingContext, corpus: str, encoder: str, identity: EncoderIdentity, pool: Entry
) -> list[Entry]:
    """Vectors, one entry per shard of the pool, so that a run goes on where it was cut off; a shard per GPU at a time."""
    manifest, home = context.encoders[encoder]

    def shard(number: int) -> Entry:
        path = pool.paths("pool-*.parquet")[number]

        def work(out: Path) -> Receipt:
            from pipeline.encode import encode, open_encoder

            opened = open_encoder(manifest, home, shard=number, cache=_cache(context))
            return encode(path, out, opened, partial(context.encoded, corpus))

        key = vectors_key(manifest, identity, pool.files[path.name]["sha256"])
        return measured_entry(
            context.store, "encode", key, loaded("pipeline.encode", work), rehearsal=context.rehearsal
        )

    if context.rehearsal and not pool.files:  # not made yet, so nobody knows its shards
        return [context.store.entry("encode", vectors_key(manifest, identity, pool.key), lambda _: {}, rehearsal=True)]
    with ThreadPoolExecutor(1 if context.rehearsal else _devices()) as devices:
        return list(devices.map(shard, range(len(pool.files))))


def vectors_key(manifest: EncoderManifest, identity: EncoderIdentity, shard: str) -> str:
    """The address of the vectors of a pool shard, given its sha256.

    Vectors are the dearest thing a build makes, so they hang on what decides them alone: the model, how its batches are
    made and rounded, and the texts; not on the rest of this room, nor on the libraries that wrote the pool.
    """
    kind = "nano" if isinstance(manifest.source, PackageModel) else "model"
    told = {**identity.address(), "code": code_hash(f"pipeline.encode.{kind}")}
    return stage_key("encode", "pipeline.encode.stage", told, [shard], libraries=())


def _devices() -> int:
    from pipeline.encode.device import gpus

    return max(1, gpus())


def _cache(context: EncodingContext) -> Path:
    """Where the sha256 of large weights are kept."""
    return context.store.root / "weights.json"
