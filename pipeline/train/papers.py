"""What people read of a training: the curve as a picture, and the model card."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.card import HUB_LICENCES, templates

#: Points of the curve that are drawn at most.
MOST_POINTS = 1000
Point = Mapping[str, float]


def curve_of(history: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """step, loss and learning rate, out of what the trainer logged."""
    return [
        {"step": told["step"], "loss": float(told["loss"]), "lr": float(told["learning_rate"])}
        for told in history
        if "loss" in told
    ]


def draw(curve: Sequence[Point]) -> bytes:
    """The curve as SVG: the loss, and the learning rate below it."""
    import altair as alt

    every = -(-len(curve) // MOST_POINTS) or 1
    points = [dict(point) for point in curve[::every]]
    lines = alt.Chart({"values": points}).mark_line().encode(x=alt.X("step:Q", title="step"))
    loss = lines.encode(y=alt.Y("loss:Q", title="loss")).properties(width=640, height=260)
    rate = lines.encode(y=alt.Y("lr:Q", title="learning rate")).properties(width=640, height=90)
    out = io.StringIO()
    alt.vconcat(loss, rate).save(out, format="svg")
    return out.getvalue().encode()


def render_model_card(told: Mapping[str, Any]) -> str:
    """README.md of the model, from the receipt of the training: YAML for the Hub, then how to use it and what binds it."""
    return templates().get_template("model.md.jinja").render(told, yaml=_front_matter(told))


def _front_matter(told: Mapping[str, Any]) -> str:
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=["sentence-transformers", "sentence-similarity", "feature-extraction"],
        base_model=told["model"]["name"] if told["model"]["kind"] == "hub" else None,
        **_licence(told["licence"]),
    )
    return data.to_yaml(line_break="\n")


def _licence(told: Mapping[str, Any]) -> dict[str, Any]:
    """The Hub's licence keys: one licence if base and data all have it, else `other` and the use it comes to."""
    ids = {*told["base"]["licences"], *(share["licence"] for share in told["data"])}
    one = next(iter(ids)) if len(ids) == 1 else None
    if one and one.lower() in HUB_LICENCES:
        return {"license": one.lower()}
    return {"license": "other", "license_name": f"commercial-use-{told['commercial']}"}


def listed(prompts: Sequence[str]) -> dict[str, str]:
    """Prompts by a name that is fit for `encode(..., prompt_name=...)`.

    >>> listed(["问答", "Represent the text: "])
    {'问答': '问答', 'Represent_the_text': 'Represent the text: '}
    """
    return {re.sub(r"\W+", "_", prompt).strip("_") or "prompt": prompt for prompt in prompts}


def as_json(curve: Sequence[Point]) -> bytes:
    """The curve for programs: one point per line."""
    return ("[\n" + ",\n".join(json.dumps(dict(point)) for point in curve) + "\n]\n").encode()
