"""The settings of the stages, one frozen model each, as a recipe gives them.

They live here, below the stages, so that `m3e check` validates a recipe without importing polars or pyarrow.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.manifest.corpus import Strict

#: What a quality rule does with a record it hits.
Action = Literal["drop", "flag", "off"]
Ratio = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
#: What a model can be evaluated on.
Suite = Literal["cmteb", "mteb-zh", "code", "local"]


class QualityConfig(Strict):
    """Rules of `pipeline.quality`: an action each, and the thresholds they use. Lengths are characters.

    `docs/quality.md` says what each rule does and why its default is to drop or to flag.
    """

    empty_side: Action = "drop"
    equal_sides: Action = "drop"
    too_short: Action = "drop"
    min_chars: Count = 2
    too_long: Action = "off"
    max_chars: Count = 20_000
    script_ratio: Action = "drop"
    min_script_ratio: Ratio = 0.5
    markup: Action = "flag"
    repetition: Action = "flag"
    max_repetition: Ratio = 0.5
    refusal: Action = "flag"
    refusal_chars: Count = 80
    template_opening: Action = "flag"
    template_chars: Count = 12
    max_template_share: Ratio = 0.002
    min_template_texts: Count = 20
    hub_positive: Action = "flag"
    max_texts_per_positive: Count = 20
    generic_title: Action = "flag"


class DedupeConfig(Strict):
    """Edges are stored from `floor` up; `resolve` removes at `threshold` and above, and nothing else asks for it.

    Texts of one group, which may not meet as in-batch negatives, hang together by a Jaccard of `groups` and above.
    `recall` is the share of the pairs exactly at the floor on both sides, the hardest there are, that the bands bring
    together; nearly none above are missed. It takes as many of the `num_perm` permutations (drawn by `seed`) as it needs.
    Without `near` exact copies only.
    """

    threshold: Ratio = 0.8
    # Under 0.3 nearly every two passages would be candidates.
    floor: Annotated[float, Field(ge=0.3, le=1)] = 0.6
    groups: Ratio = 0.8
    num_perm: Annotated[int, Field(ge=16, le=1024)] = 128
    seed: int = 1
    recall: Annotated[float, Field(gt=0, lt=1)] = 0.99
    near: bool = True

    @model_validator(mode="after")
    def _ordered(self) -> DedupeConfig:
        if self.floor > self.threshold:
            raise ValueError(f"floor {self.floor} lies above threshold {self.threshold}")
        if self.floor > self.groups:
            raise ValueError(f"floor {self.floor} lies above groups {self.groups}")
        return self


class DecontaminateConfig(Strict):
    """`benchmarks` names benchmarks or suites; `policy: flag` marks where `drop` would remove.

    A text is near a benchmark text from `threshold` (Jaccard) up. Keys under `min_chars` characters count only as a pair
    of a benchmark pair; benchmark queries of `inside_chars` and more are also searched inside instruction data.
    """

    benchmarks: list[str] = []
    policy: Literal["drop", "flag"] = "drop"
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.8
    min_chars: Annotated[int, Field(ge=1)] = 8
    inside_chars: Annotated[int, Field(ge=1)] = 16
    num_perm: Annotated[int, Field(ge=16, le=1024)] = 128
    seed: int = 1


class PiiConfig(Strict):
    """`mask` puts `[PHONE]`, `[ID]`, `[EMAIL]`, `[CARD]` in place of personal data, in benchmarks' texts as in records.

    It is done when text is written, after the record's id is made: ids stay, and whatever compares texts sees what is
    shipped. So another choice converts again.
    """

    mask: bool = False


class CapConfig(Strict):
    """At most so many positives of one text, best quality_score first; the rest go to the ledger."""

    positives_per_text: Annotated[int, Field(ge=1)] = 5


class ConsistencyConfig(Strict):
    """A pair of a weak corpus stays when its positive ranks within the `top` distinct texts of its corpus.

    `encoder` names a manifest. Corpora of more than `max_pool` distinct texts are ranked against as many, drawn by seed.
    """

    encoder: str
    top: Annotated[int, Field(ge=1)] = 20
    max_pool: Annotated[int, Field(ge=1)] = 3_000_000
    seed: int = 0


class RuleConfig(Strict):
    """Which candidates of a record become its negatives; a change re-cuts stored candidates without the encoder.

    A candidate is eligible up to `mu + p * (score_pos - mu)`, `mu` being the mean cosine of random pairs of the corpus:
    encoders whose random pairs score high would make a share of the raw score too easy. Without `p` the encoder's
    manifest gives one for each kind of corpus. `margin` asks for so much less than score_pos as well. `first` and `last`
    bound the rank among all candidates (1 is the nearest). Of the eligible the nearest are taken, or, with `sample:
    random`, as many drawn by `seed`.
    """

    negatives: Annotated[int, Field(ge=1, le=100)] = 7
    p: Annotated[float, Field(gt=0, le=1)] | None = None
    margin: Annotated[float, Field(ge=0, le=2)] | None = None
    first: Annotated[int, Field(ge=1)] = 1
    last: Annotated[int, Field(ge=1)] | None = None
    sample: Literal["top", "random"] = "top"
    seed: int = 0

    @model_validator(mode="after")
    def _ordered(self) -> RuleConfig:
        if self.last is not None and self.last < self.first:
            raise ValueError(f"last {self.last} comes before first {self.first}")
        return self

    def with_p(self, p: float) -> RuleConfig:
        """This rule, with `p` where it names none."""
        return self if self.p is not None else self.model_copy(update={"p": p})


class MineConfig(Strict):
    """Where hard negatives are looked for. `keep` candidates per text are stored before any rule.

    `pool: corpus` searches the record's own corpus, `all` every corpus of the build. `search: binary` looks through
    signs first and scores the best again: faster on a CPU, with a recall that the receipt tells. `veto` names a second
    encoder that must find a candidate eligible too.

    `both` asks the same of the positive, in symmetric corpora: the mean of a candidate's cosines with text and positive
    may reach `mu + both * (score_pos - mu)`, else it is no candidate. `yardstick` takes for each corpus the highest
    value under which at most `max_false` of the negatives are known matches, hidden for the purpose, and 0.75 where too
    few matches are known.
    """

    pool: Literal["corpus", "all"] = "corpus"
    keep: Annotated[int, Field(ge=1, le=1000)] = 100
    search: Literal["exact", "binary"] = "exact"
    veto: str | None = None
    both: Annotated[float, Field(gt=0, le=1)] | Literal["yardstick"] | None = "yardstick"
    max_false: Annotated[float, Field(ge=0, le=1)] = 0.005
    yardstick_texts: Annotated[int, Field(ge=0)] = 3000
    seed: int = 0


class ScoreConfig(Strict):
    """Calibrated scores lie between 0 and 1 in steps of `quantum`; without `calibrate` there are none.

    They are made of the encoder's cosines, or, where `cross_encoder` names a manifest of a cross-encoder, of what that
    says of both texts read together; which negatives are chosen stays with the cosines.
    """

    calibrate: bool = True
    quantum: Annotated[float, Field(gt=0, le=0.5)] = 0.01
    cross_encoder: str | None = None

    @model_validator(mode="after")
    def _used(self) -> ScoreConfig:
        if self.cross_encoder is not None and not self.calibrate:
            raise ValueError("cross_encoder gives calibrated scores only; set calibrate to true or leave it out")
        return self


class MixConfig(Strict):
    """Batches for training. A corpus of n rows takes part in proportion to n to the power of `power`.

    With `power` 1 an epoch is every row exactly once; below it small corpora come more often, at most `repeats` times
    an epoch, and large ones less. `length_buckets` are upper bounds in characters of text and text_pos together.
    Windows hold about `window_rows` rows over all corpora, and at most `window_bytes` each.
    """

    batch: Annotated[int, Field(ge=1)] = 256
    power: Annotated[float, Field(ge=0, le=1)] = 0.5
    repeats: Annotated[float, Field(ge=1)] = 4
    caps: dict[str, Annotated[int, Field(ge=1)]] = {}
    length_buckets: tuple[int, ...] = (64, 256, 1024)
    window_rows: Annotated[int, Field(ge=1)] = 1_048_576
    window_bytes: Annotated[int, Field(ge=1 << 16)] = 1 << 28
    seed: int = 0


class TrainConfig(Strict):
    """A training run. `mix` says how many records a step holds and how corpora take part; M3E's own numbers where it had some.

    `recipe`: `contrastive` with the other records of the batch as negatives, `ntuple` with mined ones besides, `cosent`
    on scored pairs. `negatives` of a record at most. `mini_batch` texts at a time pass the model, so that a batch may be
    larger than the memory of a GPU. `lr` left out follows the number of parameters. `warmup` is a share of the steps.
    `prompts: record` puts the record's prompt before each side. Without `steps` the data is seen `epochs` times.
    """

    recipe: Literal["contrastive", "cosent", "ntuple"] = "contrastive"
    mix: MixConfig = MixConfig()
    steps: Count | None = None
    epochs: Count = 1
    mini_batch: Count | None = None
    negatives: Annotated[int, Field(ge=0, le=100)] = 4
    temperature: Annotated[float, Field(gt=0, le=1)] = 0.05
    lr: Annotated[float, Field(gt=0, lt=1)] | None = None
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 1e-3
    warmup: Ratio = 0.05
    max_tokens: Annotated[int, Field(ge=8)] = 512
    prompts: Literal["record", "off"] = "record"
    log_every: Count = 10
    save_every: Count = 500
    keep: Annotated[int, Field(ge=2)] = 2
    seed: int = 42

    @model_validator(mode="after")
    def _whole_logs(self) -> TrainConfig:
        if self.save_every % self.log_every:
            # A checkpoint between two points of the curve would lose the steps since the first of them.
            raise ValueError(f"save_every {self.save_every} is no multiple of log_every {self.log_every}")
        return self


class EvaluateConfig(Strict):
    """An evaluation: the tasks of a suite, or those of them that are named."""

    suite: Suite
    tasks: tuple[str, ...] = ()
