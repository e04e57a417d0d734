"""The step graph upon a base: what is done, in which order, with what depending on what."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.encoding import encode_step, identify_step
from pipeline.runner import Runner
from pipeline.scoring.context import ScoringContext
from pipeline.scoring.steps import mine_step, pool_step, score_step
from pipeline.store import Entry
from pipeline.weights import EncoderIdentity


@dataclass
class Scored:
    """What was made upon a base: who encoded, and the entries by step and corpus."""

    context: ScoringContext
    identities: dict[str, EncoderIdentity] = field(default_factory=dict)
    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    encoded: dict[str, list[Entry]] = field(default_factory=dict)

    def mined(self, corpus: str) -> Entry:
        """What was mined for a corpus: its own entry, or that of all."""
        return self.entries["mine", _searched(self.context, corpus)]


def score_build(context: ScoringContext, runner: Runner) -> Scored:
    """Carry out every step. A model that is missing, or vectors that are none, end the whole: there is nothing to score
    without, and the base is there already. Raises what the steps raise.
    """
    scored = Scored(context)
    asked = {name: runner.submit("model", name, identify_step, context, name) for name in context.encoders}
    scored.identities = {name: pending.result() for name, pending in asked.items()}
    encoding = {name: scored.identities[name] for name in context.encoding}
    identities = list(encoding.values())
    pools = {c.name: runner.submit("pool", c.name, pool_step, context, c, identities) for c in context.corpora}
    vectors = {
        c.name: [
            runner.submit("encode", c.name, encode_step, context, c.name, name, identity, pools[c.name])
            for name, identity in encoding.items()
        ]
        for c in context.corpora
    }
    groups = {_searched(context, c.name): [c] for c in context.corpora}
    if context.recipe.mine.pool == "all":
        groups = {"all": list(context.corpora)}
    mined = {
        name: runner.submit(
            "mine",
            name,
            mine_step,
            context,
            group,
            {c.name: pools[c.name] for c in group},
            {c.name: vectors[c.name] for c in group},
        )
        for name, group in groups.items()
    }
    done = {}
    cross = scored.identities.get(context.recipe.score.cross_encoder or "")
    for c in context.corpora:
        name = _searched(context, c.name)
        group_pools = {one.name: pools[one.name] for one in groups[name]}
        done[c.name] = runner.submit(
            "score", c.name, score_step, context, c, groups[name], group_pools, mined[name], cross
        )
    scored.entries = {("pool", name): pending.result() for name, pending in pools.items()}
    scored.encoded = {name: [entry for one in told for entry in one.result()] for name, told in vectors.items()}
    scored.entries |= {("mine", name): pending.result() for name, pending in mined.items()}
    scored.entries |= {("score", name): pending.result() for name, pending in done.items()}
    return scored


def _searched(context: ScoringContext, corpus: str) -> str:
    return "all" if context.recipe.mine.pool == "all" else corpus
