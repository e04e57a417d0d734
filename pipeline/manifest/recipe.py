"""What `manifests/recipes/<name>.yaml` may say: which corpora, and the settings of every stage."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.licence import Policy, UseClass, under
from pipeline.manifest.corpus import Corpus, Name, Strict
from pipeline.manifest.settings import (
    CapConfig,
    ConsistencyConfig,
    DecontaminateConfig,
    DedupeConfig,
    MineConfig,
    PiiConfig,
    QualityConfig,
    RuleConfig,
    ScoreConfig,
)


class Chosen(Strict):
    """Corpora by property; every property given must hold."""

    grade: Literal["优", "良"] | None = None
    commercial: UseClass | None = None
    redistribute: UseClass | None = None
    domain: str | None = None

    @model_validator(mode="after")
    def _chooses(self) -> Chosen:
        if not self.model_fields_set:
            raise ValueError("give at least one of grade, commercial, redistribute, domain; or write `corpora: all`")
        return self


class Recipe(Strict):
    """A build: from these corpora, by these settings; or, with `base`, hard negatives and scores upon another build.

    A recipe with a base names an encoder and takes corpora and all earlier stages from its base.
    """

    name: Name
    title: str | None = None
    base: Name | None = None
    corpora: Literal["all"] | list[str] | Chosen = "all"
    min_corpora: Annotated[int, Field(ge=1)] = 1
    quality: QualityConfig = QualityConfig()
    dedupe: DedupeConfig = DedupeConfig()
    decontaminate: DecontaminateConfig = DecontaminateConfig()
    consistency: ConsistencyConfig | None = None
    cap: CapConfig | None = None
    pii: PiiConfig = PiiConfig()
    encoder: str | None = None
    mine: MineConfig = MineConfig()
    rule: RuleConfig = RuleConfig()
    score: ScoreConfig = ScoreConfig()

    accept_generator_terms: bool = False
    accept_miner_terms: bool = False

    @model_validator(mode="after")
    def _one_kind(self) -> Recipe:
        upon = {"encoder", "mine", "rule", "score", "accept_miner_terms"}
        alone = {"corpora", "quality", "dedupe", "decontaminate", "consistency", "cap", "pii", "accept_generator_terms"}
        if self.base is None and (odd := upon & self.model_fields_set):
            raise ValueError(f"{', '.join(sorted(odd))}: only a recipe with a base mines and scores")
        if self.base is not None and (odd := alone & self.model_fields_set):
            raise ValueError(f"{', '.join(sorted(odd))}: the base {self.base} decides that; leave it out")
        if self.base is not None and self.encoder is None:
            raise ValueError("encoder is missing: name one of manifests/encoders")
        return self

    @property
    def policy(self) -> Policy:
        """What this recipe takes upon itself in questions of licence."""
        return Policy(accept_generator_terms=self.accept_generator_terms, accept_miner_terms=self.accept_miner_terms)


def chosen(recipe: Recipe, corpora: dict[str, Corpus]) -> list[Corpus]:
    """The enabled corpora of a recipe, in the order the recipe lists them (name order for `all` and properties).

    Their terms are those that the recipe's policy leaves: all that comes after sees no others. A named corpus is taken
    even when it is disabled by default: naming it is opting in.
    """
    if isinstance(recipe.corpora, list):
        return [_under(recipe, corpora[name]) for name in recipe.corpora]
    enabled = [_under(recipe, corpus) for _, corpus in sorted(corpora.items()) if corpus.enabled]
    if recipe.corpora == "all":
        return enabled
    want = recipe.corpora
    return [corpus for corpus in enabled if _fits(want, corpus)]


def _under(recipe: Recipe, corpus: Corpus) -> Corpus:
    return corpus.model_copy(update={"licence": under(corpus.licence, recipe.policy)})


def _fits(want: Chosen, corpus: Corpus) -> bool:
    terms = [corpus.licence, *corpus.licence.sub_sources.values()]
    return (
        (want.grade is None or corpus.grade == want.grade)
        and (want.domain is None or corpus.domain == want.domain)
        # A corpus takes part when any of its sub-sources qualifies; resolve drops the records of the others.
        and (want.commercial is None or any(t.commercial == want.commercial for t in terms))
        and (want.redistribute is None or any(t.redistribute == want.redistribute for t in terms))
    )
