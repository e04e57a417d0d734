"""The arms, from slices to a table: build, train, judge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import torch

from benchmarks.data_value import arms, noise, slices, teacher
from benchmarks.data_value.arms import Frames
from benchmarks.data_value.judge import Held, Measured, held_sets, measure
from benchmarks.data_value.student import Arm, Bags, Student, train
from benchmarks.measure import Table
from pipeline.make import Made

RAW, LEAKED, THINNED = "raw concatenation", "raw + benchmark positives", "raw, as many taken out at random"
UNGROUPED, HQ = "m3e-hq, batches as rows come", "m3e-hq"
LABELLED, MINED = "m3e-hq + labelled non-matches", "m3e-hq + mined negatives"
UNTRAINED = "untrained"
NEGATIVES = 4
#: An arm per seed; only what is drawn at random differs between seeds.
Arms = dict[str, list[Arm]]


@dataclass(frozen=True)
class Case:
    """Where the slices are, where to work, and how large. `judged`: whether bars are held to it."""

    slices: Path
    work: Path
    encode: teacher.Encode
    corpora: Sequence[str]
    steps: int
    seeds: int = 5
    doses: Sequence[int] = noise.DOSES
    judged: bool = False


@dataclass(frozen=True)
class Built:
    """What the pipeline made of a case. `noisy`: by dose of wrong pairs; `sifted`: by dose and `top` of consistency."""

    raw: Frames
    everything: Frames
    hq: Frames
    scored: Frames
    noisy: dict[int, Frames]
    sifted: dict[tuple[int, int], Frames]
    fates: dict[tuple[int, int], dict[tuple[str, bool], int]]
    held: list[Held]
    notes: list[str]


def build(case: Case) -> Built:
    """Run the pipeline: `hq` over all splits, scores upon it, and the doses of noise."""
    manifests = slices.write_slices(case.slices, case.work, case.corpora)
    made = arms.built(manifests, "hq", case.work)
    everything, hq = arms.converted(made), arms.kept(made)
    raw = {name: frame.filter(pl.col("split") != arms.HELD_SPLIT) for name, frame in everything.items()}
    encoder = teacher.distil(list(_texts(raw.values())), case.work / "teacher", case.encode)
    slices.write_manifest(manifests, "encoders", encoder)
    recipe = {"name": "hq-with-score", "base": "hq", "encoder": "teacher", "rule": {"negatives": NEGATIVES}}
    slices.write_manifest(manifests, "recipes", recipe)
    for dose in case.doses:
        noise.write_noise(raw, dose, case.work, manifests)
    noisy, sifted, fates = {}, {}, {}
    for dose in case.doses:
        noisy[dose] = arms.kept(arms.built(manifests, f"noise-{dose}", case.work))
        for top in noise.TOPS:
            kept = arms.built(manifests, f"kept-{dose}-{top}", case.work)
            sifted[dose, top] = arms.kept(kept)
            fates[dose, top] = noise.fate(arms.ledgers(kept), arms.converted(kept), case.work)
    scored = arms.kept(arms.built(manifests, "hq-with-score", case.work))
    held = held_sets(case.slices, case.work / "files")
    return Built(raw, everything, hq, scored, noisy, sifted, fates, held, _told(made, everything, hq))


def arms_of(made: Built, folder: Path, seeds: int) -> Arms:
    """Every arm as shards below `folder`, in the order of the table."""
    sizes = {name: made.hq[name].height if name in made.hq else 0 for name in made.raw}
    plain: dict[str, tuple[Frames, int]] = {
        RAW: (_ungrouped(made.raw), 0),
        LEAKED: (_ungrouped(made.everything), 0),
        UNGROUPED: (_ungrouped(made.hq), 0),
        HQ: (made.hq, 0),
        LABELLED: (arms.with_negatives(made.scored, ("shipped", "labelled")), NEGATIVES),
        MINED: (arms.with_negatives(made.scored, ("shipped", "labelled", "mined")), NEGATIVES),
    }
    plain |= {noise_arm(dose): (frames, 0) for dose, frames in made.noisy.items()}
    plain |= {noise_arm(*of): (frames, 0) for of, frames in made.sifted.items()}
    told = {
        name: [arms.arm(name, frames, folder / str(i), negatives)] * seeds
        for i, (name, (frames, negatives)) in enumerate(plain.items())
    }
    thin = [_ungrouped(arms.thinned(made.raw, sizes, seed)) for seed in range(seeds)]
    told[THINNED] = [arms.arm(THINNED, frames, folder / f"thin-{seed}") for seed, frames in enumerate(thin)]
    return told


def noise_arm(dose: int, top: int | None = None) -> str:
    """
    >>> noise_arm(10, 20)
    '10 % wrong pairs, consistency 20'
    """
    return f"{dose} % wrong pairs" + (f", consistency {top}" if top else "")


def weights_of(made: Built, arm: Arm) -> dict[str, float]:
    """How often a corpus comes: by the root of its raw size, whatever an arm leaves of it."""
    sizes = {name: frame.height for name, frame in made.raw.items()}
    return {name: sizes[name.partition("-noise-")[0]] ** 0.5 for name in arm.data}


def trained(case: Case, made: Built, told: Arms) -> tuple[Measured, dict[str, float]]:
    """Train and judge all arms; what they score, and the records that each saw on average."""
    frames = [*made.everything.values(), *made.scored.values()]
    frames += [frame for told in (*made.noisy.values(), *made.sifted.values()) for frame in told.values()]
    negatives = pl.concat(frame["neg"].explode().drop_nulls().struct.field("text") for frame in made.scored.values())
    bags = Bags([*_texts(frames), *negatives, *(text for one in made.held for text in one.texts)])
    scored: dict[str, list[list[np.ndarray]]] = {UNTRAINED: []}
    seen: dict[str, float] = {UNTRAINED: 0}
    for seed in range(case.seeds):
        scored[UNTRAINED].append([one.scored(Student(bags, seed).embed) for one in made.held])
        for name, of_seed in told.items():
            arm = of_seed[seed]
            student, records = train(arm, bags, weights_of(made, arm), case.steps, seed)
            scored.setdefault(name, []).append([one.scored(student.embed) for one in made.held])
            seen[name] = seen.get(name, 0) + records / case.seeds
    return measure(made.held, scored), seen


def ablation(case: Case, made: Built) -> Table:
    """Train and judge every arm of what was built."""
    torch.set_num_threads(1)
    told = arms_of(made, case.work / "arms", case.seeds)
    return table_of(case, made, told, *trained(case, made, told))


def table_of(case: Case, made: Built, told: Arms, measured: Measured, seen: dict[str, float]) -> Table:
    """A line for each arm. Arms with wrong pairs are compared with the dose of 0, the others with the raw concatenation."""
    head = ("arm", "records", "seen", *(one.name for one in made.held), "mean", "difference [95 %]")
    corpora = len(made.raw)
    table = Table(f"data_value: {corpora} corpora, {case.steps} steps, {case.seeds} seeds, scores x 100", head)
    sizes = {name: _records(of_seed[0]) for name, of_seed in told.items()}
    order = [UNTRAINED, RAW, LEAKED, THINNED, UNGROUPED, HQ, LABELLED, MINED]
    noisy = [noise_arm(dose, top) for dose in case.doses for top in (None, *noise.TOPS)]
    for name in order + noisy:
        cells = [f"{value * 100:.1f}" for value in (*measured.sets[name], measured.mean(name))]
        other = noisy[0] if name in noisy else RAW
        difference = "" if name in (other, UNTRAINED) else _difference(measured, name, other)
        bar, holds = _bar(measured, name) if case.judged else ("", None)
        table.add(name, f"{sizes.get(name, 0):,}", f"{seen[name]:,.0f}", *cells, difference, bar=bar, holds=holds)
    for one, other in ((HQ, THINNED), (UNGROUPED, THINNED), (HQ, UNGROUPED), (LABELLED, HQ), (MINED, LABELLED)):
        table.notes.append(f"{one} against {other}: {_difference(measured, one, other)}")
    table.notes += [*made.notes, *(_fate(measured, *of, fate, noisy[0]) for of, fate in made.fates.items())]
    return table


def _bar(measured: Measured, name: str) -> tuple[str, bool | None]:
    """What is cleaned must be worth no less than what is left by chance."""
    if name != HQ:
        return "", None
    bar = measured.mean(THINNED)
    return f"{bar * 100:.1f}", measured.mean(HQ) >= bar


def _difference(measured: Measured, one: str, other: str) -> str:
    """Points between two arms, and the bounds."""
    points, low, high = (100 * value for value in measured.against(one, other))
    return f"{points:+.2f} [{low:+.2f}, {high:+.2f}]"


def _told(made: Made, everything: Frames, hq: Frames) -> list[str]:
    """What m3e-hq took out and why, and how much of the held-back sets was there."""
    ids = pl.concat(frame.select("record_id", "split") for frame in everything.values())
    gone = pl.concat(arms.ledgers(made).values()).join(ids, on="record_id")
    left = pl.concat(frame.select("record_id") for frame in hq.values()).join(ids, on="record_id")
    planted = ids["split"] == arms.HELD_SPLIT
    natural = gone.filter((pl.col("stage") == "decontaminate") & (pl.col("split") != arms.HELD_SPLIT))
    reasons = gone.filter(pl.col("split") != arms.HELD_SPLIT)["reason"].value_counts().sort("count", descending=True)
    return [
        f"held-back records: {planted.sum():,}, of which m3e-hq keeps {(left['split'] == arms.HELD_SPLIT).sum()};"
        f" leaks into the rest that it finds: {natural.height:,}",
        "m3e-hq takes out of the raw: " + ", ".join(f"{reason} {count:,}" for reason, count in reasons.rows()),
    ]


def _fate(measured: Measured, dose: int, top: int, fate: dict[tuple[str, bool], int], clean: str) -> str:
    """What became of wrong and of right pairs, and of what the wrong ones cost."""
    wrong, right = (sum(n for (_, is_wrong), n in fate.items() if is_wrong == side) for side in (True, False))
    told = [f"{stage} {fate.get((stage, True), 0):,}" for stage in ("quality", "consistency", "dedupe")]
    lost = fate.get(("consistency", False), 0) / max(right, 1)
    line = f"{dose} % wrong, consistency {top}: of {wrong:,} wrong pairs taken out by {', '.join(told)}; of right ones {lost:.1%}"
    noisy, sifted = measured.mean(noise_arm(dose)), measured.mean(noise_arm(dose, top))
    loss = measured.mean(clean) - noisy
    return line + (f"; came back of the loss {(sifted - noisy) / loss:.0%}" if loss > 0 and sifted > noisy else "")


def _texts(frames: Iterable[pl.DataFrame]) -> Iterator[str]:
    for frame in frames:
        yield from frame["text"]
        yield from frame["text_pos"]


def _ungrouped(frames: Frames) -> Frames:
    return {name: arms.ungrouped(frame) for name, frame in frames.items()}


def _records(arm: Arm) -> int:
    return sum(pq.read_metadata(path).num_rows for paths in arm.data.values() for path in paths)
